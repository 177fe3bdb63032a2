"""The cursor of the rollup job: which status events and changes the rollups include."""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select, update

from smstracker.database.engine import affected_rows, dialect_insert
from smstracker.models.events import StatusEvent
from smstracker.models.insight_rollups import HALF_HOUR, InsightChange, InsightCursor
from smstracker.models.messages import Message
from smstracker.models.totals_query import EpochSeconds

NAME = "insights"
# Longer than the database lets a transaction last.
SETTLED_AFTER = 30  # seconds
MAX_FOLLOWED = 5_000  # events, and as many changes, in one step


@dataclass(frozen=True, slots=True)
class RollupCursor:
    """The columns of InsightCursor as they were read."""

    version: int
    event_id: int | None
    change_id: int
    seen_event_id: int
    seen_change_id: int
    seen_at: int

    @property
    def is_started(self) -> bool:
        """Whether buckets may be counted: false until the first `seen_` ids are complete."""
        return self.event_id is not None


def read_cursor(connection: Connection) -> RollupCursor | None:
    row = connection.execute(select(InsightCursor.__table__)).mappings().one_or_none()
    return RollupCursor(**{key: row[key] for key in RollupCursor.__slots__}) if row else None


def next_cursor(
    connection: Connection, cursor: RollupCursor | None, now: datetime
) -> RollupCursor | None:
    """Where the cursor moves next; None if it has to wait or nothing is new."""
    newest_event, newest_change = connection.execute(
        select(
            select(func.coalesce(func.max(StatusEvent.id), 0)).scalar_subquery(),
            select(func.coalesce(func.max(InsightChange.id), 0)).scalar_subquery(),
        )
    ).one()
    seen_at = int(now.timestamp())
    if cursor is None:
        return RollupCursor(0, None, 0, newest_event, newest_change, seen_at)
    if abs(now.timestamp() - cursor.seen_at) < SETTLED_AFTER:
        return None
    complete_event, complete_change = cursor.seen_event_id, cursor.seen_change_id
    if cursor.event_id is None:
        # No bucket is counted yet that earlier events could change.
        return replace(cursor, event_id=complete_event, change_id=complete_change)
    if (cursor.event_id, cursor.change_id) == (complete_event, complete_change):
        if newest_event <= cursor.event_id and newest_change <= cursor.change_id:
            return None
        # The table of changes is emptied, but its ids go on.
        newest_change = max(newest_change, cursor.change_id)
        return replace(
            cursor, seen_event_id=newest_event, seen_change_id=newest_change, seen_at=seen_at
        )
    return replace(
        cursor,
        event_id=min(complete_event, cursor.event_id + MAX_FOLLOWED),
        change_id=min(complete_change, cursor.change_id + MAX_FOLLOWED),
    )


def count_followed(before: RollupCursor | None, after: RollupCursor) -> int:
    """How many ids lie between two positions."""
    if before is None or before.event_id is None or after.event_id is None:
        return 0
    return after.event_id + after.change_id - before.event_id - before.change_id


def create_cursor(connection: Connection, cursor: RollupCursor) -> None:
    """Insert the cursor unless another worker has."""
    statement = dialect_insert(connection.engine, InsightCursor)
    statement = statement.values(name=NAME, **asdict(cursor))
    connection.execute(statement.on_conflict_do_nothing())


def advance(
    connection: Connection, before: RollupCursor, after: RollupCursor | None = None
) -> bool:
    """Move the cursor, or only its version; False if another worker wrote since `before`.

    On True, no other worker can write until this transaction ends.
    """
    columns = asdict(after or before) | {"version": before.version + 1}
    statement = update(InsightCursor).where(InsightCursor.version == before.version)
    return affected_rows(connection.execute(statement.values(**columns))) == 1


def delete_followed_changes(connection: Connection, cursor: RollupCursor) -> None:
    connection.execute(delete(InsightChange).where(InsightChange.id <= cursor.change_id))


def changed_buckets(connection: Connection, before: RollupCursor, after: RollupCursor) -> set[int]:
    """The half hours whose messages have changed between two positions."""
    if before.event_id is None or count_followed(before, after) == 0:
        return set()
    events = select(StatusEvent.message_id).where(
        StatusEvent.id > before.event_id, StatusEvent.id <= after.event_id
    )
    changes = select(InsightChange.message_id).where(
        InsightChange.id > before.change_id, InsightChange.id <= after.change_id
    )
    changed = events.union_all(changes).subquery()
    query = select(_half_hour()).select_from(changed)
    query = query.join(Message, Message.id == changed.c.message_id).distinct()
    return set(connection.scalars(query))


def unfollowed_buckets(connection: Connection, cursor: RollupCursor) -> set[int] | None:
    """The half hours whose messages have changed after the cursor.

    None if these are more than MAX_FOLLOWED events and changes.
    """
    events = _unfollowed_events(cursor, StatusEvent.message_id)
    changes = select(InsightChange.message_id).where(InsightChange.id > cursor.change_id)
    limited = [
        select(query.order_by(key).limit(MAX_FOLLOWED + 1).subquery().c.message_id)
        for query, key in ((events, StatusEvent.id), (changes, InsightChange.id))
    ]
    changed = limited[0].union_all(limited[1]).subquery()
    half_hour = _half_hour()
    totals = select(half_hour, func.count()).select_from(changed)
    totals = totals.join(Message, Message.id == changed.c.message_id).group_by(half_hour)
    counts: dict[int, int] = dict(connection.execute(totals).tuples().all())
    return None if sum(counts.values()) > MAX_FOLLOWED else set(counts)


def first_unfollowed_at(connection: Connection, cursor: RollupCursor) -> datetime | None:
    """When the first event after the cursor arrived; None if there is none.

    A change of price or sender has no time.
    """
    arrived_at = func.coalesce(StatusEvent.replayed_at, StatusEvent.received_at)
    query = _unfollowed_events(cursor, arrived_at).order_by(StatusEvent.id).limit(1)
    moment: datetime | None = connection.scalar(query)
    return moment


def _unfollowed_events(cursor: RollupCursor, column: Any) -> Select[Any]:
    return select(column).where(
        StatusEvent.id > cursor.event_id, StatusEvent.message_id.is_not(None)
    )


def _half_hour() -> ColumnElement[int]:
    created = EpochSeconds(Message.created_at)
    return (created - created % HALF_HOUR).label("half_hour")
