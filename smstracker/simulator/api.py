"""Views of the simulated API: the account, its messages and its senders."""

from typing import NoReturn

from flask import Blueprint, Response, current_app, request
from flask.typing import ResponseReturnValue

from smstracker.simulator.api_errors import ApiError, require
from smstracker.simulator.create_request import read_create_request
from smstracker.simulator.ledger import SimulatedMessage
from smstracker.simulator.list_request import list_resource
from smstracker.simulator.scenarios import QUEUED, CreateResponse, Scenario, find_scenario
from smstracker.sms.messaging_service import SERVICE_SID
from smstracker.sms.status import FINAL

from .access import authenticate, limit_lookups
from .delivery import Delivery
from .resources import derive_media_sid, media_list, message_resource, phone_number_list

api = Blueprint("api", __name__)
api.before_request(authenticate)

_ACCOUNT = "/2010-04-01/Accounts/<account_sid>"


class LostResponse(Response):
    """A response that is never sent: the server drops the connection instead."""

    def __call__(self, *_: object) -> NoReturn:
        raise ConnectionAbortedError("the response is lost")


@api.get(f"{_ACCOUNT}.json")
def fetch_account(account_sid: str) -> ResponseReturnValue:
    return {"sid": account_sid, "status": "active", "type": "Full"}


@api.post(f"{_ACCOUNT}/Messages.json")
def create_message(account_sid: str) -> ResponseReturnValue:
    message = read_create_request(request.form)
    scenario, delivery = find_scenario(message.to), _delivery()
    require(not delivery.fault_injector.refuses_create(), 20429)
    if scenario.refusal:
        raise ApiError(scenario.refusal)
    delivery.ledger.add(message)
    _schedule_steps(delivery, message, scenario)
    if scenario.create_response is CreateResponse.LOST or delivery.fault_injector.loses_response():
        return LostResponse()
    return message_resource(account_sid, message), 201


@api.get(f"{_ACCOUNT}/Messages.json")
def list_messages(account_sid: str) -> ResponseReturnValue:
    limit_lookups()
    return list_resource(account_sid, _delivery().ledger.messages(), request.args)


@api.get(f"{_ACCOUNT}/Messages/<sid>.json")
def fetch_message(account_sid: str, sid: str) -> ResponseReturnValue:
    limit_lookups()
    message = _delivery().ledger.get(sid)
    if message is None:
        raise ApiError(20404)
    return message_resource(account_sid, message)


@api.post(f"{_ACCOUNT}/Messages/<sid>.json")
def redact_message(account_sid: str, sid: str) -> ResponseReturnValue:
    """Delete the text of a final message; no other update is simulated."""
    limit_lookups()
    require(request.form.get("Body") == "", 20001)
    _require_final(sid)
    message = _delivery().ledger.redact(sid)
    if message is None:
        raise ApiError(20404)
    return message_resource(account_sid, message)


@api.delete(f"{_ACCOUNT}/Messages/<sid>.json")
def delete_message(account_sid: str, sid: str) -> ResponseReturnValue:
    """Delete a final message with its pictures."""
    limit_lookups()
    _require_final(sid)
    _delivery().ledger.delete(sid)
    return "", 204


@api.get(f"{_ACCOUNT}/Messages/<sid>/Media.json")
def list_media(account_sid: str, sid: str) -> ResponseReturnValue:
    """All pictures of a message, on one page."""
    limit_lookups()
    message = _delivery().ledger.get(sid)
    if message is None:
        raise ApiError(20404)
    return media_list(account_sid, message)


@api.delete(f"{_ACCOUNT}/Messages/<sid>/Media/<media_sid>.json")
def delete_media(account_sid: str, sid: str, media_sid: str) -> ResponseReturnValue:
    limit_lookups()
    ledger = _delivery().ledger
    message = ledger.get(sid)
    addresses = message.media if message else ()
    matching = [address for address in addresses if derive_media_sid(address) == media_sid]
    require(matching and ledger.delete_media(sid, matching[0]), 20404)
    return "", 204


@api.get(f"{_ACCOUNT}/IncomingPhoneNumbers.json")
def list_phone_numbers(account_sid: str) -> ResponseReturnValue:
    """List all numbers on one page; the search matches whole numbers only."""
    searched_number = request.args.get("PhoneNumber")
    owned_numbers = current_app.config["PHONE_NUMBERS"]
    numbers = [number for number in owned_numbers if searched_number in (None, number)]
    return phone_number_list(numbers)


@api.get("/v1/Services/<sid>")
def fetch_service(sid: str) -> ResponseReturnValue:
    """Every well-formed SID names a service."""
    require(SERVICE_SID.fullmatch(sid), 20404)
    return {"sid": sid}


def _delivery() -> Delivery:
    delivery: Delivery = current_app.extensions["delivery"]
    return delivery


def _require_final(sid: str) -> None:
    message = _delivery().ledger.get(sid)
    if message is None:
        raise ApiError(20404)
    require(message.status in FINAL, 20009)


def _schedule_steps(delivery: Delivery, message: SimulatedMessage, scenario: Scenario) -> None:
    """Schedule the steps of a scenario; a Messaging Service adds `queued` with a callback."""
    steps = (QUEUED, *scenario.steps) if message.service_sid else scenario.steps
    if scenario.create_response is CreateResponse.AFTER_SENT:
        immediate_count = 1 + next(i for i, step in enumerate(steps) if step.status == "sent")
        delivery.run_now(message.sid, scenario, steps[:immediate_count])
        steps = steps[immediate_count:]
    delivery.schedule(message.sid, scenario, steps)
