"""SQL of `status.display_status`: a message's state by its status and the time since its update."""

from datetime import datetime, timedelta

from sqlalchemy import and_, func, or_
from sqlalchemy.sql import ColumnElement

from smstracker.extensions import receipt_window
from smstracker.models.messages import Message
from smstracker.sms import status
from smstracker.sms.status import STATE_OF_SILENT, State

# Twilio schedules no message further ahead (SendAt), so no update on one comes later.
MAX_SCHEDULE_AHEAD = timedelta(days=35)
Conditions = list[ColumnElement[bool]]


def state_condition(
    state: State, now: datetime, row: type[Message] = Message
) -> ColumnElement[bool]:
    """Return the condition that a message counts as `state` at `now`."""
    silent, word = is_silent(now, row), func.coalesce(row.status, "")
    counted = word.in_(status.counted_statuses(state))
    if state is State.WAITING:
        return and_(counted, ~silent)
    silent_words = [name for name, silent_state in STATE_OF_SILENT.items() if silent_state is state]
    return or_(counted, and_(word.in_(silent_words), silent)) if silent_words else counted


def is_silent(now: datetime, row: type[Message] = Message) -> ColumnElement[bool]:
    """Return the condition that silence alone has changed what is shown of a waiting message."""
    word = func.coalesce(row.status, "")
    conditions = (
        and_(word == name, row.status_at < _silent_before(name, now)) for name in STATE_OF_SILENT
    )
    return or_(*conditions)


def conditions_by_status(state: State, now: datetime) -> Conditions:
    """Return the state as one condition for each status, so that each is a range of the index."""
    conditions = (_condition_of_status(word, state, now) for word in status.RANK)
    return [condition for condition in conditions if condition is not None]


def _condition_of_status(word: str, state: State, now: datetime) -> ColumnElement[bool] | None:
    is_word, is_counted = Message.status == word, word in status.counted_statuses(state)
    silent_before = _silent_before(word, now)
    if silent_before is None:
        return is_word if is_counted else None
    if is_counted:
        # `recent` is implied, and spares reading the silent messages of all years.
        recent = Message.created_at >= silent_before - MAX_SCHEDULE_AHEAD
        return and_(is_word, Message.status_at >= silent_before, recent)
    is_silent_word = and_(is_word, Message.status_at < silent_before)
    return is_silent_word if STATE_OF_SILENT[word] is state else None


def _silent_before(word: str, now: datetime) -> datetime | None:
    """Return the time before which an update on `word` is too old; None if it never is."""
    limit = status.silence_limit(word, receipt_window())
    return None if limit is None else now - limit
