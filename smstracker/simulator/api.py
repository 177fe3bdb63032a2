"""Views of the simulated API: the account and its messages."""

from typing import NoReturn

from flask import Blueprint, Response, current_app, jsonify, request
from flask.typing import ResponseReturnValue

from smstracker.simulator.api_errors import ApiError
from smstracker.simulator.create_request import read_create_request
from smstracker.simulator.fault_injection import FaultInjector
from smstracker.simulator.ledger import Ledger, SimulatedMessage
from smstracker.simulator.list_request import list_resource
from smstracker.simulator.scenarios import (
    CANCELED,
    QUEUED,
    CreateResponse,
    Scenario,
    ScenarioStep,
    find_scenario,
)

from .access import add_checks, is_lookup
from .delivery import Delivery
from .resources import account_resource, message_resource

api = Blueprint("api", __name__, url_prefix="/2010-04-01/Accounts")
add_checks(api)


class LostResponse(Response):
    """A response that is never sent: the server drops the connection instead."""

    def __call__(self, *_: object) -> NoReturn:
        raise ConnectionAbortedError("the response is lost")


@api.get("/<account_sid>.json")
def fetch_account(account_sid: str) -> ResponseReturnValue:
    return jsonify(account_resource(account_sid))


@api.post("/<account_sid>/Messages.json")
def create_message(account_sid: str) -> ResponseReturnValue:
    unreachable = current_app.config["REJECT_UNREACHABLE_CALLBACKS"]
    create_request = read_create_request(request.form, reject_unreachable_callbacks=unreachable)
    scenario = find_scenario(create_request.to)
    if scenario.refusal:
        raise ApiError(scenario.refusal)
    message = create_request.new_message()
    _ledger().add(message)
    _schedule_steps(message, scenario)
    if scenario.create_response is CreateResponse.LOST or _fault_injector().loses_response():
        return LostResponse()
    return jsonify(message_resource(account_sid, message)), 201


@api.get("/<account_sid>/Messages.json")
@is_lookup
def list_messages(account_sid: str) -> ResponseReturnValue:
    return jsonify(list_resource(account_sid, _ledger().messages(), request.args))


@api.get("/<account_sid>/Messages/<sid>.json")
@is_lookup
def fetch_message(account_sid: str, sid: str) -> ResponseReturnValue:
    return jsonify(message_resource(account_sid, _find_message(sid)))


@api.post("/<account_sid>/Messages/<sid>.json")
def update_message(account_sid: str, sid: str) -> ResponseReturnValue:
    _find_message(sid)
    if request.form.get("Status") == "canceled":
        return jsonify(message_resource(account_sid, _cancel(sid)))
    if request.form.get("Body") == "":
        return jsonify(message_resource(account_sid, _require_finished(_ledger().redact(sid))))
    raise ApiError(20001)


@api.delete("/<account_sid>/Messages/<sid>.json")
def delete_message(account_sid: str, sid: str) -> ResponseReturnValue:
    _find_message(sid)
    _require_finished(_ledger().delete(sid))
    _delivery().cancel(sid)
    return "", 204


def _ledger() -> Ledger:
    ledger: Ledger = current_app.extensions["ledger"]
    return ledger


def _delivery() -> Delivery:
    delivery: Delivery = current_app.extensions["delivery"]
    return delivery


def _fault_injector() -> FaultInjector:
    fault_injector: FaultInjector = current_app.extensions["fault_injector"]
    return fault_injector


def _find_message(sid: str) -> SimulatedMessage:
    message = _ledger().get(sid)
    if message is None or message.deleted:
        raise ApiError(20404)
    return message


def _require_finished(message: SimulatedMessage | None) -> SimulatedMessage:
    if message is None:
        raise ApiError(20009)
    return message


def _cancel(sid: str) -> SimulatedMessage:
    canceled = _ledger().cancel(sid)
    if canceled is None:
        raise ApiError(30409)
    _delivery().cancel(sid)
    _delivery().schedule(sid, find_scenario(canceled.to), (CANCELED,))
    return canceled


def _schedule_steps(message: SimulatedMessage, scenario: Scenario) -> None:
    steps = _steps(message, scenario)
    delay = 0.0
    if message.send_at:
        delay = (message.send_at - message.created_at).total_seconds()
    elif scenario.create_response is CreateResponse.AFTER_SENT:
        immediate_count = 1 + next(i for i, step in enumerate(steps) if step.status == "sent")
        _delivery().run_now(message.sid, scenario, steps[:immediate_count])
        steps = steps[immediate_count:]
    _delivery().schedule(message.sid, scenario, steps, delay)


def _steps(message: SimulatedMessage, scenario: Scenario) -> tuple[ScenarioStep, ...]:
    """The steps of a scenario; a Messaging Service adds `queued` with a callback."""
    return (QUEUED, *scenario.steps) if message.service_sid else scenario.steps
