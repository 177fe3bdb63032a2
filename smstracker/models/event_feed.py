"""The status events as a feed: readers follow them without a lock, and miss none.

A position is the id of an event. PostgreSQL gives ids before the commit, so a lower id may become
visible after a higher one, or never. A position is settled if every event up to it is visible.

Whoever inserts an event holds a lock on the table, from before the event has its id until its
commit is visible. So a missing id can appear only while a transaction lasts that held such a lock
when the id was missed. A callback pays nothing for that, and no other transaction delays a reader.
SQLite has one writer at a time, so no id becomes visible late.
"""

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from sqlalchemy import BigInteger, ColumnElement, Select, String, func, or_, select, text, update
from sqlalchemy.engine import Connection, Row
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.database.engine import affected_rows
from smstracker.extensions import Model
from smstracker.models.events import StatusEvent
from smstracker.models.messages import Message

# More events pass during no transaction: see TIME_LIMITS in `database.postgresql_session`.
MAX_SCANNED_EVENTS = 50_000
_WRITERS = """
    SELECT virtualtransaction FROM pg_locks
    WHERE relation = CAST('status_event' AS regclass) AND mode = 'RowExclusiveLock' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND pid <> pg_backend_pid()
"""
# The newest event if nobody writes, or else the last before a gap behind the furthest cursor.
_SETTLED_POSITION = f"""
    SELECT CASE
        WHEN NOT EXISTS ({_WRITERS}) THEN newest.id
        ELSE coalesce(
            (SELECT max(id) FROM (
                SELECT id, row_number() OVER (ORDER BY id) AS number
                FROM status_event WHERE id > start.id
            ) AS numbered WHERE id = start.id + number),
            start.id
        )
    END
    FROM (SELECT coalesce(max(id), 0) AS id FROM status_event) AS newest, LATERAL (
        SELECT greatest(coalesce(max(position), 0), newest.id - :scanned) AS id FROM feed_cursor
    ) AS start
"""  # noqa: S608 - no value is inserted
RowT = TypeVar("RowT", bound=tuple[object, ...])


class FeedCursor(Model):
    """The settled position up to which a reader has used the events.

    `version` grows with every write of the reader, so that two of its processes notice each other.
    """

    __tablename__ = "feed_cursor"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int]


@dataclass(frozen=True, slots=True)
class CursorPosition:
    """A row of FeedCursor as it was read."""

    name: str
    position: int
    version: int

    def advance(self, connection: Connection, position: int | None = None) -> bool:
        """Move the cursor, or only its version; False if another process wrote since the read.

        On True, no other process of this reader can write until the transaction ends.
        """
        is_unchanged = (FeedCursor.name == self.name) & (FeedCursor.version == self.version)
        new_position = self.position if position is None else position
        statement = update(FeedCursor).where(is_unchanged)
        statement = statement.values(position=new_position, version=self.version + 1)
        return affected_rows(connection.execute(statement)) == 1


def read_cursor(connection: Connection, name: str) -> CursorPosition:
    """Read the cursor of a reader, which a migration has inserted."""
    columns = (FeedCursor.name, FeedCursor.position, FeedCursor.version)
    row = connection.execute(select(*columns).where(FeedCursor.name == name)).one()
    return CursorPosition(*row)


class EventTail:
    """Reads the events after a position, each once; events of late commits in a later read.

    `newest_id` is the newest event that was read, `position` the settled position.
    """

    def __init__(self, position: int) -> None:
        self.newest_id = position
        self._gaps: list[_Gap] = []

    @property
    def position(self) -> int:
        return min((gap.first for gap in self._gaps), default=self.newest_id + 1) - 1

    @property
    def has_gaps(self) -> bool:
        return bool(self._gaps)

    def read(self, connection: Connection, query: Select[RowT], limit: int) -> Sequence[Row[RowT]]:
        """Return the rows of unread events by id; the first column of `query` is their id."""
        # Before the rows: the commits of those that have ended are visible to them.
        writers = _writers(connection) if self._gaps else frozenset()
        query = query.where(self._is_unread()).order_by(StatusEvent.id).limit(limit)
        rows = connection.execute(query).all()
        # A full answer may end within a gap.
        read_until = rows[-1][0] if len(rows) == limit else math.inf
        gaps = [gap.drop_ended(writers) for gap in self._gaps]
        self._gaps = [gap for gap in gaps if gap.writers or gap.last > read_until]
        for row in rows:
            self._add(row[0])
        return rows

    def _is_unread(self) -> ColumnElement[bool]:
        in_gaps = (StatusEvent.id.between(gap.first, gap.last) for gap in self._gaps)
        return or_(StatusEvent.id > self.newest_id, *in_gaps)

    def _add(self, event_id: int) -> None:
        """Note an event as read; the ids skipped before it become a gap."""
        if event_id > self.newest_id:
            if event_id > self.newest_id + 1:
                self._gaps.append(_Gap(self.newest_id + 1, event_id - 1))
            self.newest_id = event_id
            return
        for gap in self._gaps:
            if gap.first <= event_id <= gap.last:
                self._gaps.remove(gap)
                halves = (replace(gap, last=event_id - 1), replace(gap, first=event_id + 1))
                self._gaps += [half for half in halves if half.first <= half.last]
                return


@dataclass(frozen=True, slots=True)
class _Gap:
    """Ids that are not visible; `writers` may still commit them, None if these are not known."""

    first: int
    last: int
    writers: frozenset[str] | None = None

    def drop_ended(self, writers: frozenset[str]) -> "_Gap":
        return replace(self, writers=writers & (writers if self.writers is None else self.writers))


def _writers(connection: Connection) -> frozenset[str]:
    """The transactions that may have given ids to events."""
    if connection.dialect.name == "sqlite":
        return frozenset()
    return frozenset(connection.scalars(text(_WRITERS)))


def settled_position(connection: Connection) -> int:
    """The highest id up to which every event is visible, or a lower one while gaps are recent."""
    if connection.dialect.name == "sqlite":
        return connection.scalar(select(func.max(StatusEvent.id))) or 0
    position: int = connection.scalar(text(_SETTLED_POSITION), {"scanned": MAX_SCANNED_EVENTS})
    return position


def select_changes() -> Select[tuple[int, int, uuid.UUID]]:
    """(event id, owner id, public id) of events, for EventTail.

    Owner and public id are None for an event that belongs to no message yet.
    """
    query = select(StatusEvent.id, Message.owner_id, Message.public_id)
    return query.outerjoin(Message, Message.id == StatusEvent.message_id)


def select_changed_messages(owner_id: int, position: int, limit: int) -> Select[tuple[uuid.UUID]]:
    """The public ids of an owner's messages with events after a position."""
    query = select(Message.public_id).join(StatusEvent, StatusEvent.message_id == Message.id)
    query = query.where(StatusEvent.id > position, Message.owner_id == owner_id)
    return query.distinct().limit(limit)
