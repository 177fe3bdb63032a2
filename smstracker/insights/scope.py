"""What the figures of a range are read from: rollups of whole days, and messages of the rest."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, or_

from smstracker.models.creation_time import Range, from_epoch
from smstracker.models.insight_rollups import DAY_SECONDS, EpochRange, Rollup, day_start


@dataclass(frozen=True, slots=True)
class Scope:
    """What is read of one owner or of EVERYONE; `changed` are days whose rollups are outdated."""

    connection: Connection
    now: datetime
    owner_id: int
    since: datetime
    until: datetime
    coverage: range
    changed: set[int]

    def counted_days(self) -> range:
        """The counted days that are whole in the range."""
        start, end = self._epoch_range()
        first = max(self.coverage.start, day_start(start + DAY_SECONDS - 1))
        return range(first, min(self.coverage.stop, day_start(end)), DAY_SECONDS)

    def from_rollups(self, table: type[Rollup]) -> ColumnElement[bool]:
        """The condition of the rows of a rollup table that count."""
        start, end = self._epoch_range()
        days, bucket_day = self.counted_days(), table.bucket - table.bucket % DAY_SECONDS
        is_counted = (table.bucket >= days.start, table.bucket < days.stop)
        is_current = and_(*is_counted, bucket_day.not_in(self.changed))
        in_range = (table.bucket >= start, table.bucket < end)
        return and_(table.owner_id == self.owner_id, *in_range, or_(table.is_deleted, is_current))

    def from_messages(self) -> list[Range]:
        """The ranges of creation that are not in `from_rollups`."""
        days = self.counted_days()
        if not days:
            return [(self.since, self.until)]
        changed = [from_epoch(day) for day in sorted(self.changed) if day in days]
        edges = [(self.since, from_epoch(days.start)), (from_epoch(days.stop), self.until)]
        ranges = [*edges, *((day, day + timedelta(seconds=DAY_SECONDS)) for day in changed)]
        return [(start, end) for start, end in ranges if start < end]

    def _epoch_range(self) -> EpochRange:
        return math.ceil(self.since.timestamp()), math.floor(self.until.timestamp())
