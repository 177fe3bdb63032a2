"""A page of the log, and a message as JSON."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flask import abort
from sqlalchemy import select

from smstracker.extensions import db
from smstracker.messages import search
from smstracker.messages.describe import short_reason
from smstracker.messages.filter_conditions import SearchFilters
from smstracker.messages.search import PAGE_SIZE, Cursor
from smstracker.models import Message


@dataclass(frozen=True, slots=True)
class LogPage:
    """A page of messages, with the cursors of its neighbours; None where there are none."""

    messages: Sequence[Message]
    older_cursor: str | None
    newer_cursor: str | None = None


def read_page(
    filters: SearchFilters, before: str | None = None, after: str | None = None
) -> LogPage:
    """One page of an owner's messages, newest first.

    A cursor is the public id of a message; one that is not the owner's is a 404.
    """
    if after:
        newer_messages = search.find_page(filters, after=find_cursor(filters.owner_id, after))
        if len(newer_messages) > PAGE_SIZE:
            messages = list(reversed(newer_messages[:PAGE_SIZE]))
            return LogPage(messages, str(messages[-1].public_id), str(messages[0].public_id))
        before = None  # nothing is newer, so this is the first page
    cursor = find_cursor(filters.owner_id, before) if before else None
    page_and_next = search.find_page(filters, before=cursor)
    messages = list(page_and_next[:PAGE_SIZE])
    older = str(messages[-1].public_id) if len(page_and_next) > PAGE_SIZE else None
    return LogPage(messages, older, str(messages[0].public_id) if before and messages else None)


def find_cursor(owner_id: int, public_id: str) -> Cursor:
    """The place of a message in the log, by its public id; a 404 if it is not the owner's."""
    try:
        is_message = Message.public_id == uuid.UUID(public_id)
    except ValueError:
        abort(404)
    query = select(Message.created_at, Message.id).where(Message.owner_id == owner_id, is_message)
    row = db.session.execute(query).one_or_none() or abort(404)
    return row.created_at, row.id


def message_to_json(message: Message, now: datetime) -> dict[str, object]:
    """A message as a JSON object. Times are ISO 8601 in UTC; `status` is Twilio's word or ours."""
    display = message.display_status(now)
    return {
        "id": str(message.public_id),
        "sid": message.twilio_sid,
        "recipient": message.recipient,
        "sender": message.sender,
        "messaging_service_sid": message.messaging_service_sid,
        "text": None if message.content_deleted_at else message.body,
        "media_urls": message.media_urls,
        "text_deleted_at": _format_iso(message.content_deleted_at),
        "segments": message.segments,
        "price": str(message.price) if message.price is not None else None,
        "price_unit": message.price_unit,
        "status": message.status,
        "status_label": display.label,
        "state": display.state,
        "status_at": message.status_at.isoformat(),
        "status_source": message.status_source,
        "simulated": message.simulated,
        "error_code": message.error_code,
        "reason": short_reason(message),
        "conflicting": message.has_conflict,
        "created_at": message.created_at.isoformat(),
        "send_at": _format_iso(message.send_at),
        "accepted_at": _format_iso(message.accepted_at),
        "final_at": _format_iso(message.final_at),
    }


def _format_iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
