"""A page of the log, for people and for programs."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import abort

from smstracker.messages import search
from smstracker.messages.describe import short_reason
from smstracker.messages.search import PAGE_SIZE, SearchFilters
from smstracker.models import Message


@dataclass(frozen=True, slots=True)
class LogPage:
    """`next` is the cursor of older messages, `newer` of newer ones; None where there are none."""

    messages: Sequence[Message]
    next: str | None
    newer: str | None = None


def read_page(
    chosen: SearchFilters, before: str | None = None, after: str | None = None
) -> LogPage:
    """One page of an owner's messages, newest first.

    A cursor is the public id of the last message seen; one that is not one's own is a 404.
    """
    if after:
        found = search.find_page(chosen, after=_key(chosen.owner_id, after))
        if len(found) > PAGE_SIZE:
            messages = list(reversed(found[:PAGE_SIZE]))
            return LogPage(messages, str(messages[-1].public_id), str(messages[0].public_id))
        before = None  # nothing newer than these: it is the first page
    found = search.find_page(chosen, before=_key(chosen.owner_id, before) if before else None)
    messages = list(found[:PAGE_SIZE])
    older = str(messages[-1].public_id) if len(found) > PAGE_SIZE else None
    return LogPage(messages, older, str(messages[0].public_id) if before and messages else None)


def _key(owner_id: int, cursor: str) -> tuple[datetime, int]:
    try:
        key = search.find_cursor(owner_id, uuid.UUID(cursor))
    except ValueError:
        key = None
    return key or abort(404)


def as_json(message: Message, now: datetime) -> dict[str, Any]:
    """A message for programs. Times are ISO 8601 in UTC; `status` is Twilio's word or ours."""
    shown = message.display_status(now)
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
