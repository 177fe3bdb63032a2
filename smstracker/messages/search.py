"""A page of the log, filtered.

Keys first, rows after: the inner selects pick fifty (created_at, id) from an index that ends in
them, whatever the planner believes, and only these fifty rows are read.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy import Select, select, union_all
from sqlalchemy.sql.selectable import Subquery

from smstracker.extensions import db
from smstracker.messages import text_index
from smstracker.messages.search_filters import (
    Filter,
    Key,
    beyond,
    driver_of,
    drivers,
    in_order,
    matched,
    of_time,
    others_of,
)
from smstracker.messages.state_counts import Count, counts, total
from smstracker.models.messages import Message

__all__ = [
    "PAGE_SIZE",
    "Count",
    "Filter",
    "Key",
    "counts",
    "fitting",
    "key_of",
    "of_ids",
    "page",
    "page_query",
    "total",
]

PAGE_SIZE = 50
# How many of the newest are looked through before the index of texts is asked.
LOOKED_THROUGH = 2_000


def page(
    chosen: Filter, before: Key | None = None, after: Key | None = None, size: int = PAGE_SIZE + 1
) -> Sequence[Message]:
    """The newest messages that pass, older than `before`; or those just newer than `after`,
    oldest first.
    """
    if chosen.text:
        ids = _ids_by_text(chosen, before, after, size)
        query = select(Message).where(Message.id.in_(ids))
        query = query.order_by(*in_order(Message.created_at, Message.id, after))
        return db.session.scalars(query).all() if ids else []
    return db.session.scalars(page_query(chosen, before, after, size)).all()


def page_query(
    chosen: Filter, before: Key | None = None, after: Key | None = None, size: int = PAGE_SIZE + 1
) -> Select[tuple[Message]]:
    """The statement of a page; not for a filter by text."""
    keys = _keys(chosen, driver_of(chosen), before, after, size)
    row, joined = text_index.rows_of(keys)
    query = select(row).select_from(joined)
    return query.order_by(*in_order(keys.c.created_at, keys.c.id, after))


def key_of(owner_id: int, public_id: object) -> Key | None:
    """The place of one's own message in the log."""
    wanted = select(Message.created_at, Message.id)
    wanted = wanted.where(Message.owner_id == owner_id, Message.public_id == public_id)
    found = db.session.execute(wanted).one_or_none()
    return (found[0], found[1]) if found else None


def of_ids(owner_id: int, ids: Collection[uuid.UUID]) -> Sequence[Message]:
    """Those of the messages that are the owner's, newest first."""
    query = Message.of_owner(owner_id).where(Message.public_id.in_(ids))
    return db.session.scalars(query.order_by(Message.created_at.desc(), Message.id.desc())).all()


def fitting(chosen: Filter, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the messages that pass."""
    passes = [*of_time(chosen), *others_of(chosen, None, Message)]
    if chosen.text:
        passes.append(text_index.contains(chosen.text, Message))
    query = select(Message.public_id).where(Message.public_id.in_(ids), *passes)
    return set(db.session.scalars(query))


def _ids_by_text(chosen: Filter, before: Key | None, after: Key | None, size: int) -> Sequence[int]:
    """A frequent word fills the page from the newest messages; for a rare one there is an index."""
    others = replace(chosen, text=None)
    keys = _keys(others, driver_of(others), before, after, max(LOOKED_THROUGH, size))
    row, joined = text_index.rows_of(keys)
    looked = select(row.id, text_index.contains(chosen.text or "", row)).select_from(joined)
    looked = looked.order_by(*in_order(keys.c.created_at, keys.c.id, after))
    seen = db.session.execute(looked).all()
    ids = [number for number, has_it in seen if has_it]
    if len(ids) >= size or len(seen) < max(LOOKED_THROUGH, size):
        return ids[:size]
    text_index.ask_index()
    found = matched(chosen)
    query = select(found.c.id).where(*beyond(before, after, found.c))
    query = query.order_by(*in_order(found.c.created_at, found.c.id, after)).limit(size)
    return db.session.scalars(query).all()


def _keys(
    chosen: Filter, driver: str | None, before: Key | None, after: Key | None, size: int
) -> Subquery:
    key = select(Message.created_at, Message.id)
    order = in_order(Message.created_at, Message.id, after)
    rest = [*of_time(chosen), *beyond(before, after, Message), *others_of(chosen, driver, Message)]
    if driver != "state":
        found = [*rest, *(drivers(chosen)[driver] if driver else [])]
        return key.where(*found).order_by(*order).limit(size).subquery()
    parts = [
        select(key.where(*rest, one).order_by(*order).limit(size).subquery())
        for one in drivers(chosen)["state"]
    ]
    every = union_all(*parts).subquery()
    ordered = in_order(every.c.created_at, every.c.id, after)
    return select(every.c.created_at, every.c.id).order_by(*ordered).limit(size).subquery()
