"""The SQL that counts messages for /insights, by half hour."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from smstracker.extensions import settings
from smstracker.models.display_state import is_silent
from smstracker.models.insight_rollups import HALF_HOUR
from smstracker.models.message_totals import MessageTotals, duration_bin
from smstracker.models.messages import Message
from smstracker.models.users import User
from smstracker.sms import status
from smstracker.sms.status import Source

# No calling code is longer, and none is the beginning of another.
CALLING_CODE_DIGITS = 3
LONG_AGO = datetime.min.replace(tzinfo=UTC)
Range = tuple[datetime, datetime]


class EpochSeconds(GenericFunction[int]):
    """Whole seconds since 1970, rounded down."""

    type = BigInteger()
    inherit_cache = True


@compiles(EpochSeconds, "sqlite")
def _compile_for_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    # strftime would round the fraction, half a millisecond of it up to the next second.
    seconds = f"substr({compiler.process(element.clauses, **kw)}, 1, 19)"
    return f"CAST(strftime('%s', {seconds}) AS INTEGER)"


@compiles(EpochSeconds, "postgresql")
def _compile_for_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return f"CAST(floor(extract(epoch FROM {compiler.process(element.clauses, **kw)})) AS BIGINT)"


def from_epoch(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def merge_ranges(ranges: Iterable[Range]) -> list[Range]:
    """The same ranges in order, those that touch as one, empty ones left out."""
    merged: list[Range] = []
    for since, until in sorted(ranges):
        if merged and since <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], until))
        elif since < until:
            merged.append((since, until))
    return merged


def first_message_at(connection: Connection, owner_id: int | None) -> datetime | None:
    """When the first message was created, of all owners if `owner_id` is None."""
    created_at: datetime | None = connection.scalar(first_message_query(owner_id))
    return created_at


def first_message_query(owner_id: int | None) -> Select[Any]:
    """The query of `first_message_at`; uses the index of each owner."""
    query = select(Message.created_at).order_by(Message.created_at, Message.id).limit(1)
    if owner_id is not None:
        return query.where(Message.owner_id == owner_id)
    per_owner = query.where(Message.owner_id == User.id).correlate(User).scalar_subquery()
    # Without this FROM, the subquery would read the messages of all owners at once.
    owners = select(per_owner.label("first_at")).select_from(User).subquery()
    return select(func.min(owners.c.first_at))


def count_messages(
    connection: Connection, ranges: Sequence[Range], owner_id: int | None, now: datetime
) -> dict[int, MessageTotals]:
    """The totals of messages created in `ranges`, by start of the half hour.

    Counts the messages of all owners if `owner_id` is None.
    """
    totals = _count(connection, ranges, owner_id, now, by_owner=False)
    return {start: half_hour for (_, start), half_hour in totals.items()}


def count_by_owner(
    connection: Connection, ranges: Sequence[Range], now: datetime
) -> dict[tuple[int, int], MessageTotals]:
    """The totals of messages created in `ranges`, by (owner, start of the half hour)."""
    return _count(connection, ranges, None, now, by_owner=True)


def created_within(
    query: Select[Any], since: datetime, until: datetime, owner_id: int | None
) -> Select[Any]:
    """Limit `query` to messages created in a range; uses the index of each owner.

    An index that begins with the time would slow down every callback.
    """
    in_range = (Message.created_at >= since, Message.created_at < until)
    if owner_id is not None:
        return query.where(Message.owner_id == owner_id, *in_range)
    return query.select_from(User).join(Message, and_(Message.owner_id == User.id, *in_range))


def _count(
    connection: Connection,
    ranges: Sequence[Range],
    owner_id: int | None,
    now: datetime,
    *,
    by_owner: bool,
) -> dict[tuple[int, int], MessageTotals]:
    totals: defaultdict[tuple[int, int], MessageTotals] = defaultdict(MessageTotals)
    if ranges:
        groups = _group_columns(now, by_owner)
        query = select(
            *groups,
            func.count().label("messages"),
            func.coalesce(func.sum(Message.price_micros), 0).label("micros"),
            func.min(EpochSeconds(Message.status_at)).label("status_at"),
        )
        parts = [created_within(query, *range_, owner_id).group_by(*groups) for range_ in ranges]
        for row in connection.execute(union_all(*parts)):
            _add_row(totals[row.owner, row.half_hour], row, now)
    return totals


def _group_columns(now: datetime, by_owner: bool) -> tuple[ColumnElement[Any], ...]:
    created = EpochSeconds(Message.created_at)
    # A look-up has the time of our question, and of a read message only the reading has a time.
    # A receipt that arrives first has no accept time before it.
    has_duration = and_(
        Message.status == "delivered",
        Message.status_source == Source.CALLBACK,
        Message.final_at > Message.accepted_at,
    )
    prefix = func.substr(Message.recipient, 2, CALLING_CODE_DIGITS)
    duration = EpochSeconds(Message.final_at) - EpochSeconds(Message.accepted_at)
    return (
        (Message.owner_id if by_owner else literal(0)).label("owner"),
        (created - created % HALF_HOUR).label("half_hour"),
        Message.status.label("word"),
        case((is_silent(now), 1), else_=0).label("silent"),
        Message.error_code.label("code"),
        Message.price_unit.label("currency"),
        case((has_duration, Message.sender)).label("timed_sender"),
        case((has_duration, prefix)).label("prefix"),
        case((has_duration, duration)).label("duration"),
    )


def _add_row(totals: MessageTotals, row: Row[Any], now: datetime) -> None:
    word, silent, count = row.word, row.silent, row.messages
    window = timedelta(hours=settings().receipt_window_hours)
    since = LONG_AGO if silent else now
    state = status.display_status(word, since, now=now, receipt_window=window).state
    totals.outcomes[state, row.code] += count
    totals.add_spend(row.currency, int(row.micros), count)
    if row.duration is not None:
        totals.by_sender[row.timed_sender][duration_bin(row.duration)] += count
        totals.by_prefix[row.prefix][duration_bin(row.duration)] += count
    if not silent and (word == "pending" or word in status.AWAITING_RECEIPT):
        patience = status.PENDING_IS_UNKNOWN_AFTER if word == "pending" else window
        stale_at = row.status_at + int(patience.total_seconds())
        totals.stale_at = min(totals.stale_at, stale_at)
