"""The status events as a feed: what has changed since a position, for readers that hold no lock.

A position is the id of an event. On PostgreSQL ids are given before the commit, so a lower one may
become visible after a higher one; a position is therefore settled only below the lowest id that is
missing. SQLite has one writer at a time, and nothing comes late.
"""

import uuid
from collections.abc import Iterable

from sqlalchemy import Select, func, or_, select

from smstracker.extensions import db
from smstracker.models.events import StatusEvent
from smstracker.models.messages import Message

# How many of the newest events are looked through for one that is missing.
LOOKED_THROUGH = 1_000


def settled_position() -> int:
    """Every event up to here is visible, as far as the newest events tell."""
    newest = select(StatusEvent.id).order_by(StatusEvent.id.desc())
    if db.engine.dialect.name == "sqlite":
        return db.session.scalar(newest.limit(1)) or 0
    some = newest.limit(LOOKED_THROUGH).subquery()
    seen = select(func.min(some.c.id), func.max(some.c.id), func.count())
    lowest, highest, count = db.session.execute(seen).one()
    if not count:
        return 0
    first = lowest if count == LOOKED_THROUGH else 1
    return int(highest if highest - first + 1 == count else first - 1)


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


def changed_since(owner_id: int, position: int, limit: int) -> Select[tuple[uuid.UUID]]:
    """An owner's messages of which there is news after a position."""
    query = select(Message.public_id).join(StatusEvent, StatusEvent.message_id == Message.id)
    query = query.where(StatusEvent.id > position, Message.owner_id == owner_id)
    return query.distinct().limit(limit)
