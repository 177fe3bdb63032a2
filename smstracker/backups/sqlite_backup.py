"""Backups of SQLite, by its online copy: a plain copy of the files may be of no one moment."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from smstracker.backups.backup_file import BackupError, new_file, private_part
from smstracker.database.sqlite_file import check_log
from smstracker.database.sqlite_turns import TurnTimeoutError

MAX_WAIT_SECONDS = 5.0


def back_up(database: Path, path: Path) -> None:
    """Copy the database into a new file while it is in use. Raises BackupError, sqlite3.Error."""
    with (
        new_file(path) as part,
        closing(_open(database)) as source,
        closing(sqlite3.connect(part)) as target,
    ):
        try:
            _copy_pages(source, target)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            raise BackupError(f"{path} cannot be written: its disk is full.") from error
        target.execute("PRAGMA journal_mode=delete")  # one file, with none beside it
        _require_whole(target, database)


def read_revision(backup: Path) -> str:
    """Check that a backup is whole; return the migration of its tables. Raises BackupError."""
    try:
        with closing(_open(backup)) as connection:
            _require_whole(connection, backup)
            query = "SELECT version_num, (SELECT count(*) FROM message) FROM alembic_version"
            [revision, _count] = connection.execute(query).fetchone()
            return str(revision)
    except (sqlite3.Error, TypeError) as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CORRUPT:
            raise BackupError(_describe_damage(backup)) from error
        raise BackupError(f"{backup} is no backup of smstracker on SQLite.") from error


@contextmanager
def working_copy(backup: Path, database: Path) -> Iterator[Path]:
    """Copy a backup into a private file beside the database; it is deleted at the end.

    It is migrated there: a backup that cannot be leaves the database as it is. Raises BackupError.
    """
    with private_part(database) as part:
        with closing(_open(backup)) as source, closing(sqlite3.connect(part)) as copy:
            _copy_pages(source, copy)
        yield part


@contextmanager
def open_alone(database: Path) -> Iterator[sqlite3.Connection]:
    """Open the database, or a new one, so that no other process can. Raises BackupError.

    A process that starts meanwhile waits, and stores no callback in what is replaced.
    """
    if not database.exists() and Path(f"{database}-wal").exists():
        raise BackupError(
            f"{database} is missing, but its -wal file is there: put back the very file that was "
            "moved, or move the -wal file away first."
        )
    check_log(database)
    try:
        database.touch(mode=0o600)
    except OSError as error:
        raise BackupError(f"{database} cannot be written: {error.strerror}.") from error
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        if not _lock_file(connection):
            raise BackupError("The database is in use. Stop the web server and the worker first.")
        yield connection


def _lock_file(connection: sqlite3.Connection) -> bool:
    """Lock the file until the connection is closed; return whether nobody else has it open."""
    try:
        # The lock is kept between transactions. The write-ahead log ends only with its last user.
        connection.execute("PRAGMA locking_mode=exclusive")
        connection.execute("PRAGMA busy_timeout=0")
        [mode] = connection.execute("PRAGMA journal_mode=delete").fetchone()
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        return False
    return bool(mode != "wal")


def keep_former(connection: sqlite3.Connection, former: Path) -> None:
    """Copy the present content of a database into a new file. Raises BackupError."""
    with new_file(former) as part, closing(sqlite3.connect(part)) as copy:
        _copy_pages(connection, copy)


def replace_content(connection: sqlite3.Connection, copy: Path) -> None:
    """Write a working copy into the database, all of it or, if this is interrupted, nothing."""
    with closing(_open(copy)) as source:
        source.execute("PRAGMA journal_mode=delete")
        _copy_pages(source, connection)


def is_damaged(database: Path) -> bool:
    """Whether SQLite cannot read a file, so that its content cannot be copied."""
    check_log(database)
    try:
        with closing(_open(database)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        return True
    return False


def move_away(database: Path, former: Path) -> None:
    """Rename what is no database any more, with its logs, which belong to no other file."""
    try:
        for suffix in ("-shm", "-wal", ""):
            if os.path.exists(f"{database}{suffix}"):
                os.rename(f"{database}{suffix}", f"{former}{suffix}")
    except OSError as error:
        raise BackupError(f"{former} cannot be written: {error.strerror}.") from error


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
    connection.execute(f"PRAGMA busy_timeout={MAX_WAIT_SECONDS * 1000:.0f}")
    return connection


def _copy_pages(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    source.backup(target, progress=_give_up_if_locked(time.monotonic() + MAX_WAIT_SECONDS))


def _give_up_if_locked(deadline: float) -> Callable[[int, int, int], None]:
    """Return what Python calls after each try: it would try for ever."""

    def check(code: int, _pages_left: int, _pages: int) -> None:
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > deadline:
            raise TurnTimeoutError

    return check


def _require_whole(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
        raise BackupError(_describe_damage(path))


def _describe_damage(path: Path) -> str:
    return f"{path} is damaged or incomplete. If it is a copy, copy it again."
