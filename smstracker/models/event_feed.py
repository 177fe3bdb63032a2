"""The status events as a feed: what has changed since a position, for readers that hold no lock.

A position is the id of an event. On PostgreSQL ids are given before the commit, so a lower one may
become visible after a higher one; a position is therefore settled only below the lowest id that is
missing. SQLite has one writer at a time, and nothing comes late.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Select, and_, case, func, or_, select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models.events import StatusEvent
from smstracker.models.messages import Message

# How many of the newest events are looked through for one that is missing.
LOOKED_THROUGH = 1_000
# No transaction is open for that long: see the timeouts in `database.engine_options`.
STILL_OPEN = timedelta(seconds=30)


def settled_position() -> int:
    """Every event up to here is visible, as far as the newest events tell."""
    newest = select(StatusEvent.id).order_by(StatusEvent.id.desc())
    if db.engine.dialect.name == "sqlite":
        return db.session.scalar(newest.limit(1)) or 0
    return db.session.scalar(_settled(utcnow())) or 0


def _settled(now: datetime) -> Select[tuple[int]]:
    """The id below the lowest that is missing among the newest.

    Not below one that was left out long ago: it was rolled back, or skipped after a crash, and a
    place below it would have every page look at everything again until a thousand have followed.
    """
    begun = func.coalesce(StatusEvent.replayed_at, StatusEvent.received_at).label("begun")
    newest = select(StatusEvent.id, begun).order_by(StatusEvent.id.desc())
    some = newest.limit(LOOKED_THROUGH).subquery()
    # The very first event may be late as well.
    none_before = case((some.c.id <= LOOKED_THROUGH, 0), else_=some.c.id - 1)
    before = func.coalesce(func.lag(some.c.id).over(order_by=some.c.id), none_before)
    pairs = select(some.c.id, some.c.begun, before.label("before")).subquery()
    is_missing = and_(pairs.c.id > pairs.c.before + 1, pairs.c.begun > now - STILL_OPEN)
    lowest = func.min(case((is_missing, pairs.c.before)))
    return select(func.coalesce(lowest, func.max(pairs.c.id)))


def changes(after: int, missing: Iterable[int], limit: int) -> Select[tuple[int, int, uuid.UUID]]:
    """(event, owner, message) of what became visible after `after` or had been missing before it.

    Owner and message are None while nobody knows whose event it is.
    """
    wanted = StatusEvent.id > after
    late = list(missing)
    query = select(StatusEvent.id, Message.owner_id, Message.public_id)
    query = query.outerjoin(Message, Message.id == StatusEvent.message_id)
    query = query.where(or_(wanted, StatusEvent.id.in_(late)) if late else wanted)
    return query.order_by(StatusEvent.id).limit(limit)


def changed_messages(owner_id: int, position: int, limit: int) -> Select[tuple[uuid.UUID]]:
    """An owner's messages of which there is news after a position."""
    query = select(Message.public_id).join(StatusEvent, StatusEvent.message_id == Message.id)
    query = query.where(StatusEvent.id > position, Message.owner_id == owner_id)
    return query.distinct().limit(limit)
