"""What the figures of a range are read from: counted buckets, and the messages of the rest."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import BigInteger, ColumnElement, Connection, and_, cast, func, or_

from smstracker.models.creation_time import Range, created_within, from_epoch
from smstracker.models.insight_counts import Totals, count
from smstracker.models.insight_coverage import Coverage
from smstracker.models.insight_rollups import EpochRange, Rollup


@dataclass(frozen=True, slots=True)
class Scope:
    """What is read: of one owner or of EVERYONE, from rollups or from messages."""

    connection: Connection
    now: datetime
    owner_id: int
    since: datetime
    until: datetime
    coverage: Coverage
    changed: set[int]
    is_stale: bool = False

    def from_rollups(self, table: type[Rollup]) -> ColumnElement[bool]:
        """The condition of the rows of a rollup table that count."""
        start, end = self._epoch_range()
        first, last = self.coverage.whole_buckets(table, start, end)
        changed = [s for s, _ in self.coverage.changed_buckets(table, self.changed)]
        is_current = and_(table.bucket >= first, table.bucket < last, table.bucket.not_in(changed))
        in_range = (table.bucket >= start, table.bucket < end)
        return and_(table.owner_id == self.owner_id, *in_range, or_(table.is_deleted, is_current))

    def from_messages(self, table: type[Rollup]) -> list[Range]:
        """The ranges of creation that are not in `from_rollups`, those that touch as one."""
        if self.is_stale:
            return []
        first, last = self.coverage.whole_buckets(table, *self._epoch_range())
        if first >= last:
            return [(self.since, self.until)]
        ranges = [(self.since, from_epoch(first)), (from_epoch(last), self.until)]
        for start, end in self.coverage.changed_buckets(table, self.changed):
            if first <= start < last:
                ranges.append((from_epoch(start), from_epoch(end)))
        merged: list[Range] = []
        for since, until in sorted(ranges):
            if merged and since <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], until))
            elif since < until:
                merged.append((since, until))
        return merged

    def _epoch_range(self) -> EpochRange:
        return math.ceil(self.since.timestamp()), math.floor(self.until.timestamp())


def count_live(scope: Scope, table: type[Rollup]) -> Totals:
    ranges = scope.from_messages(table)
    if not ranges:
        return defaultdict(Counter)
    limit = partial(created_within, ranges=ranges, owner_id=scope.owner_id)
    return count(scope.connection, table, limit, owner_id=scope.owner_id)


def sum_columns(table: type[Rollup]) -> list[ColumnElement[int]]:
    # PostgreSQL's sum of bigint is numeric.
    return [cast(func.sum(table.__table__.c[name]), BigInteger) for name in table.sums()]


def by_column(table: type[Rollup], sums: Sequence[int]) -> dict[str, int]:
    return dict(zip(table.sums(), sums, strict=True))
