"""Engine set-up, column types and upsert for SQLite and PostgreSQL."""

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from sqlalchemy import (
    ColumnClause,
    DateTime,
    MetaData,
    Select,
    delete,
    event,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, CursorResult, Dialect, Engine, Result, make_url
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from smstracker.database import postgresql_session, sqlite_file
from smstracker.database.case_folding import fold_text
from smstracker.database.sqlite_turns import Turns, TurnTakingConnection
from smstracker.settings.database_url import sqlite_path
from smstracker.settings.files import make_private

# Raised when the database is gone, locked too long, full or read-only (InternalError on
# PostgreSQL). Nothing was stored.
UNAVAILABLE = (OperationalError, InterfaceError, InternalError, PoolTimeoutError)
BUSY_TIMEOUT_MS = 5000  # SQLite's wait for a lock
MAX_CONNECTIONS = 32  # of a process
# Execution option of a connection: BEGIN without the write lock.
READS_ONLY = "smstracker_reads_only"

# SQLite can only alter named constraints in a later migration.
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
    """Tell Alembic whether to compare an object: not the search index, which no model describes.

    On SQLite that is a set of tables, on PostgreSQL an index on an expression.
    """
    is_fts_table = kind == "table" and name.startswith("message_fts")
    return not is_fts_table and name != "ix_message_text_grams"


Insert = postgresql.Insert | sqlite.Insert


def dialect_insert(dialect_name: str, table: type[Base]) -> Insert:
    """Return an INSERT that knows ON CONFLICT, which SQLAlchemy's generic one does not."""
    return postgresql.insert(table) if dialect_name == "postgresql" else sqlite.insert(table)


def upsert(
    dialect_name: str, table: type[Base], key: Sequence[str], changes: Mapping[str, object]
) -> Insert:
    """Return an INSERT that applies `changes` to the row whose unique columns `key` conflict.

    `changes` maps column names to values or SQL expressions, see `excluded`.
    """
    insert = dialect_insert(dialect_name, table)
    return insert.on_conflict_do_update(index_elements=key, set_=dict(changes))


def excluded(column: str) -> ColumnClause[object]:
    """Return the value that the conflicting INSERT had for `column`."""
    return literal_column(f"excluded.{column}")


def delete_unlocked(
    connection: Connection,
    table: type[Base],
    keys: Select[tuple[int]] | Select[tuple[str]] | Select[tuple[bytes]],
) -> int:
    """Delete the rows of the selected keys that no other transaction has locked; return how many.

    Waiting for those could deadlock.
    """
    # A CTE, because PostgreSQL may run a subselect twice and would then delete too many.
    unlocked = keys.with_for_update(skip_locked=True).cte()
    [key] = keys.selected_columns
    deletion = delete(table).where(key.in_(select(unlocked))).returning(key)
    return len(connection.execute(deletion).all())


def affected_rows(result: Result[tuple[object, ...]]) -> int:
    """Count the rows that an UPDATE or DELETE has changed."""
    return result.rowcount if isinstance(result, CursorResult) else 0


def reading_connection(engine: Engine) -> Connection:
    """Open a connection of its own that takes no write lock."""
    return engine.connect().execution_options(**{READS_ONLY: True})


def to_json(value: object) -> str:
    """JSON as both databases store it: escaped, an emoji would take 12 bytes instead of 4."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of an emoji, which UTF-8 has no bytes for
        return json.dumps(value)
    return text


def engine_options(database_url: str, threads: int) -> dict[str, object]:
    """Return engine arguments: a connection for each working thread, no values in errors."""
    options: dict[str, object] = {
        "hide_parameters": True,
        "json_serializer": to_json,
        # WEB_THREADS is set higher for event streams, which hold no connection.
        "pool_size": min(threads, MAX_CONNECTIONS),
        "max_overflow": 4,
        "pool_timeout": 5,
    }
    url = make_url(database_url)
    if url.get_backend_name() == "postgresql":
        options["connect_args"] = _connect_args(url)
    else:
        options["connect_args"] = {"factory": TurnTakingConnection}
    return options


def _connect_args(url: URL) -> dict[str, object]:
    """Return libpq arguments; the URL wins. No startup `options`: poolers refuse them."""
    arguments: dict[str, object] = {"fallback_application_name": "smstracker"}
    if "service" not in url.query:
        # Without these, threads would wait for ever for a server that is cut off.
        arguments |= {"connect_timeout": 5, "tcp_user_timeout": 10_000}
        arguments |= {"keepalives_idle": 5, "keepalives_interval": 5}
    arguments = {name: value for name, value in arguments.items() if name not in url.query}
    options = url.normalized_query.get("options")
    return arguments if options is None else arguments | {"options": " ".join(options)}


def prepare_engine(engine: Engine) -> None:
    """Set up pragmas or session parameters: durable, no lost updates, limited in time."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_pragmas)
        path = sqlite_path(engine.url)
        if path is not None:
            _watch_file(engine, sqlite_file.OpenSQLiteFile(path))
            _take_turns(engine, Turns(path))
        event.listen(engine, "do_connect", _protect_files)
        event.listen(engine, "begin", _begin_transaction)
    else:
        event.listen(engine, "connect", postgresql_session.set_session_parameters)
        postgresql_session.ping_after_pause(engine)
        postgresql_session.end_read_only_sessions(engine)
        event.listen(engine, "begin", postgresql_session.set_transaction_parameters)


def _watch_file(engine: Engine, file: sqlite_file.OpenSQLiteFile) -> None:
    """Fail each transaction after the file or one of its logs was deleted or replaced."""

    def open_first(connection: sqlite3.Connection, _record: object) -> None:
        file.check()
        file.add_connection(connection)

    def check(connection: Connection) -> None:
        try:
            file.check()
        except sqlite_file.FileError as error:
            if isinstance(error, sqlite_file.ReplacedLogError):
                file.rescue_log(cast(sqlite3.Connection, connection.connection.driver_connection))
            raise OperationalError("BEGIN", None, error) from error

    event.listen(engine, "do_connect", lambda *_arguments: file.check_again())
    event.listen(engine, "connect", open_first)
    event.listen(engine, "close", lambda connection, _record: file.remove_connection(connection))
    event.listen(engine, "close_detached", file.remove_connection)
    event.listen(engine, "begin", check)


def _take_turns(engine: Engine, turns: Turns) -> None:
    @event.listens_for(engine, "connect")
    def share_turns(connection: TurnTakingConnection, _record: object) -> None:
        connection.turns = turns


def _protect_files(
    _dialect: Dialect, _record: object, args: list[str], options: dict[str, object]
) -> None:
    """Make the database files private before SQLite opens or creates them.

    Only a migration creates one: in the place of a file that was moved, SQLite would make an empty
    one, and then delete the log that it left behind.
    """
    path = sqlite_path(URL.create("sqlite", database=args[0]))
    if path is None:
        return
    sqlite_file.check_exists(path)
    sqlite_file.check_log(path)
    if not str(args[0]).startswith("file:"):
        if sqlite_file.may_create():
            # SQLite would create it readable by all, and copy that mode to the files beside it.
            with suppress(OSError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        else:
            args[0], options["uri"] = f"{path.absolute().as_uri()}?mode=rw", True
    for file in sqlite_files(path):
        make_private(file)


def sqlite_files(path: Path) -> list[Path]:
    """Return the database file and those that SQLite keeps beside it."""
    return [Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm", "-journal")]


def _set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
    # Python's sqlite3 would begin at the first write only, which loses updates.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    sqlite_file.check_has_tables(connection)
    # Triggers call fold_text; some builds trust no schema by default.
    # What is deleted is overwritten.
    durability = ("journal_mode=wal", "synchronous=full", "secure_delete=on")
    for pragma in (*durability, "foreign_keys=on", "trusted_schema=on"):
        connection.execute(f"PRAGMA {pragma}")
    # Called by the triggers of the search index; on PostgreSQL a migration creates it.
    connection.create_function("fold_text", 1, fold_text, deterministic=True)


def _begin_transaction(connection: Connection) -> None:
    """Take the write lock at once; a connection that only reads cannot write."""
    is_reading = connection.get_execution_options().get(READS_ONLY, False)
    driver_connection = cast(TurnTakingConnection, connection.connection.driver_connection)
    driver_connection.set_query_only(is_reading)
    if is_reading:
        connection.exec_driver_sql("BEGIN")
        return
    try:
        driver_connection.take_turn()
    except sqlite3.OperationalError as error:
        raise OperationalError("BEGIN IMMEDIATE", None, error) from error
    connection.exec_driver_sql("BEGIN IMMEDIATE")
