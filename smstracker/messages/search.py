"""Find a page of the filtered log.

Keys first, rows after: whatever the planner estimates, the inner selects take fifty keys
(created_at, id) from an index that ends in them, and only these fifty rows are read.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Tuple, and_, literal, select, true, tuple_, union_all
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.selectable import Subquery

from smstracker.database.engine import UtcDateTime
from smstracker.extensions import db
from smstracker.messages import text_index
from smstracker.messages.filter_conditions import (
    SearchFilters,
    index_conditions,
    matching_messages,
    remaining_filters,
    scan_limit,
    sort_indexes,
    time_conditions,
)
from smstracker.models.display_state import Conditions, is_silent
from smstracker.models.messages import Message

PAGE_SIZE = 50
Cursor = tuple[datetime, int]  # when a message was created, and its id


@dataclass(frozen=True, slots=True)
class PageStart:
    """Where a page begins: newest first before a cursor, or oldest first after one."""

    before: Cursor | None = None
    after: Cursor | None = None

    def conditions(self, row: type[Message]) -> Conditions:
        key = tuple_(row.created_at, row.id)
        earlier = [key < _literal(self.before)] if self.before else []
        return [*earlier, key > _literal(self.after)] if self.after else earlier

    def order(self, row: Any) -> tuple[ColumnElement[datetime], ColumnElement[int]]:
        """The order of rows with `created_at` and `id`."""
        if self.after:
            return row.created_at.asc(), row.id.asc()
        return row.created_at.desc(), row.id.desc()


def _literal(cursor: Cursor) -> Tuple:
    return tuple_(literal(cursor[0], UtcDateTime), literal(cursor[1]))


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
    start = PageStart(before, after)
    indexes, limit = sort_indexes(filters), max(scan_limit(filters), size)
    if len(indexes) > 1 or filters.text:
        for index_name in indexes:
            checked = db.session.execute(check_newest(filters, index_name, limit, start)).all()
            ids = [row.id for row in checked if row.matches][:size]
            if len(ids) == size or len(checked) < limit:
                return _select_by_ids(ids, start)
    if filters.text:
        return _select_by_ids(_find_by_text_index(filters, start, size), start)
    return db.session.scalars(page_query(filters, before, after, size)).all()


def page_query(
    filters: SearchFilters,
    before: Cursor | None = None,
    after: Cursor | None = None,
    size: int = PAGE_SIZE + 1,
) -> Select[tuple[Message]]:
    """The statement of a page by the first index, without a filter by text."""
    index_name, start = sort_indexes(filters)[0], PageStart(before, after)
    other_filters = remaining_filters(filters, index_name, Message)
    keys = _page_keys(filters, index_name, start, size, other_filters)
    row, joined = text_index.select_rows(keys)
    return select(row).select_from(joined).order_by(*start.order(keys.c))


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
    filters: SearchFilters, index_name: str | None, limit: int, start: PageStart
) -> Select[tuple[int, str, bool, bool]]:
    """Select (id, status, silent, matches) of the newest messages of an index.

    `matches` tells whether the other filters match.
    """
    keys = _page_keys(filters, index_name, start, limit, [])
    row, joined = text_index.select_rows(keys)
    silent = is_silent(filters.at, row).label("silent")
    matches = and_(true(), *remaining_filters(filters, index_name, row)).label("matches")
    query = select(row.id, row.status, silent, matches).select_from(joined)
    return query.order_by(*start.order(keys.c))


def _find_by_text_index(filters: SearchFilters, start: PageStart, size: int) -> Sequence[int]:
    text_index.force_index()
    matches = matching_messages(filters)
    query = select(matches.id).where(*start.conditions(matches))
    return db.session.scalars(query.order_by(*start.order(matches)).limit(size)).all()


def _select_by_ids(ids: Sequence[int], start: PageStart) -> Sequence[Message]:
    if not ids:
        return []
    query = select(Message).where(Message.id.in_(ids))
    return db.session.scalars(query.order_by(*start.order(Message))).all()


def _page_keys(
    filters: SearchFilters, index_name: str | None, start: PageStart, size: int, more: Conditions
) -> Subquery:
    """Select (created_at, id) of the first `size` messages of an index that meet `more`."""
    key = select(Message.created_at, Message.id).where(*time_conditions(filters))
    key = key.where(*start.conditions(Message), *more)
    key = key.order_by(*start.order(Message)).limit(size)
    conditions = index_conditions(filters).get(index_name or "", [])
    if index_name != "state":
        return key.where(*conditions).subquery()
    branches = [select(key.where(condition).subquery()) for condition in conditions]
    union = union_all(*branches).subquery()
    return select(*union.c).order_by(*start.order(union.c)).limit(size).subquery()
