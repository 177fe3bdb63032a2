"""The status events as a feed: what has changed since a position, for readers without a lock.

A position is the id of an event. PostgreSQL assigns ids before the commit, so a lower one may
become visible after a higher one; a position is settled only below the lowest missing id. SQLite
has one writer at a time, so no id becomes visible late.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Select, and_, case, func, or_, select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models.events import StatusEvent
from smstracker.models.messages import Message

# The newest events, among which a missing id is searched.
MAX_SCANNED_EVENTS = 1_000
# No transaction is open for that long: see TIME_LIMITS in `database.engine`.
MAX_TRANSACTION = timedelta(seconds=30)


def settled_position() -> int:
    """The highest id up to which every event is visible, judged by the newest events."""
    newest = select(StatusEvent.id).order_by(StatusEvent.id.desc())
    if db.engine.dialect.name == "sqlite":
        return db.session.scalar(newest.limit(1)) or 0
    return db.session.scalar(_settled(utcnow())) or 0


def _settled(now: datetime) -> Select[tuple[int]]:
    """The id below the lowest missing one among the newest events.

    An id missing for longer than MAX_TRANSACTION does not count: it was rolled back, or skipped
    after a crash. A position below it would make every page reload all its rows until a thousand
    events have followed.
    """
    arrived_at = func.coalesce(StatusEvent.replayed_at, StatusEvent.received_at)
    newest = select(StatusEvent.id, arrived_at.label("arrived_at"))
    newest = newest.order_by(StatusEvent.id.desc()).limit(MAX_SCANNED_EVENTS)
    events = newest.subquery()
    # The very first event may be late as well.
    before_first = case((events.c.id <= MAX_SCANNED_EVENTS, 0), else_=events.c.id - 1)
    previous = func.coalesce(func.lag(events.c.id).over(order_by=events.c.id), before_first)
    pairs = select(events, previous.label("previous")).subquery()
    has_gap = pairs.c.id > pairs.c.previous + 1
    is_recent = pairs.c.arrived_at > now - MAX_TRANSACTION
    lowest = func.min(case((and_(has_gap, is_recent), pairs.c.previous)))
    return select(func.coalesce(lowest, func.max(pairs.c.id)))


def select_changes(
    position: int, missing: Iterable[int], limit: int
) -> Select[tuple[int, int, uuid.UUID]]:
    """(event id, owner id, public id) of events after `position` or among the `missing` ids.

    Owner and public id are None for an event that belongs to no message yet.
    """
    is_new = StatusEvent.id > position
    missing_ids = list(missing)
    query = select(StatusEvent.id, Message.owner_id, Message.public_id)
    query = query.outerjoin(Message, Message.id == StatusEvent.message_id)
    query = query.where(or_(is_new, StatusEvent.id.in_(missing_ids)) if missing_ids else is_new)
    return query.order_by(StatusEvent.id).limit(limit)


def select_changed_messages(owner_id: int, position: int, limit: int) -> Select[tuple[uuid.UUID]]:
    """The public ids of an owner's messages with events after a position."""
    query = select(Message.public_id).join(StatusEvent, StatusEvent.message_id == Message.id)
    query = query.where(StatusEvent.id > position, Message.owner_id == owner_id)
    return query.distinct().limit(limit)
