"""The API for programs: send a message, and read what became of it."""

import uuid
from collections.abc import Container
from contextlib import suppress
from pathlib import Path

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from smstracker.api import problem_kinds
from smstracker.api.answers import (
    describe_message,
    describe_page,
    describe_steps,
    message_answer,
)
from smstracker.api.guard import current_caller, require_token, sending_caller
from smstracker.api.idempotent_send import queue_message
from smstracker.api.request_parts import (
    FieldErrors,
    check_arguments,
    find_unknown,
    preferred_wait,
    read_json,
    read_key,
    requested_wait,
)
from smstracker.api.waiting import TooManyWaitError, wait_for_status
from smstracker.clock import utcnow
from smstracker.extensions import db, settings
from smstracker.messages.filter_links import FilterError
from smstracker.messages.filter_reading import check_zone, read_filters_strictly, remember_recipient
from smstracker.messages.pagination import read_page
from smstracker.messages.timeline import build_timeline
from smstracker.models import Message, StatusEvent
from smstracker.sms import status
from smstracker.web.guards import open_to_all
from smstracker.web.problem_details import (
    NOT_FOUND,
    FieldError,
    ProblemAnswer,
    ProblemError,
    answer_problem,
)

DESCRIPTION = Path(__file__).with_name("openapi.yaml")
# Once a message has one of these, Twilio has answered, or never will.
ANSWERED = frozenset(status.RANK) - {status.OUTBOX, status.PENDING}

bp = Blueprint("api", __name__, url_prefix="/api/v1")
bp.before_request(require_token)
bp.register_error_handler(ProblemError, answer_problem)


@bp.errorhandler(FieldErrors)
def invalid_fields(error: FieldErrors) -> ProblemAnswer:
    """All that is wrong, at once."""
    count = len(error.errors)
    detail = error.errors[0].sentence if count == 1 else f"{count} fields are not valid."
    return answer_problem(ProblemError(problem_kinds.INVALID, detail, errors=error.errors))


@bp.errorhandler(FilterError)
def invalid_filter(error: FilterError) -> ProblemAnswer:
    errors = [FieldError(error.field, str(error))] if error.field else []
    return answer_problem(ProblemError(problem_kinds.INVALID_ARGUMENT, str(error), errors=errors))


@bp.get("/openapi.yaml")
@open_to_all
def description() -> ResponseReturnValue:
    """The description of the API: tools read it before they have a token."""
    return Response(DESCRIPTION.read_bytes(), content_type="application/yaml")


@bp.post("/messages")
def send() -> ResponseReturnValue:
    """Save the message for the workers, once for each Idempotency-Key."""
    check_arguments()
    message, is_new = queue_message(sending_caller(), read_key(), read_json(), utcnow())
    headers = {} if is_new else {"Idempotent-Replayed": "true"}
    seconds, is_answered = preferred_wait(), False
    if seconds and not message.is_scheduled(utcnow()):
        with suppress(TooManyWaitError):  # it is saved all the same
            is_answered = wait_for_status(message.id, ANSWERED, seconds)
            headers["Preference-Applied"] = f"wait={seconds}"
        message = _get_message(message.public_id)
    code = (201 if is_answered else 202) if is_new else 200
    return message_answer(message, code, headers)


@bp.get("/messages")
def messages() -> ResponseReturnValue:
    """A page of the log. A handle names the recipient: no number may stand in an address."""
    now, arguments = utcnow(), MultiDict(request.args)
    arguments.setdefault("zone", "UTC")
    filters = read_filters_strictly(current_caller().owner_id, arguments, now, "before", "after")
    check_zone(arguments["zone"], now)
    before, after = arguments.get("before"), arguments.get("after")
    return jsonify(describe_page(read_page(filters.search_filters, before, after), now))


@bp.post("/recipient-searches")
def search_recipient() -> ResponseReturnValue:
    """The handle that stands for a number, or for its last digits, in the filters of the log."""
    check_arguments()
    fields = read_json()
    number, errors = fields.get("number"), find_unknown(fields, ["number"])
    if errors or not isinstance(number, str):
        raise FieldErrors(errors or [FieldError("number", "Give “number” as a text.")])
    search = remember_recipient(current_caller().owner_id, number)
    return jsonify(recipient=search.handle, simulated=settings().demo)


@bp.get("/messages/<uuid:public_id>")
def message(public_id: uuid.UUID) -> ResponseReturnValue:
    """One message; with `wait`, once its status is final or the time is over."""
    check_arguments("wait")
    seconds, message = requested_wait(), _get_message(public_id)
    if seconds and message.status not in status.FINAL:
        _wait(message.id, status.FINAL, seconds)
        message = _get_message(public_id)
    return jsonify(describe_message(message, utcnow()))


@bp.get("/messages/<uuid:public_id>/events")
def events(public_id: uuid.UUID) -> ResponseReturnValue:
    check_arguments()
    message = _get_message(public_id)
    events = db.session.scalars(StatusEvent.select_for_message(message.id)).all()
    return jsonify(describe_steps(build_timeline(message, events)))


def _wait(message_id: int, statuses: Container[str], seconds: int) -> None:
    try:
        wait_for_status(message_id, statuses, seconds)
    except TooManyWaitError as error:
        detail = "As many requests wait for messages as may."
        headers = {"Retry-After": "2"}
        raise ProblemError(problem_kinds.TOO_MANY_WAIT, detail, headers=headers) from error


def _get_message(public_id: uuid.UUID) -> Message:
    """The caller's message as it is stored now. Raises ProblemError if there is none."""
    query = Message.select_owned(current_caller().owner_id).where(Message.public_id == public_id)
    message = db.session.scalar(query, execution_options={"populate_existing": True})
    if message is None:
        raise ProblemError(NOT_FOUND, "This user has no message with that id.")
    return message
