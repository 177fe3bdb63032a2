"""SQL of `status.display_status`: a message's state by its status and the time since its update."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, literal, or_
from sqlalchemy.sql import ColumnElement

from smstracker.database.engine import UtcDateTime
from smstracker.extensions import receipt_window
from smstracker.models.messages import Message
from smstracker.sms import status
from smstracker.sms.status import State

# Twilio schedules no message further ahead (SendAt), so no update on one comes later.
MAX_SCHEDULE_AHEAD = timedelta(days=35)
Conditions = list[ColumnElement[bool]]


def state_condition(state: State, now: datetime, row: Any = Message) -> ColumnElement[bool]:
    """Return the condition that a message counts as `state` at `now`."""
    silent, word = is_silent(now, row), func.coalesce(row.status, "")
    if state is State.NO_RECEIPT:
        return and_(word.in_(status.AWAITING_RECEIPT), silent)
    counted = word.in_(status.counted_statuses(state))
    if state is State.UNKNOWN:
        return or_(counted, and_(word == "pending", silent))
    return and_(counted, ~silent) if state is State.WAITING else counted


def is_silent(now: datetime, row: Any = Message) -> ColumnElement[bool]:
    """Return the condition that silence alone has changed what is shown of a waiting message."""
    word, status_at = func.coalesce(row.status, ""), row.status_at
    receipt_limit = literal(now - receipt_window(), UtcDateTime)
    pending_limit = literal(now - status.PENDING_IS_UNKNOWN_AFTER, UtcDateTime)
    return or_(
        and_(word.in_(status.AWAITING_RECEIPT), status_at < receipt_limit),
        and_(word == "pending", status_at < pending_limit),
    )


def conditions_by_status(state: State, now: datetime) -> Conditions:
    """Return the state as one condition for each status, so that each is a range of the index."""
    conditions = (_condition_of_status(word, state, now) for word in status.RANK)
    return [condition for condition in conditions if condition is not None]


def _condition_of_status(word: str, state: State, now: datetime) -> ColumnElement[bool] | None:
    is_word = Message.status == word
    silent_before = _silent_before(word, now)
    if silent_before is None:
        return is_word if word in status.counted_statuses(state) else None
    limit = literal(silent_before, UtcDateTime)
    if word in status.counted_statuses(state):
        # `recent` is implied, and spares reading the silent messages of all years.
        recent = Message.created_at >= literal(silent_before - MAX_SCHEDULE_AHEAD, UtcDateTime)
        return and_(is_word, Message.status_at >= limit, recent)
    if state is (State.UNKNOWN if word == "pending" else State.NO_RECEIPT):
        return and_(is_word, Message.status_at < limit)
    return None


def _silent_before(word: str, now: datetime) -> datetime | None:
    """Return the time before which an update on `word` is too old; None if it never is."""
    if word == "pending":
        return now - status.PENDING_IS_UNKNOWN_AFTER
    return now - receipt_window() if word in status.AWAITING_RECEIPT else None
