"""The figures of /insights for a range of time. Reads no phone number and no text.

Takes current buckets from their rollups and counts the rest of the range from the messages, so
that the figures always equal a plain count.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, func, literal_column, select, union_all

from smstracker.extensions import db
from smstracker.insights.rollup_query import CountedRollups, read_rollups
from smstracker.models import insight_cursor, totals_query
from smstracker.models.insight_cursor import RollupCursor
from smstracker.models.insight_rollups import EVERYONE, HALF_HOUR
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
    counted = CountedRollups()
    if cursor is not None:
        rollup_owner = EVERYONE if owner_id is None else owner_id
        counted = read_rollups(rollup_owner, start, end, now, changed or set(), bar_starts)
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


def _has_too_many(ranges: Sequence[Range], owner_id: int | None) -> bool:
    if not ranges:
        return False
    column: Select[Any] = select(literal_column("1").label("message"))
    parts = [created_within(column, *range_, owner_id) for range_ in ranges]
    messages = union_all(*parts).limit(MAX_LIVE_MESSAGES + 1).subquery()
    count = db.session.scalar(select(func.count()).select_from(messages)) or 0
    return count > MAX_LIVE_MESSAGES


def _stale_result(
    counted: CountedRollups, cursor: RollupCursor | None, now: datetime
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


def _combine(counted: CountedRollups, live: dict[int, MessageTotals]) -> InsightsResult:
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
