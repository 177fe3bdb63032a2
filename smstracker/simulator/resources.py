"""JSON resources in the format of Twilio's API.

The account and its senders have only the fields that tell whether they can be used.
"""

import hashlib
from email.utils import format_datetime as rfc_2822

from smstracker.simulator.api_errors import OUTCOMES
from smstracker.simulator.ledger import SimulatedMessage

API_VERSION = "2010-04-01"

Resource = dict[str, object]


def account_uri(account_sid: str) -> str:
    return f"/{API_VERSION}/Accounts/{account_sid}"


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


def derive_media_sid(address: str) -> str:
    """The SID of a picture, by its address."""
    return f"ME{hashlib.md5(address.encode(), usedforsecurity=False).hexdigest()}"


def media_list(account_sid: str, message: SimulatedMessage) -> Resource:
    """The pictures of a message, on one page."""
    sids = [derive_media_sid(address) for address in message.media]
    media = [{"sid": sid, "account_sid": account_sid, "parent_sid": message.sid} for sid in sids]
    return {"media_list": media, "next_page_uri": None}


def phone_number_list(numbers: list[str]) -> Resource:
    """All numbers on one page."""
    capabilities = {"sms": True, "mms": True, "voice": False, "fax": False}
    return {
        "incoming_phone_numbers": [
            {"phone_number": number, "capabilities": capabilities} for number in numbers
        ],
        "next_page_uri": None,
    }
