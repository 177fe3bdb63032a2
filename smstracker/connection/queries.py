"""The questions behind the report. Each reads an index; none asks once for each row."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from sqlalchemy import (
    ScalarSelect,
    Select,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.sql import ColumnElement

from smstracker.models import (
    CallbackTally,
    Heartbeat,
    Message,
    RefusedCallback,
    StatusEvent,
    User,
)
from smstracker.models.callback_counts import bucket_start
from smstracker.sms import status
from smstracker.sms.status import Source, State

SAMPLE = 2000
UNKNOWN_AFTER = timedelta(minutes=10)
UNHEARD_AFTER = timedelta(minutes=5)
UNHEARD_WITHIN = timedelta(days=7)

# Accepted by Twilio and on their way. Of a scheduled message no callback is due for days.
_ON_THE_WAY = tuple(
    word for word in status.counted_statuses(State.WAITING) if word not in ("pending", "scheduled")
)


TALLIED = (
    CallbackTally.accepted,
    CallbackTally.repeated,
    CallbackTally.by_key,
    CallbackTally.unmatched,
    CallbackTally.refused,
    CallbackTally.not_stored,
)


def tally(now: datetime, spans: Iterable[timedelta]) -> Select[Any]:
    """The columns of `TALLIED` for each span in turn."""
    sums: list[ColumnElement[Any]] = []
    longest = now
    for span in spans:
        since = bucket_start(now - span)
        longest = min(longest, since)
        for column in TALLIED:
            sums.append(sum_if(CallbackTally.began_at >= since, column))
    return select(*sums).where(CallbackTally.began_at >= longest)


def last_callback(since: datetime) -> Select[tuple[datetime | None]]:
    """When the last callback was accepted.

    It is taken from the tally, or, if that has none (yet), from the messages that ended `since`.
    """
    newest = (
        select(CallbackTally.began_at)
        .where(CallbackTally.last_accepted_at.is_not(None))
        .order_by(CallbackTally.began_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    tallied = select(func.max(CallbackTally.last_accepted_at)).where(
        CallbackTally.began_at == newest
    )
    told = (
        select(Message.final_at)
        .where(Message.final_at > since, Message.status_source == Source.CALLBACK)
        .order_by(Message.final_at.desc())
        .limit(1)
    )
    either = func.coalesce(tallied.scalar_subquery(), told.scalar_subquery())
    return select(either)


def finals_by_callback(now: datetime, spans: Sequence[timedelta]) -> Select[Any]:
    """How many messages a callback made final, for each span; read from an index alone."""
    of = and_(Message.final_at > now - max(spans), Message.status_source == Source.CALLBACK)
    return select(*_each(Message.final_at, now, spans)).where(of)


def finals_by_lookup(now: datetime, spans: Sequence[timedelta]) -> Select[Any]:
    """How many messages a look-up found at their end, for each span.

    Then, for each span, how many of them a refused callback would have ended.
    """
    of = and_(Message.final_at > now - max(spans), _was_missed())
    refused = select(RefusedCallback.twilio_sid).where(
        RefusedCallback.is_plausible, RefusedCallback.status.in_(status.FINAL)
    )
    final_if_refused = case((Message.twilio_sid.in_(refused), Message.final_at))
    counts = (_each(ended_at, now, spans) for ended_at in (Message.final_at, final_if_refused))
    return select(*chain.from_iterable(counts)).where(of)


def count_repaired(moment: datetime) -> Select[tuple[int]]:
    """How many messages that Twilio accepted after `moment` a look-up found at their end."""
    found = select(func.count()).select_from(Message)
    return found.where(Message.final_at > moment, Message.accepted_at > moment, _was_missed())


def callback_moments(since: datetime) -> Select[Any]:
    """Of the newest messages that ended: accepted, first callback, first final callback."""
    newest = (
        select(Message.id, Message.accepted_at)
        .where(Message.final_at > since, Message.accepted_at.is_not(None))
        .order_by(Message.final_at.desc())
        .limit(SAMPLE)
        .subquery()
    )
    came = StatusEvent.received_at
    is_end = case((StatusEvent.status.in_(status.FINAL), came))
    return (
        select(
            newest.c.accepted_at,
            func.min(came).label("first_at"),
            func.min(is_end).label("end_at"),
        )
        .join(StatusEvent, StatusEvent.message_id == newest.c.id)
        .where(StatusEvent.source == Source.CALLBACK, StatusEvent.replayed_at.is_(None))
        .group_by(newest.c.id, newest.c.accepted_at)
    )


def message_counts(now: datetime, last: datetime | None) -> Select[Any]:
    """Messages of a day; of unknown outcome; unheard; and unheard since the last callback.

    Asked owner by owner, because the indexes on messages begin with the owner.
    """
    unheard = _is_unheard(now)
    since = Message.accepted_at > last if last else true()
    return select(
        func.sum(_join_owner(Message.created_at > now - timedelta(days=1))).label("sent"),
        func.sum(_join_owner(_is_unknown(now))).label("unknown"),
        func.sum(_join_owner(unheard)).label("unheard"),
        func.sum(_join_owner(and_(unheard, since))).label("waiting_since"),
    ).select_from(User)


def oldest_message() -> Select[tuple[datetime]]:
    return select(Message.created_at).order_by(Message.id).limit(1)


def workers() -> Select[Any]:
    """Newest beat first."""
    of = (Heartbeat.worker, Heartbeat.started_at, Heartbeat.beat_at, Heartbeat.problem)
    return select(*of).order_by(Heartbeat.beat_at.desc())


def _was_missed() -> ColumnElement[bool]:
    """No callback can be due for a message that was never sent or that Twilio has deleted."""
    can_be_due = Message.status.not_in(status.NOT_CALLED_BACK)
    return and_(Message.status_source == Source.LOOKUP, can_be_due)


def _is_unknown(now: datetime) -> ColumnElement[bool]:
    return and_(Message.status.in_(status.OUTCOME_OPEN), Message.status_at < now - UNKNOWN_AFTER)


def _is_unheard(now: datetime) -> ColumnElement[bool]:
    called_back = (
        select(StatusEvent.id)
        .where(StatusEvent.message_id == Message.id, StatusEvent.source == Source.CALLBACK)
        .exists()
    )
    # The status settles it for nearly all; a callback that repeats what was known leaves no trace.
    moved_otherwise = or_(Message.status_source.is_(None), Message.status_source != Source.CALLBACK)
    return and_(
        Message.status.in_(_ON_THE_WAY),
        Message.accepted_at <= now - UNHEARD_AFTER,
        # Bounded by the status time, whose index leads to few; created_at would lead to them all.
        Message.status_at > now - UNHEARD_WITHIN,
        Message.accepted_at > now - UNHEARD_WITHIN,
        moved_otherwise,
        ~called_back,
    )


def _join_owner(condition: ColumnElement[bool]) -> ScalarSelect[int]:
    of = select(func.count()).select_from(Message)
    return of.where(Message.owner_id == User.id, condition).correlate(User).scalar_subquery()


def _each(column: Any, now: datetime, spans: Iterable[timedelta]) -> list[ColumnElement[Any]]:
    return [sum_if(column > now - span, literal(1)) for span in spans]


def sum_if(condition: ColumnElement[bool], value: Any) -> ColumnElement[Any]:
    """The sum of `value` over the rows that fulfil the condition; 0 if none does."""
    return func.coalesce(func.sum(case((condition, value), else_=0)), 0)
