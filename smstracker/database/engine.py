"""What SQLite and PostgreSQL need so that one code base is safe on both."""

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection
from typing import Any, TypeVar

import psycopg
from flask import current_app, has_request_context, request
from sqlalchemy import CursorResult, DateTime, Dialect, Engine, MetaData, Result, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from config import make_private, sqlite_path
from smstracker.database.case_folding import fold_text
from smstracker.database.sqlite_file import (
    OpenSQLiteFile,
    ReplacedFileError,
    check_has_tables,
    check_is_there,
)

# Raised when the database is gone, locked for too long, full or takes no writes (InternalError on
# PostgreSQL). Nothing was stored.
UNAVAILABLE = (OperationalError, InterfaceError, InternalError, PoolTimeoutError)
BUSY_TIMEOUT = 5000  # milliseconds that SQLite waits for a lock
MOST_CONNECTIONS = 32  # of a process
READS_ONLY = "smstracker_reads_only"
# What a PostgreSQL session of ours has, as SQL expressions. The URL wins over the time limits: one
# locked row must not hold up every callback that waits behind it.
TIME_LIMITS = {
    "lock_timeout": "'2s'",
    "statement_timeout": "'10s'",
    "idle_in_transaction_session_timeout": "'15s'",
}
# Nothing wins over this: a commit is on the disk when it is answered, or with a standby as well.
DURABILITY = {
    "synchronous_commit": "CASE current_setting('synchronous_commit')"
    " WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END",
}
SESSION_PARAMETERS = "session_parameters"  # to be set in each transaction
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# Without names, constraints could not be altered on SQLite by a later migration.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

View = TypeVar("View", bound=Callable[..., Any])


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


def dialect_insert(engine: Engine, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT, which the standard one of SQLAlchemy does not."""
    if engine.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def affected_rows(result: Result[Any]) -> int:
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
    url = make_url(database_url)
    if url.get_backend_name() == "postgresql":
        options["pool_pre_ping"] = True
        options["connect_args"] = _connect_args(url)
    return options


def _connect_args(url: URL) -> dict[str, Any]:
    """What libpq is told beside the URL, which wins. No startup `options`: poolers refuse them."""
    arguments: dict[str, Any] = {"fallback_application_name": "smstracker"}
    if "service" not in url.query:
        # A server that is cut off is noticed in seconds, or its threads would wait for ever.
        arguments |= {"connect_timeout": 5, "tcp_user_timeout": 10_000}
    arguments = {name: value for name, value in arguments.items() if name not in url.query}
    options = url.query.get("options")
    return arguments if options is None else arguments | {"options": " ".join(_listed(options))}


def _listed(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def prepare_engine(engine: Engine) -> None:
    """Make `engine` durable, free of lost updates and limited in time."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "do_connect", _protect_files)
        event.listen(engine, "connect", _set_pragmas)
        path = sqlite_path(engine.url)
        if path is not None:
            _watch_file(engine, OpenSQLiteFile(path))
        event.listen(engine, "begin", _begin)
    else:
        event.listen(engine, "connect", _set_session_parameters)
        event.listen(engine, "begin", _set_transaction_parameters)


def _set_session_parameters(connection: psycopg.Connection[Any], record: Any) -> None:
    """Set time limits and durability by SQL, outside of a transaction: no rollback undoes it.

    What the URL, a service or PGOPTIONS has set is of the source `client`. A pooler lends another
    session to each transaction, which must not keep what is ours, nor a prepared statement; it is
    told by its process id, which is not that of the session.
    """
    connection.autocommit = True
    query = "SELECT pg_backend_pid(), name FROM pg_settings WHERE name = ANY(%s)"
    rows = connection.execute(
        f"{query} AND source <> 'client' UNION SELECT pg_backend_pid(), NULL", [[*TIME_LIMITS]]
    ).fetchall()
    parameters = DURABILITY | {name: TIME_LIMITS[name] for _, name in rows if name}
    if connection.info.backend_pid != rows[0][0]:
        connection.prepare_threshold = None
        record.info[SESSION_PARAMETERS] = parameters
    else:
        connection.execute(_set_config(parameters, "false"))
    connection.autocommit = False


def _set_transaction_parameters(connection: Connection) -> None:
    """Behind a pooler, set time limits and durability in each transaction."""
    parameters = connection.info.get(SESSION_PARAMETERS)
    if parameters:
        connection.exec_driver_sql(_set_config(parameters, "true"))


def _set_config(parameters: dict[str, str], is_local: str) -> str:
    """Make a SELECT that sets session parameters to SQL expressions, all of them ours."""
    calls = [f"set_config('{name}', {value}, {is_local})" for name, value in parameters.items()]
    return f"SELECT {', '.join(calls)}"


def _watch_file(engine: Engine, file: OpenSQLiteFile) -> None:
    """Let nothing be read from or stored in a file that was deleted or replaced meanwhile."""

    def check(connection: Connection) -> None:
        try:
            file.check()
        except ReplacedFileError as error:
            raise OperationalError("BEGIN", None, error) from error

    event.listen(engine, "connect", lambda _connection, _record: file.check())
    event.listen(engine, "begin", check)


def _protect_files(_dialect: Dialect, _record: object, arguments: Any, _options: Any) -> None:
    """Shut others out of the database's files before they are opened, and when they are made."""
    path = sqlite_path(URL.create("sqlite", database=arguments[0]))
    if path is None:
        return
    check_is_there(path)
    if not str(arguments[0]).startswith("file:"):
        # SQLite would make it readable by all, and the files beside it by its example.
        with suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    for file in sqlite_files(path):
        make_private(file)


def sqlite_files(path: Path) -> list[Path]:
    """The database file and those that SQLite keeps beside it."""
    return [Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm", "-journal")]


def _set_pragmas(connection: SQLiteConnection, _record: object) -> None:
    # Python's sqlite3 would open the transaction at the first write only, and updates are lost.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT}")
    check_has_tables(connection)
    for pragma in (
        "journal_mode=wal",
        "synchronous=full",
        "foreign_keys=on",
        "trusted_schema=on",  # triggers call our function; some builds forbid that unless asked
    ):
        connection.execute(f"PRAGMA {pragma}")
    # The triggers of the search index call it; PostgreSQL has it from a migration.
    connection.create_function("fold_text", 1, fold_text, deterministic=True)


def reads_only(view: View) -> View:
    """Mark a view that writes nothing although its method is POST."""
    setattr(view, READS_ONLY, True)
    return view


def _is_reading_view() -> bool:
    return hasattr(current_app.view_functions.get(request.endpoint or ""), READS_ONLY)


def _begin(connection: Connection) -> None:
    """Take the write lock at once, except where nothing is ever written.

    That is a request by its method or its view, or a connection with the execution option
    READS_ONLY.
    """
    reads_only = connection.get_execution_options().get(READS_ONLY, False) or (
        has_request_context() and (request.method in SAFE_METHODS or _is_reading_view())
    )
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
