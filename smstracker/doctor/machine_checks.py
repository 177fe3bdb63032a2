"""Checks of this machine: space, files, survival of a crash."""

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError, OperationalError

from smstracker.database.engine import reading_connection, sqlite_files
from smstracker.database.problems import DAMAGED
from smstracker.database.sqlite_file import find_copies
from smstracker.doctor.check_result import CheckResult, ok, problem, warning
from smstracker.extensions import db, settings
from smstracker.health_facts import GIGABYTE, fullest_disk
from smstracker.settings.database_url import sqlite_path
from smstracker.settings.files import ENV_FILE, may_be_read_by_anybody
from smstracker.shell_words import quote_word
from smstracker.web.open_files import attainable_limit, find_min_limit
from smstracker.web.zone_data import describe_version

# Where containers get secrets: readable by everybody there, and there is nobody else.
CONTAINER_SECRETS = Path("/run/secrets")
MAX_READING_SECONDS = 5.0
READING_STEPS = 100_000  # of SQLite's virtual machine, between two looks at the clock
# PostgreSQL settings that must be on for commits to survive a crash of the machine.
DURABILITY_SETTINGS = ("fsync", "full_page_writes")


def check_machine() -> Iterator[CheckResult]:
    """Check the disk, the rights of files and their number, the zones; needs no database."""
    yield _check_disk()
    yield _check_permissions()
    yield _check_open_files()
    yield ok("time zones", describe_version())


def check_wholeness() -> Iterator[CheckResult]:
    """Read the structure of the SQLite file, as far as a few seconds allow; PostgreSQL has its own
    checksums.
    """
    if not settings().is_sqlite:
        return
    path = sqlite_path(db.engine.url)
    for copy in find_copies(path) if path else ():
        detail = f"{copy.name} lies beside it: it may have callbacks that the database lacks"
        yield warning(
            "database copy", detail, "see SQLite in docs/operations.md, then move it away"
        )
    deadline = time.monotonic() + MAX_READING_SECONDS
    with reading_connection(db.engine) as connection:
        driver_connection = cast(sqlite3.Connection, connection.connection.driver_connection)
        driver_connection.set_progress_handler(lambda: time.monotonic() > deadline, READING_STEPS)
        try:
            is_whole = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() == "ok"
        except OperationalError:  # the time is over
            return
        except DatabaseError:
            is_whole = False
        finally:
            driver_connection.set_progress_handler(None, 0)
    if is_whole:
        yield ok("database file", "whole")
    else:
        yield problem("database file", DAMAGED.cause, DAMAGED.fix)


def check_durability() -> Iterator[CheckResult]:
    """Check what a crash of the PostgreSQL server loses; the server has to answer.

    Nothing for SQLite: each connection waits for the disk.
    """
    if not settings().is_sqlite:
        with db.engine.connect() as connection:
            yield _check_postgresql_durability(connection)


def _check_disk() -> CheckResult:
    disk = fullest_disk()
    if disk is None:
        return ok("disk", "nothing is kept on this machine")
    free = f"{_format_size(disk.free)} free"
    if disk.shortage < 1:
        return ok("disk", free)
    name = "instance/" if disk.folder == settings().instance else "the database"
    share = disk.free / disk.total if disk.total else 0
    fix = "free space: when the disk is full, no callback can be stored"
    return warning("disk", f"{free} ({share:.0%}) where {name} lies", fix)


def _format_size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= GIGABYTE else f"{size / 1e6:.0f} MB"


def _check_permissions() -> CheckResult:
    check = "permissions"
    path = sqlite_path(db.engine.url)
    files = sqlite_files(path) if path else []
    instance = settings().instance
    secrets = [ENV_FILE, *(p for p in settings().value_files if CONTAINER_SECRETS not in p.parents)]
    for file in (*secrets, *files, instance):
        is_open = _is_secret_of_all if file in secrets else _is_accessible_to_others
        if is_open(file):
            name = "instance/" if file == instance else file.name
            # A service may read a secret of root by its group.
            mode = "o=" if file in secrets else "go="
            fix = f"chmod {mode} {quote_word(str(file))}"
            return warning(check, f"{name} can be read by other users", fix)
    return ok(check, "only this user reads the settings, the secrets and the database file")


def _is_secret_of_all(file: Path) -> bool:
    """Whether others may read a file and enter all folders on the way to it."""
    folders = file.absolute().parents
    is_reached = all(folder.stat().st_mode & 0o001 for folder in folders)
    return is_reached and may_be_read_by_anybody(file)


def _is_accessible_to_others(file: Path) -> bool:
    try:
        return bool(os.stat(file).st_mode & 0o077)
    except OSError:
        return False


def _check_open_files() -> CheckResult:
    """Check the limit of this process, which is the server's if both are started alike."""
    check, limit, threads = "open files", attainable_limit(), settings().web_threads
    min_limit = find_min_limit(threads)
    if limit < min_limit:
        detail = f"a process may open {limit}, too few for {threads} threads and their connections"
        return warning(check, detail, f"set ulimit -n to {min_limit} or more, or lower WEB_THREADS")
    return ok(check, f"a process may open {limit}, enough for {threads} threads")


def _check_postgresql_durability(connection: Connection) -> CheckResult:
    check = "durability"
    for name in DURABILITY_SETTINGS:
        if connection.exec_driver_sql(f"SHOW {name}").scalar() == "off":
            detail = f"the database server has {name}=off: a crash can destroy the database"
            return problem(check, detail, f"set {name}=on in postgresql.conf and restart it")
    origin = _find_origin_of_off(connection)
    if connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "off":
        detail = f"synchronous_commit is off ({origin or 'DATABASE_URL'}): a crash of the server "
        return problem(check, detail + "loses acknowledged callbacks", "set synchronous_commit=on")
    if origin:
        detail = f"our sessions wait for the disk, although {origin} sets synchronous_commit=off"
        return warning(check, detail, "set synchronous_commit=on there, for every other session")
    return ok(check, "a commit waits for the disk of the server")


def _find_origin_of_off(connection: Connection) -> str | None:
    """Find where synchronous_commit=off is set: for the role, the database or the server."""
    overrides = connection.exec_driver_sql(
        "SELECT setrole <> 0, setdatabase <> 0, setconfig FROM pg_db_role_setting"
        " WHERE setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = current_user))"
        " AND setdatabase IN (0, (SELECT oid FROM pg_database"
        " WHERE datname = current_database()))"
        # The narrowest scope wins.
        " ORDER BY (setrole <> 0 AND setdatabase <> 0) DESC, setrole <> 0 DESC,"
        " setdatabase <> 0 DESC"
    )
    for is_of_role, is_of_database, lines in overrides:
        values = dict(line.split("=", 1) for line in lines)
        if "synchronous_commit" in values:
            owner = "the role" if is_of_role else "the database" if is_of_database else "every role"
            return owner if values["synchronous_commit"] == "off" else None
    row = connection.exec_driver_sql(
        "SELECT reset_val, source FROM pg_settings WHERE name = 'synchronous_commit'"
    ).one()
    return "the server" if row.source != "client" and row.reset_val == "off" else None
