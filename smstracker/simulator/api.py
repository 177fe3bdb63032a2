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
    if message is None:
        raise ApiError(20404)
    return message


def _schedule_steps(message: SimulatedMessage, scenario: Scenario) -> None:
    steps = _steps(message, scenario)
    if scenario.create_response is CreateResponse.AFTER_SENT:
        immediate_count = 1 + next(i for i, step in enumerate(steps) if step.status == "sent")
        _delivery().run_now(message.sid, scenario, steps[:immediate_count])
        steps = steps[immediate_count:]
    _delivery().schedule(message.sid, scenario, steps)


def _steps(message: SimulatedMessage, scenario: Scenario) -> tuple[ScenarioStep, ...]:
    """The steps of a scenario; a Messaging Service adds `queued` with a callback."""
    return (QUEUED, *scenario.steps) if message.service_sid else scenario.steps
