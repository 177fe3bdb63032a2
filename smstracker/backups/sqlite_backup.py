"""Backups of SQLite, by its online copy: a plain copy of the files may be of no one moment."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

from smstracker.backups.backup_file import BackupError, new_file
from smstracker.database.sqlite_turns import TurnTimeoutError

MAX_WAIT_SECONDS = 5.0


def back_up(database: Path, path: Path) -> None:
    """Copy the database into a new file while it is in use. Raises BackupError, sqlite3.Error."""
    with new_file(path) as part:
        _copy(database, part)


def read_revision(backup: Path) -> str:
    """Check that a backup is whole; return the migration of its tables. Raises BackupError."""
    try:
        with closing(_open(backup)) as connection:
            _require_whole(connection, backup)
            [revision] = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return str(revision)
    except (sqlite3.Error, TypeError) as error:
        raise BackupError(f"{backup} is no backup of smstracker on SQLite.") from error


def restore(backup: Path, database: Path, now: datetime) -> Path | None:
    """Put a copy of the backup in the database's place; return where the old one is kept.

    Raises BackupError, also if a process has the database open.
    """
    _require_unused(database)
    former = Path(f"{database}.before-{now:%Y%m%d-%H%M%S}") if database.exists() else None
    place = Path(f"{database}.restored")
    place.unlink(missing_ok=True)  # of a restore that was killed
    with new_file(place) as part:
        _copy(backup, part)
    if former:
        _keep(database, former)
    place.replace(database)
    return former


def _keep(database: Path, former: Path) -> None:
    """Give the unused database a second name, or make a copy where files have only one."""
    try:
        try:
            os.link(database, former)
        except OSError:
            shutil.copy2(database, former)
    except OSError as error:
        raise BackupError(f"{former} cannot be written: {error.strerror}.") from error


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
    connection.execute(f"PRAGMA busy_timeout={MAX_WAIT_SECONDS * 1000:.0f}")
    return connection


def _copy(source_path: Path, target_path: Path) -> None:
    with closing(_open(source_path)) as source, closing(sqlite3.connect(target_path)) as target:
        source.backup(target, progress=_give_up_if_locked(time.monotonic() + MAX_WAIT_SECONDS))
        target.execute("PRAGMA journal_mode=delete")  # one file, with none beside it
        _require_whole(target, source_path)


def _give_up_if_locked(deadline: float) -> Callable[[int, int, int], None]:
    """Return what Python calls after each try: it would try for ever."""

    def check(code: int, _pages_left: int, _pages: int) -> None:
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > deadline:
            raise TurnTimeoutError

    return check


def _require_whole(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
        raise BackupError(f"{path} is damaged: SQLite's integrity_check fails.")


def _require_unused(database: Path) -> None:
    """Close the write-ahead log, which SQLite does only for the last who has it open."""
    if not database.exists():
        if Path(f"{database}-wal").exists():
            raise BackupError(
                f"{database} is missing, but its -wal file is there: move that away first."
            )
        return
    try:
        with closing(_open(database)) as connection:
            connection.execute("PRAGMA busy_timeout=0")
            [mode] = connection.execute("PRAGMA journal_mode=delete").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        mode = "wal"
    except sqlite3.DatabaseError:
        return  # damaged, which may be why it is replaced
    if mode == "wal":
        raise BackupError("The database is in use. Stop the web server and the worker first.")
