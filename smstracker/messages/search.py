"""Find a page of the filtered log.

Keys first, rows after: whatever the planner estimates, the inner selects take fifty keys
(created_at, id) from an index that ends in them, and only these fifty rows are read.
"""

import uuid
from collections.abc import Collection, Sequence

from sqlalchemy import Select, and_, select, true, union_all
from sqlalchemy.sql.selectable import Subquery

from smstracker.extensions import db
from smstracker.messages import text_index
from smstracker.messages.search_filters import (
    Cursor,
    SearchFilters,
    cursor_conditions,
    index_conditions,
    matching_messages,
    remaining_filters,
    scan_limit,
    sort_indexes,
    sort_order,
    time_conditions,
)
from smstracker.models.display_state import Conditions, is_silent
from smstracker.models.messages import Message

PAGE_SIZE = 50


def find_page(
    filters: SearchFilters,
    before: Cursor | None = None,
    after: Cursor | None = None,
    size: int = PAGE_SIZE + 1,
) -> Sequence[Message]:
    """The newest matching messages before the cursor `before`, or, oldest first, those next after
    the cursor `after`.

    One index yields the messages of one filter. With more filters, or a text, the newest messages
    of each index are checked, which fills a page or exhausts an index. Only if neither happens, the
    whole index of the text or of the first filter is searched.
    """
    indexes, limit = sort_indexes(filters), max(scan_limit(filters), size)
    if len(indexes) > 1 or filters.text:
        for index_name in indexes:
            newest = db.session.execute(check_newest(filters, index_name, limit, before, after))
            checked = newest.all()
            ids = [row.id for row in checked if row.matches][:size]
            if len(ids) == size or len(checked) < limit:
                return _select_by_ids(ids, after)
    if filters.text:
        return _select_by_ids(_find_by_text_index(filters, before, after, size), after)
    return db.session.scalars(page_query(filters, before, after, size)).all()


def page_query(
    filters: SearchFilters,
    before: Cursor | None = None,
    after: Cursor | None = None,
    size: int = PAGE_SIZE + 1,
) -> Select[tuple[Message]]:
    """The statement of a page by the first index, without a filter by text."""
    index_name = sort_indexes(filters)[0]
    other_filters = remaining_filters(filters, index_name, Message)
    keys = _page_keys(filters, index_name, before, after, size, other_filters)
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
    query = select(Message.public_id).where(Message.public_id.in_(ids), *conditions)
    return set(db.session.scalars(query))


def check_newest(
    filters: SearchFilters,
    index_name: str | None,
    limit: int,
    before: Cursor | None = None,
    after: Cursor | None = None,
) -> Select[tuple[int, str, bool, bool]]:
    """Select (id, status, silent, matches) of the newest messages of an index.

    `matches` tells whether the other filters match.
    """
    keys = _page_keys(filters, index_name, before, after, limit)
    row, joined = text_index.select_rows(keys)
    silent = is_silent(filters.at, row).label("silent")
    matches = and_(true(), *remaining_filters(filters, index_name, row)).label("matches")
    query = select(row.id, row.status, silent, matches)
    order = sort_order(keys.c.created_at, keys.c.id, after)
    return query.select_from(joined).order_by(*order)


def _find_by_text_index(
    filters: SearchFilters, before: Cursor | None, after: Cursor | None, size: int
) -> Sequence[int]:
    text_index.force_index()
    matches = matching_messages(filters)
    query = select(matches.id).where(*cursor_conditions(before, after, matches))
    query = query.order_by(*sort_order(matches.created_at, matches.id, after)).limit(size)
    return db.session.scalars(query).all()


def _select_by_ids(ids: Sequence[int], after: Cursor | None) -> Sequence[Message]:
    if not ids:
        return []
    query = select(Message).where(Message.id.in_(ids))
    order = sort_order(Message.created_at, Message.id, after)
    return db.session.scalars(query.order_by(*order)).all()


def _page_keys(
    filters: SearchFilters,
    index_name: str | None,
    before: Cursor | None,
    after: Cursor | None,
    size: int,
    other_filters: Conditions | None = None,
) -> Subquery:
    """Select (created_at, id) of the first `size` messages of an index that match the others."""
    key = select(Message.created_at, Message.id)
    key = key.where(*time_conditions(filters), *cursor_conditions(before, after, Message))
    key = key.where(*(other_filters or []))
    order = sort_order(Message.created_at, Message.id, after)
    conditions = index_conditions(filters).get(index_name or "", [])
    if index_name != "state":
        return key.where(*conditions).order_by(*order).limit(size).subquery()
    branches = [
        select(key.where(condition).order_by(*order).limit(size).subquery())
        for condition in conditions
    ]
    union = union_all(*branches).subquery()
    ordered = sort_order(union.c.created_at, union.c.id, after)
    return select(union.c.created_at, union.c.id).order_by(*ordered).limit(size).subquery()
