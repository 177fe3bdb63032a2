"""Which days the rollups of /insights cover, and which have changed since they were counted.

Days are named by their starts; a `range` of them is the coverage.
"""

from collections.abc import Collection
from datetime import datetime
from functools import cache

from sqlalchemy import Connection, Insert, func, insert, select, update

from smstracker.database.row_sets import is_any_of
from smstracker.models.creation_time import creation_bucket
from smstracker.models.events import StatusEvent
from smstracker.models.insight_rollups import DAY_SECONDS, InsightCoverage, InsightRecount
from smstracker.models.messages import Message

NAME = "insights"
MAX_CHANGES = 5_000  # events that a page looks through


def read_coverage(connection: Connection) -> range:
    """The days that are counted."""
    row = connection.execute(select(InsightCoverage.since, InsightCoverage.until)).one()
    return range(row.since, row.until, DAY_SECONDS)


def store_coverage(connection: Connection, days: range) -> None:
    connection.execute(update(InsightCoverage).values(since=days.start, until=days.stop))


def request_recount(connection: Connection, message_ids: Collection[int]) -> None:
    """Have the days of messages counted again, for a change that no event records."""
    recount = _request_recount(connection.dialect.name)
    connection.execute(recount, {"values": list(message_ids)})


@cache
def _request_recount(dialect_name: str) -> Insert:
    days = (
        select(creation_bucket(DAY_SECONDS)).where(is_any_of(dialect_name, Message.id)).distinct()
    )
    return insert(InsightRecount).from_select(["day"], days)


def changed_days(connection: Connection, position: int) -> set[int] | None:
    """The days with changes after a position; None if these are more than MAX_CHANGES."""
    newest = connection.scalar(select(func.max(StatusEvent.id))) or 0
    if newest - position > MAX_CHANGES:
        return None
    changes = select(creation_bucket(DAY_SECONDS)).join(
        StatusEvent, StatusEvent.message_id == Message.id
    )
    changes = changes.where(StatusEvent.id > position)
    return set(connection.scalars(changes.union(select(InsightRecount.day))))


def first_change_at(connection: Connection, position: int) -> datetime | None:
    """When the first event after a position arrived; other changes have no time."""
    arrived_at = func.coalesce(StatusEvent.replayed_at, StatusEvent.received_at)
    query = select(arrived_at).where(StatusEvent.id > position, StatusEvent.message_id.is_not(None))
    moment: datetime | None = connection.scalar(query.order_by(StatusEvent.id).limit(1))
    return moment
