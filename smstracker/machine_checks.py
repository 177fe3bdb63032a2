"""What `flask doctor` says of this machine: space, files, survival of a crash."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, text

from config import ENV_FILE, sqlite_path
from smstracker.database import sqlite_files
from smstracker.extensions import db, settings
from smstracker.finding import Finding, ok, problem, warning
from smstracker.open_files import attainable_limit, least_limit

LEAST_FREE = 1_000_000_000  # bytes
LEAST_SHARE = 0.1  # of the disk
# What has to be on in PostgreSQL, for what is acknowledged to survive a crash of the machine.
CRASH_SAFE = ("fsync", "full_page_writes")
LASTS_NOT = ("off",)  # values of synchronous_commit


def machine_findings() -> Iterator[Finding]:
    """Findings on the disk, the rights of files and their number; they need no database."""
    yield _disk()
    yield _permissions()
    yield _open_files()


def durability() -> Iterator[Finding]:
    """A finding on what a crash of the database server loses; it has to answer.

    Nothing for SQLite: each connection of ours is set to wait for the disk.
    """
    if not settings().is_sqlite:
        with db.engine.connect() as connection:
            yield _postgresql_durability(connection)


def _disk() -> Finding:
    folders = {folder: shutil.disk_usage(folder) for folder in _folders()}
    for folder, usage in folders.items():
        share = usage.free / usage.total if usage.total else 0
        if usage.free < LEAST_FREE or share < LEAST_SHARE:
            free = f"{_size(usage.free)} free ({share:.0%})"
            fix = "free space: when the disk is full, no callback can be stored"
            return warning("disk", f"{free} where {_named(folder)} lies", fix)
    if not folders:
        return ok("disk", "nothing is kept on this machine")
    return ok("disk", f"{_size(min(usage.free for usage in folders.values()))} free")


def _folders() -> list[Path]:
    """The folders that exist of those that are written to."""
    path = sqlite_path(db.engine.url) if settings().is_sqlite else None
    folders = [path.parent] if path else []
    return [folder for folder in [*folders, settings().instance] if folder.is_dir()]


def _named(folder: Path) -> str:
    return "instance/" if folder == settings().instance else "the database"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= LEAST_FREE else f"{size / 1e6:.0f} MB"


def _permissions() -> Finding:
    check = "permissions"
    path = sqlite_path(db.engine.url) if settings().is_sqlite else None
    files = sqlite_files(path) if path else []
    instance = settings().instance
    for file in (ENV_FILE, *files, instance):
        if _is_open_to_others(file):
            what = "instance/" if file == instance else file.name
            return warning(check, f"{what} can be read by other users", f"chmod go= {what}")
    return ok(check, "only this user reads the settings, the secrets and the database file")


def _is_open_to_others(file: Path) -> bool:
    try:
        return bool(os.stat(file).st_mode & 0o077)
    except OSError:
        return False


def _open_files() -> Finding:
    """Judged by the limit of this process: the server's is the same if it is started likewise."""
    check, limit, threads = "open files", attainable_limit(), settings().web_threads
    least = least_limit(threads)
    if limit < least:
        found = f"a process may open {limit}, too few for {threads} threads and their connections"
        return warning(check, found, f"set ulimit -n to {least} or more, or lower WEB_THREADS")
    return ok(check, f"a process may open {limit}, enough for {threads} threads")


def _postgresql_durability(connection: Connection) -> Finding:
    check = "durability"
    for name in CRASH_SAFE:
        if connection.execute(text(f"SHOW {name}")).scalar() == "off":
            found = f"the database server has {name}=off: a crash can destroy the database"
            return problem(check, found, f"set {name}=on in postgresql.conf and restart it")
    origin = _origin_of_off(connection)
    if connection.execute(text("SHOW synchronous_commit")).scalar() in LASTS_NOT:
        found = f"synchronous_commit is off ({origin or 'DATABASE_URL'}): a crash of the server "
        return problem(check, found + "loses acknowledged callbacks", "set synchronous_commit=on")
    if origin:
        found = f"our sessions wait for the disk, although {origin} says synchronous_commit=off"
        return warning(check, found, "set synchronous_commit=on there, for every other session")
    return ok(check, "a commit waits for the disk of the server")


def _origin_of_off(connection: Connection) -> str | None:
    """Who says synchronous_commit=off: the role, the database or the server."""
    overrides = connection.execute(
        text(
            "SELECT setrole <> 0, setdatabase <> 0, setconfig FROM pg_db_role_setting"
            " WHERE setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = current_user))"
            " AND setdatabase IN (0, (SELECT oid FROM pg_database"
            " WHERE datname = current_database()))"
            # The narrowest wins.
            " ORDER BY (setrole <> 0 AND setdatabase <> 0) DESC, setrole <> 0 DESC,"
            " setdatabase <> 0 DESC"
        )
    )
    for is_of_role, is_of_database, lines in overrides:
        values = dict(line.split("=", 1) for line in lines)
        if "synchronous_commit" in values:
            owner = "the role" if is_of_role else "the database" if is_of_database else "every role"
            return owner if values["synchronous_commit"] in LASTS_NOT else None
    row = connection.execute(
        text("SELECT reset_val, source FROM pg_settings WHERE name = 'synchronous_commit'")
    ).one()
    is_of_server = row.source not in ("client",) and row.reset_val in LASTS_NOT
    return "the server" if is_of_server else None
