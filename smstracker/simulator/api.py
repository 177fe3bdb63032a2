"""The part of Twilio's REST API that smstracker speaks."""

from typing import NoReturn

from flask import Blueprint, Response, current_app, jsonify, request
from flask.typing import ResponseReturnValue

from smstracker.simulator.api_errors import ApiError
from smstracker.simulator.create_request import read_draft
from smstracker.simulator.fault_injection import FaultInjector
from smstracker.simulator.ledger import Ledger, SimulatedMessage
from smstracker.simulator.list_request import list_resource
from smstracker.simulator.scenarios import (
    CANCELED,
    QUEUED,
    CreateAnswer,
    Scenario,
    ScenarioStep,
    find_scenario,
)

from .access import guard
from .delivery import Delivery
from .resources import account_resource, message_resource

api = Blueprint("api", __name__, url_prefix="/2010-04-01/Accounts")
guard(api)


class LostAnswer(Response):
    """An answer that is never given: the server drops the connection instead."""

    def __call__(self, *_: object) -> NoReturn:
        raise ConnectionAbortedError("the answer is lost")


@api.get("/<account_sid>.json")
def fetch_account(account_sid: str) -> ResponseReturnValue:
    return jsonify(account_resource(account_sid))


@api.post("/<account_sid>/Messages.json")
def create_message(account_sid: str) -> ResponseReturnValue:
    unreachable = current_app.config["REJECT_UNREACHABLE_CALLBACKS"]
    draft = read_draft(request.form, reject_unreachable_callbacks=unreachable)
    story = find_scenario(draft.to)
    if story.refusal:
        raise ApiError(story.refusal)
    message = draft.message()
    _books().add(message)
    _begin(message, story)
    if story.answer is CreateAnswer.NEVER or _chance().loses_answer():
        return LostAnswer()
    return jsonify(message_resource(account_sid, message)), 201


@api.get("/<account_sid>/Messages.json")
def list_messages(account_sid: str) -> ResponseReturnValue:
    return jsonify(list_resource(account_sid, _books().messages(), request.args))


@api.get("/<account_sid>/Messages/<sid>.json")
def fetch_message(account_sid: str, sid: str) -> ResponseReturnValue:
    return jsonify(message_resource(account_sid, _existing(sid)))


@api.post("/<account_sid>/Messages/<sid>.json")
def update_message(account_sid: str, sid: str) -> ResponseReturnValue:
    _existing(sid)
    if request.form.get("Status") == "canceled":
        return jsonify(message_resource(account_sid, _cancel(sid)))
    if request.form.get("Body") == "":
        return jsonify(message_resource(account_sid, _finished(_books().redact(sid))))
    raise ApiError(20001)


@api.delete("/<account_sid>/Messages/<sid>.json")
def delete_message(account_sid: str, sid: str) -> ResponseReturnValue:
    _existing(sid)
    _finished(_books().delete(sid))
    _delivery().drop(sid)
    return "", 204


def _books() -> Ledger:
    books: Ledger = current_app.extensions["books"]
    return books


def _delivery() -> Delivery:
    delivery: Delivery = current_app.extensions["delivery"]
    return delivery


def _chance() -> FaultInjector:
    chance: FaultInjector = current_app.extensions["chance"]
    return chance


def _existing(sid: str) -> SimulatedMessage:
    message = _books().get(sid)
    if message is None or message.deleted:
        raise ApiError(20404)
    return message


def _finished(message: SimulatedMessage | None) -> SimulatedMessage:
    if message is None:
        raise ApiError(20009)
    return message


def _cancel(sid: str) -> SimulatedMessage:
    canceled = _books().cancel(sid)
    if canceled is None:
        raise ApiError(30409)
    _delivery().drop(sid)
    _delivery().begin(sid, find_scenario(canceled.to), (CANCELED,))
    return canceled


def _begin(message: SimulatedMessage, story: Scenario) -> None:
    steps = _steps(message, story)
    wait = 0.0
    if message.send_at:
        wait = (message.send_at - message.created_at).total_seconds()
    elif story.answer is CreateAnswer.AFTER_SENT:
        early = 1 + next(i for i, step in enumerate(steps) if step.status == "sent")
        _delivery().perform(message.sid, story, steps[:early])
        steps = steps[early:]
    _delivery().begin(message.sid, story, steps, wait)


def _steps(message: SimulatedMessage, story: Scenario) -> tuple[ScenarioStep, ...]:
    """With a Messaging Service, queued is a change after the first status, and called back."""
    return (QUEUED, *story.steps) if message.service_sid else story.steps
