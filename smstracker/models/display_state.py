"""The SQL of `status.shown`: what a message counts as now, by its word and by how long ago it had
news.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, literal, or_
from sqlalchemy.sql import ColumnElement

from smstracker.database.engine import UtcDateTime
from smstracker.extensions import settings
from smstracker.models.messages import Message
from smstracker.sms import status
from smstracker.sms.status import State

# Twilio holds no message longer before it sends it (SendAt), so no news of that comes later.
HELD_AT_MOST = timedelta(days=35)
Conditions = list[ColumnElement[bool]]


def state_condition(state: State, now: datetime, row: Any = Message) -> ColumnElement[bool]:
    """The condition that a message counts as `state` at `now`; the SQL of `status.shown`."""
    silent, word = is_silent(now, row), func.coalesce(row.status, "")
    if state is State.NO_RECEIPT:
        return and_(word.in_(status.AWAITING_RECEIPT), silent)
    if state is State.UNKNOWN:
        return or_(word.in_(status.statuses_in(state)), and_(word == "pending", silent))
    counted = word.in_(status.statuses_in(state))
    return and_(counted, ~silent) if state is State.WAITING else counted


def is_silent(now: datetime, row: Any = Message) -> ColumnElement[bool]:
    """Whether a waiting message has had no news for so long that it is shown as something else."""
    word, at = func.coalesce(row.status, ""), row.status_at
    window = literal(now - receipt_window(), UtcDateTime)
    stale = literal(now - status.PENDING_IS_UNKNOWN_AFTER, UtcDateTime)
    return or_(
        and_(word.in_(status.AWAITING_RECEIPT), at < window),
        and_(word == "pending", at < stale),
    )


def branches(state: State, now: datetime) -> Conditions:
    """The state as one condition for each status word, so that each is a range of the index."""
    found: Conditions = []
    for word in status.RANK:
        silent = _silence_began(word, now)
        is_word = Message.status == word
        if silent is None:
            if word in status.statuses_in(state):
                found.append(is_word)
            continue
        if (
            status.display_status(word, now, now=now, receipt_window=receipt_window()).state
            is state
        ):
            # The second is implied, and spares looking through the silent ones of all years.
            recent = Message.created_at >= literal(silent - HELD_AT_MOST, UtcDateTime)
            found.append(and_(is_word, Message.status_at >= literal(silent, UtcDateTime), recent))
        elif state is (State.UNKNOWN if word == "pending" else State.NO_RECEIPT):
            found.append(and_(is_word, Message.status_at < literal(silent, UtcDateTime)))
    return found


def _silence_began(word: str, now: datetime) -> datetime | None:
    """Without news since before this moment, the word is shown as something else."""
    if word == "pending":
        return now - status.PENDING_IS_UNKNOWN_AFTER
    return now - receipt_window() if word in status.AWAITING_RECEIPT else None


def receipt_window() -> timedelta:
    return timedelta(hours=settings().receipt_window_hours)
