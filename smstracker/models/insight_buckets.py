"""Which buckets of time are counted for /insights, and their rollups."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, delete, insert, select, update

from smstracker.extensions import settings
from smstracker.models.insight_rollups import (
    DAY,
    EVERYONE,
    HALF_HOUR,
    InsightBucket,
    InsightRollup,
)
from smstracker.models.message_totals import NEVER, MessageTotals
from smstracker.models.totals_query import first_message_at

# By how much the clock of one machine may be ahead of another's.
MAX_CLOCK_SKEW = 60  # seconds
BucketKey = tuple[int, int, int]  # width, day, start


@dataclass(slots=True)
class CountedBucket:
    """The totals of one bucket by owner, to be stored."""

    start: int
    width: int
    stale_at: int | None = None  # None: the earliest of the totals
    by_owner: dict[int, MessageTotals] = field(default_factory=dict)

    def add(self, owner_id: int, totals: MessageTotals) -> None:
        self.by_owner.setdefault(owner_id, MessageTotals()).add(totals)

    @property
    def day(self) -> int:
        return self.start - self.start % DAY

    @property
    def key(self) -> BucketKey:
        return self.width, self.day, self.start

    def bucket_row(self, now: datetime) -> dict[str, int]:
        earliest = min((totals.stale_at for totals in self.by_owner.values()), default=NEVER)
        return {
            **self._key_columns(),
            "stale_at": earliest if self.stale_at is None else self.stale_at,
            "window_hours": settings().receipt_window_hours,
            "made_at": int(now.timestamp()),
        }

    def rollup_rows(self) -> list[dict[str, Any]]:
        """A row for each owner and one for EVERYONE; none if there are no messages."""
        if not self.by_owner:
            return []
        everyone = MessageTotals()
        for totals in self.by_owner.values():
            everyone.add(totals)
        return [
            {**self._key_columns(), "owner_id": owner_id, **totals.packed_columns()}
            for owner_id, totals in {**self.by_owner, EVERYONE: everyone}.items()
        ]

    def _key_columns(self) -> dict[str, int]:
        return {"width": self.width, "day": self.day, "began": self.start}


def is_usable(bucket: Row[Any], now: datetime) -> bool:
    """Whether the counts were right once: same receipt window, and a clock that was not put back.

    `bucket` has the columns of InsightBucket.
    """
    has_window: bool = bucket.window_hours == settings().receipt_window_hours
    return has_window and bool(bucket.made_at <= now.timestamp() + MAX_CLOCK_SKEW)


def is_current(bucket: Row[Any], now: datetime) -> bool:
    """Whether the counts are right now: neither an event nor silence has changed them."""
    return is_usable(bucket, now) and bool(bucket.stale_at >= now.timestamp())


def uncounted_half_hours(connection: Connection, now: datetime, until: datetime) -> list[int]:
    """The half hours up to `until` without current counts, newest first."""
    first_at = first_message_at(connection, None)
    if first_at is None:
        return []
    start = int(first_at.timestamp()) // HALF_HOUR * HALF_HOUR
    end = int(until.timestamp()) // HALF_HOUR * HALF_HOUR
    # The condition of `is_current` in SQL.
    query = select(InsightBucket.began).where(
        InsightBucket.width == HALF_HOUR,
        InsightBucket.stale_at >= now.timestamp(),
        InsightBucket.made_at <= now.timestamp() + MAX_CLOCK_SKEW,
        InsightBucket.window_hours == settings().receipt_window_hours,
    )
    counted = set(connection.scalars(query))
    return [at for at in range(end - HALF_HOUR, start - 1, -HALF_HOUR) if at not in counted]


def days_to_roll_up(connection: Connection, now: datetime) -> list[tuple[int, int]]:
    """(day, stale_at) of days without a rollup whose half hours are all current, newest first."""
    rolled_up: set[int] = set()
    stale_times: dict[int, list[int]] = {}
    for bucket in connection.execute(select(InsightBucket.__table__)):
        if is_current(bucket, now):
            if bucket.width == DAY:
                rolled_up.add(bucket.day)
            else:
                stale_times.setdefault(bucket.day, []).append(bucket.stale_at)
    complete = [
        (day, min(times)) for day, times in stale_times.items() if len(times) == DAY // HALF_HOUR
    ]
    return sorted(((day, at) for day, at in complete if day not in rolled_up), reverse=True)


def half_hour_rollups(connection: Connection, day: int) -> list[tuple[int, MessageTotals]]:
    """(owner, totals) of each half hour of a day, without those of EVERYONE."""
    query = select(InsightRollup.owner_id, InsightRollup.outcomes, InsightRollup.sums).where(
        InsightRollup.width == HALF_HOUR,
        InsightRollup.day == day,
        InsightRollup.owner_id != EVERYONE,
    )
    return [
        (owner_id, MessageTotals.unpack(outcomes, sums))
        for owner_id, outcomes, sums in connection.execute(query)
    ]


def store_buckets(connection: Connection, buckets: Sequence[CountedBucket], now: datetime) -> None:
    """Replace buckets and their rollups, and delete the rollups of days that contain them."""
    keys = [bucket.key for bucket in buckets]
    days = [(DAY, bucket.day, bucket.day) for bucket in buckets if bucket.width == HALF_HOUR]
    for key in sorted({*keys, *days}):
        connection.execute(delete(InsightBucket).where(*_has_key(InsightBucket, key)))
    for key in keys:
        connection.execute(delete(InsightRollup).where(*_has_key(InsightRollup, key)))
    connection.execute(insert(InsightBucket), [bucket.bucket_row(now) for bucket in buckets])
    if rollups := [row for bucket in buckets for row in bucket.rollup_rows()]:
        connection.execute(insert(InsightRollup), rollups)


def mark_changed(connection: Connection, half_hours: Iterable[int], changed_at: datetime) -> None:
    """Have half hours counted again; until then, their counts are those of before `changed_at`."""
    keys = sorted((HALF_HOUR, start - start % DAY, start) for start in half_hours)
    for day in sorted({day for _, day, _ in keys}):
        connection.execute(delete(InsightBucket).where(*_has_key(InsightBucket, (DAY, day, day))))
    stale_at, changed = InsightBucket.stale_at, int(changed_at.timestamp())
    earliest = case((stale_at < 0, stale_at), (stale_at < changed, -stale_at), else_=-changed)
    for key in keys:
        statement = update(InsightBucket).where(*_has_key(InsightBucket, key))
        connection.execute(statement.values(stale_at=earliest))


def _has_key(
    table: type[InsightBucket] | type[InsightRollup], key: BucketKey
) -> tuple[ColumnElement[bool], ...]:
    width, day, start = key
    return table.width == width, table.day == day, table.began == start
