"""Reads from the rollups what is counted of a range of time."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, literal, select

from smstracker.extensions import db
from smstracker.models import insight_buckets
from smstracker.models.insight_rollups import DAY, HALF_HOUR, InsightBucket, InsightRollup

# The columns `outcomes` and `sums` of a rollup; None if empty or counted elsewhere.
Packed = tuple[str | None, str | None]


@dataclass(slots=True)
class CountedRollups:
    """Rollups by the start of their bucket.

    `current` and `stale` are half hours; their counts are right until `valid_until`. A day in
    `days` may have only its sums there, and its outcomes in `current`.
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


def read_rollups(
    owner_id: int,
    start: int,
    end: int,
    now: datetime,
    changed: set[int],
    bar_starts: Iterable[datetime],
) -> CountedRollups:
    """The rollups of one owner from `start` to `end` (epoch seconds of whole half hours).

    A half hour in `changed` is stale. A day that a bar start splits has its outcomes by half hour.
    """
    split_days = {int(at.timestamp()) // DAY * DAY for at in bar_starts if at.timestamp() % DAY}
    changed_days = {at - at % DAY for at in changed}
    counted = CountedRollups()
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
