"""Health checks: /healthz for the process, /readyz for its database."""

import logging
import shutil
import sqlite3
import time
from collections.abc import Callable
from functools import cache
from typing import cast

from flask import Blueprint, Flask, current_app
from flask.typing import ResponseReturnValue
from sqlalchemy import Connection, PoolProxiedConnection, inspect, text

from smstracker.database import problems
from smstracker.database.engine import BUSY_TIMEOUT_MS, reading_connection
from smstracker.database.problems import DatabaseProblem
from smstracker.database.sqlite_turns import TurnTakingConnection
from smstracker.extensions import db
from smstracker.settings.database_url import sqlite_path
from smstracker.settings.files import ROOT

log = logging.getLogger(__name__)
bp = Blueprint("health", __name__)

WRITE_INTERVAL = 5.0  # seconds; frequent checks must not wear out the disk
WRITTEN_AT = "smstracker_health_written_at"
READINESS_CHECKS = "smstracker_readiness_checks"
MIN_FREE_BYTES = 1024 * 1024
# What callbacks of three messages would read, to meet a damaged file.
_READ_SAMPLE = text(
    "SELECT count(*) FROM message AS sample"
    " JOIN message ON message.twilio_sid = sample.twilio_sid"
    " JOIN status_event ON status_event.message_id = message.id"
    " WHERE sample.id IN ((SELECT min(id) FROM message), (SELECT max(id) / 2 FROM message),"
    " (SELECT max(id) FROM message))"
)


@bp.get("/healthz")
def healthz() -> ResponseReturnValue:
    return {"status": "ok"}


def add_readiness_check(app: Flask, find_problem: Callable[[], DatabaseProblem | None]) -> None:
    """Have /readyz call this before it asks the database, which may not answer."""
    app.extensions.setdefault(READINESS_CHECKS, []).append(find_problem)


@bp.get("/readyz")
def readyz() -> ResponseReturnValue:
    own_problems = (find_problem() for find_problem in current_app.extensions[READINESS_CHECKS])
    problem = next(filter(None, own_problems), None) or database_problem()
    if problem:
        log.warning("not_ready", extra={"reason": problem.cause})
        return {"status": "unavailable", "problem": str(problem)}, 503
    return {"status": "ok"}


def database_problem(*, must_write: bool = False) -> DatabaseProblem | None:
    """Return why the database cannot be used, or None.

    With `must_write`, try a write now; otherwise one of SQLite every few seconds, of PostgreSQL
    never. The write is small: it may find room on a disk that was too full a moment ago.
    """
    try:
        with reading_connection(db.engine) as connection:
            if problem := migration_problem(connection):
                return problem
            if connection.dialect.name == "sqlite":
                connection.execute(_READ_SAMPLE)
                return _write_problem(connection.connection, must_write)
            if must_write:
                # The row always exists, and the update changes nothing.
                connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
                connection.commit()
            if connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on":
                return problems.READ_ONLY_SERVER
    except Exception as error:
        return problems.explain(error) or problems.UNREACHABLE
    return None


def _write_problem(connection: PoolProxiedConnection, must_write: bool) -> DatabaseProblem | None:
    """Why SQLite cannot write, tried by rewriting `user_version`, or None. A lock is no problem:
    another process writes.
    """
    path = sqlite_path(db.engine.url)
    if path and shutil.disk_usage(path.parent).free < MIN_FREE_BYTES:
        return problems.DISK_FULL
    written_at = current_app.extensions.get(WRITTEN_AT, -WRITE_INTERVAL)
    if not must_write and time.monotonic() - written_at < WRITE_INTERVAL:
        return None
    cast(TurnTakingConnection, connection.driver_connection).set_query_only(False)
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA busy_timeout = 0")
        [version] = cursor.execute("PRAGMA user_version").fetchone()
        cursor.execute(f"PRAGMA user_version = {version}")
    except sqlite3.OperationalError as error:
        problem = problems.explain(error) or problems.UNREACHABLE
        return None if problem is problems.LOCKED else problem
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.close()
    current_app.extensions[WRITTEN_AT] = time.monotonic()
    return None


def migration_problem(connection: Connection) -> DatabaseProblem | None:
    """Why the tables are not those of this version, or None."""
    if not inspect(connection).has_table("alembic_version"):
        return problems.NOT_MIGRATED
    current = set(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())
    connection.rollback()
    if current == {max(known_revisions())}:
        return None
    return problems.NOT_MIGRATED if current <= known_revisions() else problems.NEWER_VERSION


@cache
def known_revisions() -> set[str]:
    """The migrations of this version. The numbers in the names of their files are the revisions."""
    return {file.name.partition("_")[0] for file in ROOT.glob("migrations/versions/[0-9]*.py")}
