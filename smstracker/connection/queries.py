"""Queries of the report: each reads an index, none runs once a row."""

from datetime import datetime

from sqlalchemy import ScalarSelect, Select, and_, case, func, literal, select, true
from sqlalchemy.sql import ColumnElement, SQLColumnExpression

from smstracker.clock import DAY, HOUR, WEEK, is_ahead, is_within
from smstracker.database.aggregates import sum_if
from smstracker.health_facts import (
    count_for_owner,
    is_final_by_lookup,
    is_unknown,
    is_without_callback,
)
from smstracker.models import CallbackTally, Message, RefusedCallback, StatusEvent, User
from smstracker.models.callback_counts import COUNTERS, bucket_start
from smstracker.sms import status
from smstracker.sms.status import Source

PERIODS = (HOUR, DAY, WEEK)
DELAY_SAMPLE_SIZE = 2000
MAX_OVERDUE_AGE = WEEK
SCANNED_SENDS = 200  # to find one that Twilio answered

_UNANSWERED_STATUSES = sorted({*status.NOT_ACCEPTED} - {"refused"})


def sum_callback_counts(now: datetime) -> Select[tuple[int, ...]]:
    """Sum the columns `COUNTERS`: one row, the columns of each period in turn."""
    starts = [bucket_start(now - period) for period in PERIODS]
    sums = [
        sum_if(CallbackTally.bucket_at >= start, getattr(CallbackTally, name))
        for start in starts
        for name in COUNTERS
    ]
    is_recent = (CallbackTally.bucket_at >= min(starts), ~is_ahead(CallbackTally.bucket_at, now))
    return select(*sums).where(*is_recent)


def last_callback_at(now: datetime) -> Select[tuple[datetime | None]]:
    """Select when the last callback of a message here was accepted.

    Falls back to the messages that became final within WEEK while no tally has counted one.
    """
    is_past = ~is_ahead(CallbackTally.bucket_at, now)
    newest_bucket = (
        select(CallbackTally.bucket_at)
        .where(CallbackTally.last_accepted_at.is_not(None), is_past)
        .order_by(CallbackTally.bucket_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    newest_counted = select(func.max(CallbackTally.last_accepted_at)).where(
        CallbackTally.bucket_at == newest_bucket
    )
    newest_final = (
        select(Message.final_at)
        .where(is_within(Message.final_at, now, WEEK), Message.status_source == Source.CALLBACK)
        .order_by(Message.final_at.desc())
        .limit(1)
    )
    return select(func.coalesce(newest_counted.scalar_subquery(), newest_final.scalar_subquery()))


def count_final_by_callback(now: datetime) -> Select[tuple[int, ...]]:
    """Count the messages that a callback made final, one column a period; covered by an index."""
    return select(*_count_by_period(Message.final_at, now)).where(
        is_within(Message.final_at, now, WEEK), Message.status_source == Source.CALLBACK
    )


def count_final_by_lookup(now: datetime) -> Select[tuple[int, ...]]:
    """Count the messages that a look-up made final although a callback was due, a column a period.

    As many columns follow: how many of these messages a refused callback would have made final.
    """
    refused_sids = select(RefusedCallback.twilio_sid).where(
        RefusedCallback.is_plausible, RefusedCallback.status.in_(status.FINAL)
    )
    final_if_refused = case((Message.twilio_sid.in_(refused_sids), Message.final_at))
    return select(
        *_count_by_period(Message.final_at, now),
        *_count_by_period(final_if_refused, now),
    ).where(is_within(Message.final_at, now, WEEK), is_final_by_lookup())


def count_looked_up(now: datetime, accepted_after: datetime) -> Select[tuple[int]]:
    """Count the messages accepted later than this that a look-up made final."""
    is_recent = and_(Message.final_at > accepted_after, Message.accepted_at > accepted_after)
    is_recent &= ~is_ahead(Message.accepted_at, now)
    count = select(func.count()).select_from(Message)
    return count.where(is_recent, is_final_by_lookup())


def callback_times(now: datetime) -> Select[tuple[datetime, datetime | None, datetime | None]]:
    """Select `accepted_at`, `first_at`, `final_at` (callbacks) of the newest final messages."""
    newest = (
        select(Message.id, Message.accepted_at)
        .where(is_within(Message.final_at, now, WEEK), Message.accepted_at.is_not(None))
        .order_by(Message.final_at.desc())
        .limit(DELAY_SAMPLE_SIZE)
        .subquery()
    )
    received_at = StatusEvent.received_at
    final_received_at = case((StatusEvent.status.in_(status.FINAL), received_at))
    return (
        select(
            newest.c.accepted_at,
            func.min(received_at).label("first_at"),
            func.min(final_received_at).label("final_at"),
        )
        .join(StatusEvent, StatusEvent.message_id == newest.c.id)
        .where(StatusEvent.source == Source.CALLBACK, StatusEvent.replayed_at.is_(None))
        .group_by(newest.c.id, newest.c.accepted_at)
    )


def count_messages(
    now: datetime, last_callback_at: datetime | None
) -> Select[tuple[int, int, int, int, datetime, datetime | None]]:
    """Count messages of a day, of unknown outcome, without callback, and of these the newer ones.

    Counted owner by owner, because the indexes on messages begin with the owner. `oldest_at` and
    `credentials_refused_at` follow.
    """
    saved_in_day = is_within(Message.created_at, now, DAY)
    in_outbox = count_for_owner(Message.status == status.OUTBOX, saved_in_day)
    without_callback = and_(
        is_without_callback(now),
        # status_at bounds it by an index that leads to few; created_at would lead to all.
        Message.status_at > now - MAX_OVERDUE_AGE,
        Message.accepted_at > now - MAX_OVERDUE_AGE,
    )
    is_newer = Message.accepted_at > last_callback_at if last_callback_at else true()
    oldest = select(Message.created_at).order_by(Message.id).limit(1)
    return select(
        func.sum(count_for_owner(saved_in_day) - in_outbox).label("sent"),
        func.sum(count_for_owner(is_unknown(now))).label("unknown"),
        func.sum(count_for_owner(without_callback)).label("without_callback"),
        func.sum(count_for_owner(without_callback, is_newer)).label("waiting"),
        oldest.scalar_subquery().label("oldest_at"),
        _credentials_refused_at().label("credentials_refused_at"),
    ).select_from(User)


def _credentials_refused_at() -> ScalarSelect[datetime | None]:
    """When Twilio refused the newest send that it answered, if it did so for its credentials."""
    newest = select(Message.id).order_by(Message.id.desc()).limit(SCANNED_SENDS).subquery()
    is_refused = and_(Message.status == "refused", Message.error_code.in_(status.CREDENTIALS_CODES))
    return (
        select(case((is_refused, Message.status_at)))
        .where(Message.id.in_(newest.select()), Message.status.not_in(_UNANSWERED_STATUSES))
        .order_by(Message.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def _count_by_period(
    column: SQLColumnExpression[datetime | None], now: datetime
) -> list[ColumnElement[int]]:
    return [sum_if(column > now - period, literal(1)) for period in PERIODS]
