"""The figures of /insights for a range of time. Reads no phone number and no text.

Takes current buckets from their rollups and counts the rest of the range from the messages, so
that the figures always equal a plain count.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, Select, and_, func, literal, literal_column, select, union_all

from smstracker.extensions import db
from smstracker.models import insight_buckets, insight_cursor, totals_query
from smstracker.models.insight_cursor import RollupCursor
from smstracker.models.insight_rollups import (
    DAY,
    EVERYONE,
    HALF_HOUR,
    InsightBucket,
    InsightRollup,
)
from smstracker.models.message_totals import MessageTotals
from smstracker.models.totals_query import (
    Range,
    count_messages,
    created_within,
    from_epoch,
    merge_ranges,
)
from smstracker.sms.status import State
from smstracker.web.time_range import TimeRange

# Counting more than this would keep the reader waiting.
MAX_LIVE_MESSAGES = 20_000
MAX_LIVE_RANGES = 60
END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OutcomeCount:
    """`count` messages of the bucket that starts at `bucket_start` are in `state`."""

    bucket_start: datetime
    state: State
    error_code: str | None
    count: int


@dataclass(frozen=True, slots=True)
class InsightsResult:
    """The figures of a range.

    `as_of` is None if they are current; otherwise changes after it are missing, and so are
    messages created before `complete_since`.
    """

    outcomes: list[OutcomeCount]
    sums: MessageTotals
    as_of: datetime | None = None
    complete_since: datetime | None = None


# A lookup is faster than a call of State, of which a page would need thousands.
STATES = {state.value: state for state in State}
# The columns `outcomes` and `sums` of a rollup; None if empty or counted elsewhere.
Packed = tuple[str | None, str | None]


@dataclass(slots=True)
class _CountedBuckets:
    """Rollups by the start of their bucket.

    `current` and `stale` are half hours; of a stale one, `valid_until` says until when its counts
    were right. A day in `days` may have only its sums there, and its outcomes in `current`.
    """

    current: dict[int, Packed] = field(default_factory=dict)
    stale: dict[int, Packed] = field(default_factory=dict)
    days: dict[int, Packed] = field(default_factory=dict)
    valid_until: dict[int, int] = field(default_factory=dict)

    @property
    def covered(self) -> set[int]:
        """The half hours that need no count."""
        return {*self.current, *_half_hours(self.days)}

    def drop_before(self, start: int) -> None:
        self.current = {at: packed for at, packed in self.current.items() if at >= start}
        self.days = {at: packed for at, packed in self.days.items() if at >= start}


def first_message_at(owner_id: int | None) -> datetime | None:
    """When the first message was created, of all owners if `owner_id` is None."""
    return totals_query.first_message_at(db.session.connection(), owner_id)


def measure(
    owner_id: int | None, period: TimeRange, now: datetime, bar_starts: Sequence[datetime] = ()
) -> InsightsResult:
    """The figures of one owner, or of all if `owner_id` is None, for bars from `bar_starts`."""
    connection = db.session.connection()
    since, until = _bounds(owner_id, period, now)
    start, end = _whole_half_hours(since, until, now)
    cursor = insight_cursor.read_cursor(connection)
    changed: set[int] | None = set()
    if cursor is not None and cursor.is_started:
        changed = insight_cursor.unfollowed_buckets(connection, cursor)
    counted = _CountedBuckets()
    if cursor is not None:
        rollup_owner = EVERYONE if owner_id is None else owner_id
        counted = _read_rollups(rollup_owner, start, end, now, changed or set(), bar_starts)
    covered = counted.covered
    missing = [at for at in range(start, end, HALF_HOUR) if at not in covered]
    live = merge_ranges(
        [
            (since, min(from_epoch(start), until)),
            (max(from_epoch(end), since), until),
            *((from_epoch(at), from_epoch(at + HALF_HOUR)) for at in missing),
        ]
    )
    if changed is None or len(live) > MAX_LIVE_RANGES or _has_too_many(live, owner_id):
        return _stale_result(counted, cursor, now)
    return _combine(counted, count_messages(connection, live, owner_id, now))


def _bounds(owner_id: int | None, period: TimeRange, now: datetime) -> Range:
    first_at = (first_message_at(owner_id) or now).timestamp()
    # A whole half hour can come from a rollup.
    earliest = from_epoch(int(first_at // HALF_HOUR * HALF_HOUR))
    # Beyond now, because a clock may have been put back.
    return max(period.since or earliest, earliest), period.until or END_OF_TIME


def _whole_half_hours(since: datetime, until: datetime, now: datetime) -> tuple[int, int]:
    """Start and end of the whole half hours of the range that are over."""
    start = -(-int(since.timestamp() * 1_000_000) // (HALF_HOUR * 1_000_000)) * HALF_HOUR
    end = int(min(until, now).timestamp()) // HALF_HOUR * HALF_HOUR
    return start, max(start, end)


def _read_rollups(
    owner_id: int,
    start: int,
    end: int,
    now: datetime,
    changed: set[int],
    bar_starts: Iterable[datetime],
) -> _CountedBuckets:
    split_days = {int(at.timestamp()) // DAY * DAY for at in bar_starts if at.timestamp() % DAY}
    changed_days = {at - at % DAY for at in changed}
    counted = _CountedBuckets()
    in_range = (InsightBucket.day >= start, InsightBucket.day + DAY <= end)
    for row in _select_rollups(owner_id, DAY, *in_range):
        if insight_buckets.is_current(row, now) and row.day not in changed_days:
            outcomes = None if row.day in split_days else row.outcomes
            counted.days[row.day] = (outcomes, row.sums)
    is_split = InsightBucket.day.in_(split_days & counted.days.keys())
    for row in _select_rollups(owner_id, HALF_HOUR, is_split, sums=literal(None)):
        counted.current[row.began] = (row.outcomes, None)
    other_days = [day for day in range(start // DAY * DAY, end, DAY) if day not in counted.days]
    for row in _select_rollups(owner_id, HALF_HOUR, InsightBucket.day.in_(other_days)):
        if start <= row.began < end and insight_buckets.is_usable(row, now):
            is_current = insight_buckets.is_current(row, now) and row.began not in changed
            rollups = counted.current if is_current else counted.stale
            rollups[row.began] = (row.outcomes, row.sums)
            counted.valid_until[row.began] = abs(row.stale_at)
    return counted


def _select_rollups(
    owner_id: int, width: int, *where: Any, sums: Any = InsightRollup.sums
) -> Iterable[Row[Any]]:
    """Rows with the columns of InsightBucket, `outcomes` and `sums`."""
    rollup, bucket = InsightRollup, InsightBucket
    same_bucket = (
        rollup.width == bucket.width,
        rollup.day == bucket.day,
        rollup.began == bucket.began,
    )
    query = select(*bucket.__table__.c, rollup.outcomes, sums.label("sums"))
    query = query.outerjoin(rollup, and_(rollup.owner_id == owner_id, *same_bucket))
    return db.session.execute(query.where(bucket.width == width, *where))


def _half_hours(days: Iterable[int]) -> Iterable[int]:
    return (at for day in days for at in range(day, day + DAY, HALF_HOUR))


def _has_too_many(ranges: Sequence[Range], owner_id: int | None) -> bool:
    if not ranges:
        return False
    column: Select[Any] = select(literal_column("1").label("message"))
    parts = [created_within(column, *range_, owner_id) for range_ in ranges]
    messages = union_all(*parts).limit(MAX_LIVE_MESSAGES + 1).subquery()
    count = db.session.scalar(select(func.count()).select_from(messages)) or 0
    return count > MAX_LIVE_MESSAGES


def _stale_result(
    counted: _CountedBuckets, cursor: RollupCursor | None, now: datetime
) -> InsightsResult:
    """The newest rollups without a gap, as of before the first change that they miss."""
    covered = counted.covered | counted.stale.keys()
    if cursor is None or not covered:
        return InsightsResult([], MessageTotals(), now, now)
    counted.current |= counted.stale
    start = end = max(covered) + HALF_HOUR
    while start - HALF_HOUR in covered:
        start -= HALF_HOUR
    counted.drop_before(start)
    valid_until = [until for at, until in counted.valid_until.items() if at >= start]
    changed_at = insight_cursor.first_unfollowed_at(db.session.connection(), cursor) or now
    as_of = min(changed_at, now, from_epoch(min([end, *valid_until])))
    result = _combine(counted, {})
    return InsightsResult(result.outcomes, result.sums, as_of, from_epoch(start))


def _combine(counted: _CountedBuckets, live: dict[int, MessageTotals]) -> InsightsResult:
    outcomes: list[OutcomeCount] = []
    sums = MessageTotals()
    for start, (packed, packed_sums) in (*counted.days.items(), *counted.current.items()):
        bucket_start = from_epoch(start)
        for state, code, count in json.loads(packed or "[]"):
            outcomes.append(OutcomeCount(bucket_start, STATES[state], code, count))
        if packed_sums:
            sums.add_packed_sums(packed_sums)
    for start, totals in live.items():
        for (state, code), count in totals.outcomes.items():
            outcomes.append(OutcomeCount(from_epoch(start), STATES[state], code, count))
        sums.add_sums(totals)
    return InsightsResult(outcomes, sums)
