"""Find a page of the filtered log.

Keys first, rows after: whatever the planner estimates, the inner selects take fifty keys
(created_at, id) from an index that ends in them, and only these fifty rows are read.
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
    matching_messages,
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
TEXT_PAGE_SCAN_LIMIT = 2_000  # newest messages that are searched before the index of texts


def find_page(
    filters: SearchFilters,
    before: Cursor | None = None,
    after: Cursor | None = None,
    size: int = PAGE_SIZE + 1,
) -> Sequence[Message]:
    """The newest matching messages before the cursor `before`, or, oldest first, those next after
    the cursor `after`.
    """
    if filters.text:
        ids = _find_ids_by_text(filters, before, after, size)
        query = select(Message).where(Message.id.in_(ids))
        query = query.order_by(*sort_order(Message.created_at, Message.id, after))
        return db.session.scalars(query).all() if ids else []
    return db.session.scalars(page_query(filters, before, after, size)).all()


def page_query(
    filters: SearchFilters,
    before: Cursor | None = None,
    after: Cursor | None = None,
    size: int = PAGE_SIZE + 1,
) -> Select[tuple[Message]]:
    """The statement of a page without a filter by text."""
    keys = _page_keys(filters, choose_index(filters), before, after, size)
    row, joined = text_index.select_rows(keys)
    query = select(row).select_from(joined)
    return query.order_by(*sort_order(keys.c.created_at, keys.c.id, after))


def find_cursor(owner_id: int, public_id: object) -> Cursor | None:
    """The cursor of an owner's message; None if it is not theirs."""
    query = select(Message.created_at, Message.id)
    query = query.where(Message.owner_id == owner_id, Message.public_id == public_id)
    row = db.session.execute(query).one_or_none()
    return (row[0], row[1]) if row else None


def find_by_ids(owner_id: int, ids: Collection[uuid.UUID]) -> Sequence[Message]:
    """The owner's messages among `ids`, newest first."""
    query = Message.select_owned(owner_id).where(Message.public_id.in_(ids))
    return db.session.scalars(query.order_by(Message.created_at.desc(), Message.id.desc())).all()


def matching_ids(filters: SearchFilters, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """The ids of the messages among `ids` that match."""
    conditions = [*time_conditions(filters), *remaining_filters(filters, None, Message)]
    if filters.text:
        conditions.append(text_index.contains(filters.text, Message))
    query = select(Message.public_id).where(Message.public_id.in_(ids), *conditions)
    return set(db.session.scalars(query))


def _find_ids_by_text(
    filters: SearchFilters, before: Cursor | None, after: Cursor | None, size: int
) -> Sequence[int]:
    """Search the newest messages, which fill a page for a frequent text; otherwise the index."""
    other_filters = replace(filters, text=None)
    limit = max(TEXT_PAGE_SCAN_LIMIT, size)
    keys = _page_keys(other_filters, choose_index(other_filters), before, after, limit)
    row, joined = text_index.select_rows(keys)
    newest = select(row.id, text_index.contains(filters.text or "", row)).select_from(joined)
    newest = newest.order_by(*sort_order(keys.c.created_at, keys.c.id, after))
    newest_rows = db.session.execute(newest).all()
    ids = [message_id for message_id, contains_text in newest_rows if contains_text]
    if len(ids) >= size or len(newest_rows) < limit:
        return ids[:size]
    text_index.force_index()
    matches = matching_messages(filters)
    query = select(matches.id).where(*cursor_conditions(before, after, matches))
    query = query.order_by(*sort_order(matches.created_at, matches.id, after)).limit(size)
    return db.session.scalars(query).all()


def _page_keys(
    filters: SearchFilters,
    index_name: str | None,
    before: Cursor | None,
    after: Cursor | None,
    size: int,
) -> Subquery:
    key = select(Message.created_at, Message.id)
    order = sort_order(Message.created_at, Message.id, after)
    conditions = [
        *time_conditions(filters),
        *cursor_conditions(before, after, Message),
        *remaining_filters(filters, index_name, Message),
    ]
    if index_name != "state":
        own_conditions = index_conditions(filters)[index_name] if index_name else []
        return key.where(*conditions, *own_conditions).order_by(*order).limit(size).subquery()
    branches = [
        select(key.where(*conditions, condition).order_by(*order).limit(size).subquery())
        for condition in index_conditions(filters)["state"]
    ]
    union = union_all(*branches).subquery()
    ordered = sort_order(union.c.created_at, union.c.id, after)
    return select(union.c.created_at, union.c.id).order_by(*ordered).limit(size).subquery()
