"""Phone numbers and Messaging Services of the simulated account."""

import re
import uuid
from email.utils import format_datetime as rfc_2822

from flask import Blueprint, current_app, jsonify, request
from flask.typing import ResponseReturnValue

from smstracker.simulator.api_errors import ApiError

from .access import add_checks
from .resources import STARTED_AT, Resource, account_uri

SERVICE_SID = re.compile(r"MG[0-9a-fA-F]{32}")

senders = Blueprint("senders", __name__)
add_checks(senders)


@senders.get("/2010-04-01/Accounts/<account_sid>/IncomingPhoneNumbers.json")
def list_phone_numbers(account_sid: str) -> ResponseReturnValue:
    """List all numbers on one page; the search matches whole numbers only."""
    searched_number, owned_numbers = (
        request.args.get("PhoneNumber"),
        current_app.config["PHONE_NUMBERS"],
    )
    numbers = [number for number in owned_numbers if searched_number in (None, number)]
    uri = f"{account_uri(account_sid)}/IncomingPhoneNumbers.json"
    return jsonify(
        incoming_phone_numbers=[_phone_number(account_sid, number) for number in numbers],
        page=0,
        page_size=max(50, len(numbers)),
        start=0,
        end=max(0, len(numbers) - 1),
        uri=uri,
        first_page_uri=uri,
        next_page_uri=None,
        previous_page_uri=None,
    )


@senders.get("/v1/Services/<sid>")
def fetch_service(sid: str) -> ResponseReturnValue:
    """Every well-formed SID names a service."""
    if not SERVICE_SID.fullmatch(sid):
        raise ApiError(20404)
    return jsonify(_service(sid))


def _phone_number(account_sid: str, number: str) -> Resource:
    sid = f"PN{uuid.uuid5(uuid.NAMESPACE_URL, f'tel:{number}').hex}"
    return {
        "sid": sid,
        "account_sid": account_sid,
        "api_version": "2010-04-01",
        "friendly_name": number,
        "phone_number": number,
        "capabilities": {"sms": True, "mms": True, "voice": False, "fax": False},
        "status": "in-use",
        "origin": "twilio",
        "beta": False,
        "sms_url": None,
        "sms_method": "POST",
        "date_created": rfc_2822(STARTED_AT),
        "date_updated": rfc_2822(STARTED_AT),
        "uri": f"{account_uri(account_sid)}/IncomingPhoneNumbers/{sid}.json",
    }


def _service(sid: str) -> Resource:
    opened = STARTED_AT.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "sid": sid,
        "account_sid": current_app.config["ACCOUNT_SID"],
        "friendly_name": "Simulated service",
        "inbound_request_url": None,
        "inbound_method": "POST",
        "fallback_url": None,
        "fallback_method": "POST",
        "status_callback": None,
        "sticky_sender": True,
        "smart_encoding": True,
        "validity_period": 36000,
        "usecase": "undeclared",
        "use_inbound_webhook_on_number": False,
        "date_created": opened,
        "date_updated": opened,
        "url": f"{request.host_url}v1/Services/{sid}",
        "links": {},
    }
