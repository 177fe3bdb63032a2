"""JSON resources in the format of Twilio's API.

The account and its senders have only the fields that tell whether they can be used.
"""

import uuid
from datetime import UTC, datetime
from email.utils import format_datetime as rfc_2822

from smstracker.simulator.api_errors import OUTCOMES
from smstracker.simulator.ledger import SimulatedMessage

API_VERSION = "2010-04-01"

STARTED_AT = datetime.now(UTC)

Resource = dict[str, object]


def account_uri(account_sid: str) -> str:
    return f"/{API_VERSION}/Accounts/{account_sid}"


def account_resource(account_sid: str) -> Resource:
    """The account, without the auth token that Twilio's resource has."""
    uri, opened = account_uri(account_sid), rfc_2822(STARTED_AT)
    return {
        "sid": account_sid,
        "friendly_name": "Simulated account",
        "status": "active",
        "type": "Full",
        "date_created": opened,
        "date_updated": opened,
        "uri": f"{uri}.json",
    }


def message_resource(account_sid: str, message: SimulatedMessage) -> Resource:
    """A message; counts and the price are strings, dates are RFC 2822."""
    uri = f"{account_uri(account_sid)}/Messages/{message.sid}"
    code = message.error_code
    return {
        "sid": message.sid,
        "account_sid": account_sid,
        "api_version": API_VERSION,
        "messaging_service_sid": message.service_sid,
        "to": message.to,
        "from": message.sender,
        "body": message.body,
        "direction": "outbound-api",
        "status": message.status,
        "error_code": code,
        "error_message": None if code is None else OUTCOMES[code],
        "num_segments": str(message.segments),
        "num_media": str(len(message.media)),
        "price": None if message.price is None else f"{message.price:.5f}",
        "price_unit": "USD",
        "date_created": rfc_2822(message.created_at),
        "date_updated": rfc_2822(message.updated_at),
        "date_sent": rfc_2822(message.sent_at) if message.sent_at else None,
        "uri": f"{uri}.json",
        "subresource_uris": {"media": f"{uri}/Media.json", "feedback": f"{uri}/Feedback.json"},
    }


def phone_number_list(account_sid: str, numbers: list[str]) -> Resource:
    """All numbers on one page."""
    uri = f"{account_uri(account_sid)}/IncomingPhoneNumbers.json"
    return {
        "incoming_phone_numbers": [_phone_number(account_sid, number) for number in numbers],
        "page": 0,
        "page_size": max(50, len(numbers)),
        "start": 0,
        "end": max(0, len(numbers) - 1),
        "uri": uri,
        "first_page_uri": uri,
        "next_page_uri": None,
        "previous_page_uri": None,
    }


def _phone_number(account_sid: str, number: str) -> Resource:
    sid = f"PN{uuid.uuid5(uuid.NAMESPACE_URL, f'tel:{number}').hex}"
    return {
        "sid": sid,
        "account_sid": account_sid,
        "phone_number": number,
        "capabilities": {"sms": True, "mms": True, "voice": False, "fax": False},
        "date_created": rfc_2822(STARTED_AT),
        "date_updated": rfc_2822(STARTED_AT),
        "uri": f"{account_uri(account_sid)}/IncomingPhoneNumbers/{sid}.json",
    }


def service_resource(account_sid: str, sid: str, url: str) -> Resource:
    """A Messaging Service; its dates are ISO 8601."""
    opened = STARTED_AT.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "sid": sid,
        "account_sid": account_sid,
        "status_callback": None,
        "validity_period": 36000,
        "use_inbound_webhook_on_number": False,
        "date_created": opened,
        "date_updated": opened,
        "url": url,
    }
