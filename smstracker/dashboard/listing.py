"""A page of the log, for people and for programs."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import abort

from smstracker.dashboard.wording import short_reason
from smstracker.extensions import db
from smstracker.models import Message
from smstracker.models.messages import split_page
from smstracker.status import State


@dataclass(frozen=True, slots=True)
class Page:
    """`next` is the cursor of the following page, None on the last one."""

    messages: Sequence[Message]
    next: str | None


def chosen_state(arguments: Mapping[str, str]) -> State | None:
    """The state that the URL asks for; an unknown one is a 404."""
    wanted = arguments.get("state")
    if not wanted:
        return None
    if wanted not in set(State):
        abort(404)
    return State(wanted)


def listing(owner_id: int, state: State | None, before: str | None) -> Page:
    """One page of an owner's messages, newest first. The cursor is the last message's public id."""
    key = _key(owner_id, before) if before else None
    found = db.session.scalars(Message.page(owner_id, state, key)).all()
    messages, last = split_page(found)
    return Page(messages, str(last.public_id) if last else None)


def _key(owner_id: int, cursor: str) -> tuple[datetime, int]:
    try:
        public_id = uuid.UUID(cursor)
    except ValueError:
        abort(404)
    last = db.session.scalar(Message.of_owner(owner_id).where(Message.public_id == public_id))
    if last is None:
        abort(404)
    return last.created_at, last.id


def as_json(message: Message, now: datetime) -> dict[str, Any]:
    """A message for programs. Times are ISO 8601 in UTC; `status` is Twilio's word or ours."""
    shown = message.shown(now)
    return {
        "id": str(message.public_id),
        "sid": message.twilio_sid,
        "recipient": message.recipient,
        "sender": message.sender,
        "messaging_service_sid": message.messaging_service_sid,
        "text": message.body,
        "media_urls": message.media_urls,
        "segments": message.segments,
        "price": str(message.price) if message.price is not None else None,
        "price_unit": message.price_unit,
        "status": message.status,
        "status_label": shown.label,
        "state": shown.state,
        "status_at": message.status_at.isoformat(),
        "status_source": message.status_source,
        "simulated": message.simulated,
        "error_code": message.error_code,
        "reason": short_reason(message),
        "conflicting": message.conflicting,
        "created_at": message.created_at.isoformat(),
        "accepted_at": _iso(message.accepted_at),
        "final_at": _iso(message.final_at),
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
