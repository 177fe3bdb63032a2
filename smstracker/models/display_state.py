"""SQL of `status.display_status`: a message's state by its status and the time since its update."""

from collections.abc import Mapping
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
Time = datetime | ColumnElement[datetime]


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
        and_(word == name, row.status_at < now - _silence_limit(name)) for name in STATE_OF_SILENT
    )
    return or_(*conditions)


def silence_times(now: datetime) -> dict[str, datetime]:
    """Return the times of `conditions_by_status` at `now`, by name."""
    silent_before = {word: now - _silence_limit(word) for word in STATE_OF_SILENT}
    created_after = {word: time - MAX_SCHEDULE_AHEAD for word, time in silent_before.items()}
    return {f"{word}_silent_before": time for word, time in silent_before.items()} | {
        f"{word}_created_after": time for word, time in created_after.items()
    }


def conditions_by_status(state: State, times: Mapping[str, Time]) -> Conditions:
    """Return the state as one condition for each status, so that each is a range of the index.

    `times` are those of `silence_times`, or parameters of these names.
    """
    conditions = (_condition_of_status(word, state, times) for word in status.RANK)
    return [condition for condition in conditions if condition is not None]


def _condition_of_status(
    word: str, state: State, times: Mapping[str, Time]
) -> ColumnElement[bool] | None:
    is_word, is_counted = Message.status == word, word in status.counted_statuses(state)
    if word not in STATE_OF_SILENT:
        return is_word if is_counted else None
    silent_before = times[f"{word}_silent_before"]
    if is_counted:
        # `recent` is implied, and spares reading the silent messages of all years.
        recent = Message.created_at >= times[f"{word}_created_after"]
        return and_(is_word, Message.status_at >= silent_before, recent)
    is_silent_word = and_(is_word, Message.status_at < silent_before)
    return is_silent_word if STATE_OF_SILENT[word] is state else None


def _silence_limit(word: str) -> timedelta:
    limit = status.silence_limit(word, receipt_window())
    if limit is None:
        raise KeyError(word)
    return limit
