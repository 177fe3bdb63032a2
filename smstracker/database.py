"""What SQLite and PostgreSQL need so that one code base is safe on both."""

from datetime import UTC, datetime
from sqlite3 import Connection as SQLiteConnection
from typing import Any

from flask import has_request_context, request
from sqlalchemy import CursorResult, DateTime, Dialect, Engine, MetaData, Result, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from smstracker.folding import fold_text

# Raised when the database is gone, locked for too long or full. Nothing was stored.
UNAVAILABLE = (OperationalError, InterfaceError, PoolTimeoutError)
MOST_CONNECTIONS = 32  # of a process
READS_ONLY = "smstracker_reads_only"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# Without names, constraints could not be altered on SQLite by a later migration.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC on both databases. A naive one raises ValueError."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a zone cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def include_object(_item: object, name: str, kind: str, _reflected: bool, _other: object) -> bool:
    """Whether models and migrations are compared in this: not in the search index, which no model
    describes (SQLite's tables of it, PostgreSQL's index on an expression).
    """
    return not (
        (kind == "table" and name.startswith("message_fts")) or name == "ix_message_text_grams"
    )


def insert(engine: Engine, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT, which the standard one of SQLAlchemy does not."""
    if engine.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def rows(result: Result[Any]) -> int:
    """How many rows an UPDATE or DELETE has changed."""
    return result.rowcount if isinstance(result, CursorResult) else 0


def engine_options(database_url: str, threads: int) -> dict[str, Any]:
    """Engine arguments: a connection for each thread at work, no parameter value in any error."""
    options: dict[str, Any] = {
        "hide_parameters": True,
        # Most of many threads hold an event stream open, and a stream holds no connection.
        "pool_size": min(threads, MOST_CONNECTIONS),
        "max_overflow": 4,
        "pool_timeout": 5,
    }
    if not database_url.startswith("sqlite"):
        options["pool_pre_ping"] = True
        # A server that is cut off is noticed in seconds, or its threads would wait for ever.
        options["connect_args"] = {
            "connect_timeout": 5,
            "tcp_user_timeout": 10_000,
            # Nor may one locked row hold up every callback that waits behind it.
            "options": "-c lock_timeout=2s -c statement_timeout=10s"
            " -c idle_in_transaction_session_timeout=15s",
        }
    return options


def prepare_sqlite(engine: Engine) -> None:
    """Make `engine` durable and free of lost updates; does nothing for PostgreSQL."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)


def _set_pragmas(connection: SQLiteConnection, _record: object) -> None:
    # Python's sqlite3 would open the transaction at the first write only, and updates are lost.
    connection.isolation_level = None
    for pragma in (
        "busy_timeout=5000",
        "journal_mode=wal",
        "synchronous=full",
        "foreign_keys=on",
        "trusted_schema=on",  # triggers call our function; some builds forbid that unless asked
    ):
        connection.execute(f"PRAGMA {pragma}")
    # The triggers of the search index call it; PostgreSQL has it from a migration.
    connection.create_function("fold_text", 1, fold_text, deterministic=True)


def _begin(connection: Connection) -> None:
    """Take the write lock at once, except where nothing is ever written.

    That is a request by its method, or a connection with the execution option READS_ONLY.
    """
    reads_only = connection.get_execution_options().get(READS_ONLY, False) or (
        has_request_context()
        and (request.method in SAFE_METHODS or request.endpoint == "notes.check")
    )
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
