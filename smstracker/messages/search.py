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
    Cursor,
    SearchFilters,
    choose_index,
    cursor_conditions,
    index_conditions,
    match_all,
    remaining_filters,
    sort_order,
    time_conditions,
)
from smstracker.messages.state_counts import CappedCount, count_states, sum_counts
from smstracker.models.messages import Message

__all__ = [
    "PAGE_SIZE",
    "CappedCount",
    "Cursor",
    "SearchFilters",
    "count_states",
    "find_by_ids",
    "find_cursor",
    "find_page",
    "matching_ids",
    "page_query",
    "sum_counts",
]

PAGE_SIZE = 50
# How many of the newest are looked through before the index of texts is asked.
LOOKED_THROUGH = 2_000


def find_page(
    chosen: SearchFilters,
    before: Cursor | None = None,
    after: Cursor | None = None,
    size: int = PAGE_SIZE + 1,
) -> Sequence[Message]:
    """The newest messages that pass, older than `before`; or those just newer than `after`,
    oldest first.
    """
    if chosen.text:
        ids = _ids_by_text(chosen, before, after, size)
        query = select(Message).where(Message.id.in_(ids))
        query = query.order_by(*sort_order(Message.created_at, Message.id, after))
        return db.session.scalars(query).all() if ids else []
    return db.session.scalars(page_query(chosen, before, after, size)).all()


def page_query(
    chosen: SearchFilters,
    before: Cursor | None = None,
    after: Cursor | None = None,
    size: int = PAGE_SIZE + 1,
) -> Select[tuple[Message]]:
    """The statement of a page; not for a filter by text."""
    keys = _keys(chosen, choose_index(chosen), before, after, size)
    row, joined = text_index.select_rows(keys)
    query = select(row).select_from(joined)
    return query.order_by(*sort_order(keys.c.created_at, keys.c.id, after))


def find_cursor(owner_id: int, public_id: object) -> Cursor | None:
    """The place of one's own message in the log."""
    wanted = select(Message.created_at, Message.id)
    wanted = wanted.where(Message.owner_id == owner_id, Message.public_id == public_id)
    found = db.session.execute(wanted).one_or_none()
    return (found[0], found[1]) if found else None


def find_by_ids(owner_id: int, ids: Collection[uuid.UUID]) -> Sequence[Message]:
    """Those of the messages that are the owner's, newest first."""
    query = Message.select_owned(owner_id).where(Message.public_id.in_(ids))
    return db.session.scalars(query.order_by(Message.created_at.desc(), Message.id.desc())).all()


def matching_ids(chosen: SearchFilters, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the messages that pass."""
    passes = [*time_conditions(chosen), *remaining_filters(chosen, None, Message)]
    if chosen.text:
        passes.append(text_index.contains(chosen.text, Message))
    query = select(Message.public_id).where(Message.public_id.in_(ids), *passes)
    return set(db.session.scalars(query))


def _ids_by_text(
    chosen: SearchFilters, before: Cursor | None, after: Cursor | None, size: int
) -> Sequence[int]:
    """A frequent word fills the page from the newest messages; for a rare one there is an index."""
    others = replace(chosen, text=None)
    keys = _keys(others, choose_index(others), before, after, max(LOOKED_THROUGH, size))
    row, joined = text_index.select_rows(keys)
    looked = select(row.id, text_index.contains(chosen.text or "", row)).select_from(joined)
    looked = looked.order_by(*sort_order(keys.c.created_at, keys.c.id, after))
    seen = db.session.execute(looked).all()
    ids = [number for number, has_it in seen if has_it]
    if len(ids) >= size or len(seen) < max(LOOKED_THROUGH, size):
        return ids[:size]
    text_index.ask_index()
    found = match_all(chosen)
    query = select(found.c.id).where(*cursor_conditions(before, after, found.c))
    query = query.order_by(*sort_order(found.c.created_at, found.c.id, after)).limit(size)
    return db.session.scalars(query).all()


def _keys(
    chosen: SearchFilters,
    driver: str | None,
    before: Cursor | None,
    after: Cursor | None,
    size: int,
) -> Subquery:
    key = select(Message.created_at, Message.id)
    order = sort_order(Message.created_at, Message.id, after)
    rest = [
        *time_conditions(chosen),
        *cursor_conditions(before, after, Message),
        *remaining_filters(chosen, driver, Message),
    ]
    if driver != "state":
        found = [*rest, *(index_conditions(chosen)[driver] if driver else [])]
        return key.where(*found).order_by(*order).limit(size).subquery()
    parts = [
        select(key.where(*rest, one).order_by(*order).limit(size).subquery())
        for one in index_conditions(chosen)["state"]
    ]
    every = union_all(*parts).subquery()
    ordered = sort_order(every.c.created_at, every.c.id, after)
    return select(every.c.created_at, every.c.id).order_by(*ordered).limit(size).subquery()
