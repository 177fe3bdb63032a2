"""SQLite file checks: only a migration creates it, and it must stay the same file."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from threading import Lock

log = logging.getLogger(__name__)

# In the header of the file: https://www.sqlite.org/fileformat2.html
WRITE_VERSION_AT, ROLLBACK_VERSION = 18, b"\x01"

# The device and inode of each file that this process may have connections to, and of each that it
# keeps open to search its bytes. POSIX releases all locks that a process has on a file when the
# process closes any descriptor of it; another process would then delete the write-ahead log that
# this one still writes to. So no such file is opened and closed beside SQLite.
# https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
_FileId = tuple[int, int]
_checked_files: set[_FileId] = set()
_kept_descriptors: dict[_FileId, int] = {}
_descriptor_lock = Lock()

_may_create: ContextVar[bool] = ContextVar("may_be_made", default=False)


class FileError(sqlite3.OperationalError):
    """The file is not the expected database."""


class MissingFileError(FileError):
    """The file does not exist, and no migration is running."""


class MissingBesideLogError(FileError):
    """The file does not exist, but its write-ahead log does: it was moved or deleted."""


class LogOfAnotherFileError(FileError):
    """The write-ahead log beside the file belongs to another one: a backup was put in its place."""


class EmptyFileError(FileError):
    """The file has no tables, and no migration is running."""


class ReplacedFileError(FileError):
    """The file was deleted or replaced while this process ran."""


@contextmanager
def allow_new_file() -> Iterator[None]:
    """Let connections create the file, or find it empty."""
    token = _may_create.set(True)
    try:
        yield
    finally:
        _may_create.reset(token)


def may_create() -> bool:
    """Whether a connection may create the file."""
    return _may_create.get()


@contextmanager
def sole_migration(path: Path | None) -> Iterator[None]:
    """Wait until no other process migrates a database in the same folder.

    Web and worker may both migrate at their start. PostgreSQL (`path` is None) has a lock for it.
    """
    if path is None or not path.parent.is_dir():
        yield
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # on a file system without locks
            _lock(folder)
        yield
    finally:
        os.close(folder)


def _lock(folder: int) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("waits_for_lock", extra={"reason": "another process has locked the folder"})
        fcntl.flock(folder, fcntl.LOCK_EX)


def check_exists(path: Path) -> None:
    """Raise FileError if the folder exists without the file; SQLite reports a missing folder."""
    if not path.parent.is_dir() or path.exists():
        return
    if Path(f"{path}-wal").exists():
        raise MissingBesideLogError
    if not may_create():
        raise MissingFileError


def check_log(path: Path) -> None:
    """Raise LogOfAnotherFileError if a file without write-ahead log mode lies beside such a log.

    SQLite would apply it all the same, which damages the file. `flask backup` makes such files.
    To be called before each connection; looks at a file until it was right once.
    """
    with _descriptor_lock, suppress(OSError):  # SQLite reports what cannot be opened
        file_id = _identify(path)
        if file_id in _checked_files:
            return
        # The log is made after the mode is set, and deleted before: looked for twice, because a
        # restore may change both meanwhile.
        if _has_log(path) and _has_no_log_mode(path) and _has_log(path):
            raise LogOfAnotherFileError
        _checked_files.add(file_id)


def keep_open(path: Path) -> int:
    """A descriptor of a database file to read its bytes; it is never closed."""
    with _descriptor_lock:
        file_id = _identify(path)
        if file_id not in _kept_descriptors:
            _kept_descriptors[file_id] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return _kept_descriptors[file_id]


def _identify(path: Path) -> _FileId:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _has_log(path: Path) -> bool:
    with suppress(OSError):
        return os.stat(f"{path}-wal").st_size > 0
    return False


def _has_no_log_mode(path: Path) -> bool:
    """Whether the header says so, or there is none; SQLite reports what it cannot read."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(WRITE_VERSION_AT + 1)[WRITE_VERSION_AT:] in (ROLLBACK_VERSION, b"")
    return False


def check_has_tables(connection: sqlite3.Connection) -> None:
    """Raise EmptyFileError if the database has no tables."""
    query = "SELECT 1 FROM sqlite_master LIMIT 1"
    if not may_create() and connection.execute(query).fetchone() is None:
        raise EmptyFileError


class OpenSQLiteFile:
    """The file that was there when its engine was made, or else the one that it opened first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first_status: os.stat_result | None = None
        with suppress(OSError):
            self._first_status = os.stat(path)

    def check_again(self) -> None:
        """Raise ReplacedFileError if the file was known before and is another now, or none."""
        if self._first_status:
            self.check()

    def check(self) -> None:
        """Raise ReplacedFileError if the file was deleted or replaced."""
        try:
            status = os.stat(self._path)
        except OSError:
            raise ReplacedFileError from None
        self._first_status = self._first_status or status
        if not os.path.samestat(status, self._first_status):
            raise ReplacedFileError
