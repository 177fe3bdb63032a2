"""Statements over many rows: each has one text, which is compiled and planned only once.

PostgreSQL gets each column as an array. SQLite, which has none, gets a list of keys as JSON, and
runs a statement that inserts or updates for each row.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TypeVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Dialect,
    Insert,
    Select,
    Text,
    TypeDecorator,
    Update,
    any_,
    bindparam,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import TypeEngine

from smstracker.database.engine import Base

ValueT = TypeVar("ValueT")
Rows = Sequence[Mapping[str, object]]
KEY = "row_id"  # names the id of a row that is updated


@cache
def is_any_of(dialect_name: str, column: InstrumentedAttribute[ValueT]) -> ColumnElement[bool]:
    """Whether a column has one of the values of the list in the parameter `values`."""
    if dialect_name == "postgresql":
        return column == any_(bindparam("values", type_=ARRAY(column.type)))
    values = func.json_each(bindparam("values", type_=_JsonList(column.type)))
    return column.in_(select(values.table_valued("value").c.value))


class _JsonList(TypeDecorator[Iterable[object]]):
    """A list of values of another type as JSON, for SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, item_type: TypeEngine[object]) -> None:
        super().__init__()
        self._item_type = item_type

    def process_bind_param(self, value: Iterable[object] | None, dialect: Dialect) -> str:
        convert = self._item_type.dialect_impl(dialect).bind_processor(dialect)
        items = list(value or ())
        return json.dumps(list(map(convert, items)) if convert else items)


def select_values(dialect_name: str, like: InstrumentedAttribute[ValueT]) -> Select[tuple[ValueT]]:
    """Select the values of the list in the parameter `values`, each as `value`.

    Where a condition on `value` needs the right index: within a list, SQLite may take another.
    """
    if dialect_name == "postgresql":
        values = func.unnest(bindparam("values", type_=ARRAY(like.type)))
    else:
        values = func.json_each(bindparam("values", type_=_JsonList(like.type)))
    table = values.table_valued(column("value", like.type))
    return select((table.render_derived() if dialect_name == "postgresql" else table).c.value)


def insert_rows(
    connection: Connection, table: type[Base], rows: Rows, *, skips_existing: bool = False
) -> None:
    """Insert rows with the same columns, in their order; rows with a key that exists are an error
    or left out.
    """
    if connection.dialect.name == "postgresql":
        statement = _insert_arrays(table, tuple(rows[0]), skips_existing)
        connection.execute(statement, _columns(rows))
    else:
        connection.execute(_insert_one(table, skips_existing), rows)


def update_rows(connection: Connection, table: type[Base], rows: Rows) -> None:
    """Update rows with the same columns; `KEY` names the id of each."""
    names = tuple(rows[0])
    if connection.dialect.name == "postgresql":
        connection.execute(_update_arrays(table, names), _columns(rows))
    else:
        connection.execute(_update_one(table, names), rows)


def _columns(rows: Rows) -> dict[str, list[object]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


@cache
def _insert_one(table: type[Base], skips_existing: bool) -> Insert:
    return sqlite.insert(table).on_conflict_do_nothing() if skips_existing else insert(table)


@cache
def _insert_arrays(table: type[Base], names: tuple[str, ...], skips_existing: bool) -> Insert:
    rows = _select_arrays(table, names)
    if skips_existing:
        statement = postgresql.insert(table).on_conflict_do_nothing()
        return statement.from_select(names, rows, include_defaults=False)
    # Not PostgreSQL's own: SQLAlchemy compiles that anew each time.
    return insert(table).from_select(names, rows, include_defaults=False)


@cache
def _update_arrays(table: type[Base], names: tuple[str, ...]) -> Update:
    rows = _select_arrays(table, names).subquery("changed")
    changes = {name: rows.c[name] for name in names if name != KEY}
    return update(table).where(table.__table__.c.id == rows.c[KEY]).values(changes)


@cache
def _update_one(table: type[Base], names: tuple[str, ...]) -> Update:
    column = table.__table__.c
    changes = {name: bindparam(name, type_=column[name].type) for name in names if name != KEY}
    return update(table).where(column.id == bindparam(KEY)).values(changes)


def _select_arrays(table: type[Base], names: tuple[str, ...]) -> Select[tuple[object, ...]]:
    # One dimension, also where each value is a list as JSON.
    columns = {name: table.__table__.c["id" if name == KEY else name] for name in names}
    types = {name: ARRAY(column.type, dimensions=1) for name, column in columns.items()}
    arrays = [func.unnest(bindparam(name, type_=types[name])).label(name) for name in names]
    return select(*arrays)
