"""Messages and their events as JSON for programs. Times are ISO 8601 in UTC."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from flask import jsonify, url_for
from flask.typing import ResponseReturnValue

from smstracker.clock import utcnow
from smstracker.extensions import settings
from smstracker.messages.describe import source_phrase
from smstracker.messages.failure_advice import find_advice
from smstracker.messages.pagination import LogPage, message_to_json
from smstracker.messages.timeline import TimelineStep
from smstracker.models import Message
from smstracker.sms import status
from smstracker.web.problem_details import NO_HEADERS


def describe_message(message: Message, now: datetime) -> dict[str, object]:
    """A message with all that is known of it; `failure` is None unless it failed."""
    [description] = _describe_messages([message], now)
    return description


def _describe_messages(messages: Sequence[Message], now: datetime) -> list[dict[str, object]]:
    resends = Message.find_resends([m.id for m in messages if m.status in status.FINAL])
    return [_describe(message, resends.get(message.id), now) for message in messages]


def _describe(message: Message, resend: Message | None, now: datetime) -> dict[str, object]:
    advice = find_advice(message, resend)
    return message_to_json(message, now) | {
        "status_source_label": source_phrase(message, message.status, message.status_source),
        "is_final": message.status in status.FINAL,
        "failure": asdict(advice) if advice else None,
        "resent_as": str(resend.public_id) if resend else None,
        "reference": message.reference,
    }


def describe_page(page: LogPage, now: datetime) -> dict[str, object]:
    """A page of messages, newest first, with the cursors of its neighbours."""
    return {
        "messages": _describe_messages(page.messages, now),
        "next": page.older_cursor,
        "previous": page.newer_cursor,
        "simulated": settings().demo,
    }


def describe_steps(steps: Sequence[TimelineStep]) -> dict[str, object]:
    """The timeline of a message, in order of receipt; it begins when the message was saved."""
    return {"events": list(map(_describe_step, steps)), "simulated": settings().demo}


def _describe_step(step: TimelineStep) -> dict[str, object]:
    event = step.event
    return {
        "status": event.status if event else None,
        "label": step.label,
        "source": event.source if event else None,
        "source_label": step.source,
        "at": step.at.isoformat(),
        "effect": step.effect or "changed",
        "repeats": event.repeats if event else 0,
        "error_code": event.error_code if event else None,
        "reason": step.reason,
    }


def message_answer(
    message: Message, code: int, headers: Mapping[str, str] = NO_HEADERS
) -> ResponseReturnValue:
    """The answer to a send, with the address where the outcome of the message will be."""
    location = url_for("api.message", public_id=message.public_id)
    return jsonify(describe_message(message, utcnow())), code, {"Location": location, **headers}
