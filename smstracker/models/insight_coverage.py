"""Which buckets the rollups of /insights cover, and which have changed since they were counted."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from smstracker.database.engine import upsert
from smstracker.models.creation_time import bucket_start
from smstracker.models.events import StatusEvent
from smstracker.models.insight_rollups import EpochRange, InsightCoverage, InsightRecount, Rollup
from smstracker.models.messages import Message

NAME = "insights"
MAX_CHANGES = 5_000  # events, and as many other changes, that a page looks through


@dataclass(frozen=True, slots=True)
class Coverage:
    """The columns of InsightCoverage; nothing is counted if `since` equals `until`."""

    since: int = 0
    until: int = 0

    def whole_buckets(self, table: type[Rollup], start: int, end: int) -> EpochRange:
        """The counted buckets of a table that are within a range; empty if start is not below."""
        first, last = max(self.since, start), min(self.until, end)
        return table.floor(first + table.width - 1), table.floor(last)

    def changed_buckets(self, table: type[Rollup], quarters: Iterable[int]) -> list[EpochRange]:
        """The counted buckets of a table that these quarters are in."""
        first, last = self.whole_buckets(table, self.since, self.until)
        starts = sorted({table.floor(quarter) for quarter in quarters})
        return [(start, start + table.width) for start in starts if first <= start < last]


def read_coverage(connection: Connection) -> Coverage:
    columns = (InsightCoverage.since, InsightCoverage.until)
    row = connection.execute(select(*columns).where(InsightCoverage.name == NAME)).one_or_none()
    return Coverage(*row) if row else Coverage()


def store_coverage(connection: Connection, coverage: Coverage) -> None:
    columns = asdict(coverage)
    statement = upsert(connection.dialect.name, InsightCoverage, ("name",), columns)
    connection.execute(statement.values(name=NAME, **columns))


def request_recount(connection: Connection, message_ids: Collection[int]) -> None:
    """Have the quarters of messages counted again, for a change that no event records."""
    quarter = bucket_start()
    quarters = select(quarter).where(Message.id.in_(message_ids)).distinct()
    connection.execute(insert(InsightRecount).from_select(["quarter"], quarters))


def changed_quarters(connection: Connection, position: int) -> set[int] | None:
    """The quarters with changes after a position; None if these are more than MAX_CHANGES."""
    events = select(StatusEvent.message_id).where(StatusEvent.id > position)
    events = events.where(StatusEvent.message_id.is_not(None)).order_by(StatusEvent.id)
    unread = events.limit(MAX_CHANGES + 1).subquery()
    quarter = bucket_start()
    changes = select(quarter, func.count()).join(unread, unread.c.message_id == Message.id)
    counts = dict(connection.execute(changes.group_by(quarter)).tuples().all())
    requests = connection.scalars(select(InsightRecount.quarter).limit(MAX_CHANGES + 1)).all()
    if max(sum(counts.values()), len(requests)) > MAX_CHANGES:
        return None
    return counts.keys() | set(requests)


def first_change_at(connection: Connection, position: int) -> datetime | None:
    """When the first event after a position arrived; other changes have no time."""
    arrived_at = func.coalesce(StatusEvent.replayed_at, StatusEvent.received_at)
    query = select(arrived_at).where(StatusEvent.id > position, StatusEvent.message_id.is_not(None))
    moment: datetime | None = connection.scalar(query.order_by(StatusEvent.id).limit(1))
    return moment
