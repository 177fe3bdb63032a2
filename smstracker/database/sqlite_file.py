"""SQLite file checks: only a migration creates it, and it must stay the same file."""

import fcntl
import glob
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from weakref import WeakSet

log = logging.getLogger(__name__)

# In the header of the file: https://www.sqlite.org/fileformat2.html
WRITE_VERSION_AT, ROLLBACK_VERSION, LOG_VERSION = 18, b"\x01", b"\x02"
# All connections lock these bytes, shared as long as they have a write-ahead log open.
SHARED_LOCK_AT, SHARED_LOCK_BYTES = 0x40000002, 510
LOG_SUFFIXES = ("-wal", "-shm")
COPY_SUFFIX = "-saved"
LOG_MAKING_SECONDS = 1.0  # in which a connection that has locked the file makes its log

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


class ReplacedLogError(FileError):
    """A log beside the file was deleted or replaced while this or another process used it."""


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
    """Raise LogOfAnotherFileError if a file without write-ahead log mode lies beside such a log,
    ReplacedLogError if the log is gone that another process has open.

    SQLite would apply the one all the same, which damages the file: `flask backup` makes such
    files. For the other it would make a new log, which the last of those processes deletes.
    To be called before each connection; looks at a file until it was right once.
    """
    with _descriptor_lock, suppress(OSError):  # SQLite reports what cannot be opened
        file_id = _identify(path)
        if file_id in _checked_files:
            return
        # The log is made after the mode is set, and deleted before: looked for twice, because a
        # restore may change both meanwhile.
        if _has_log(path) and _read_mode(path) in (ROLLBACK_VERSION, b"") and _has_log(path):
            raise LogOfAnotherFileError
        deadline = time.monotonic() + LOG_MAKING_SECONDS
        while _lacks_open_log(path):
            if time.monotonic() > deadline:
                raise ReplacedLogError
            time.sleep(0.01)
        _checked_files.add(file_id)


def keep_open(path: Path) -> int:
    """A descriptor of a database file to read its bytes; it is never closed."""
    with _descriptor_lock:
        file_id = _identify(path)
        if file_id not in _kept_descriptors:
            _kept_descriptors[file_id] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return _kept_descriptors[file_id]


def _identify(path: Path | str) -> _FileId:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _has_log(path: Path) -> bool:
    with suppress(OSError):
        return os.stat(f"{path}-wal").st_size > 0
    return False


def _read_mode(path: Path) -> bytes | None:
    """The version of the header, empty if there is none; SQLite reports what cannot be read."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(WRITE_VERSION_AT + 1)[WRITE_VERSION_AT:]
    return None


def _lacks_open_log(path: Path) -> bool:
    """Whether another process has a log of the file open that is not beside it."""
    if None not in _identify_logs(path) or _read_mode(path) != LOG_VERSION:
        return False
    with suppress(OSError), path.open("rb+") as file:
        # Fails if one has the file for itself, as it has when it deletes the log.
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, SHARED_LOCK_BYTES, SHARED_LOCK_AT)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, SHARED_LOCK_BYTES, SHARED_LOCK_AT)
        except BlockingIOError:
            return True
    return False


def _identify_logs(path: Path) -> list[_FileId | None]:
    """Identify the files that SQLite keeps beside an open one; None for one that is not there."""
    file_ids: list[_FileId | None] = []
    for suffix in LOG_SUFFIXES:
        try:
            file_ids.append(_identify(f"{path}{suffix}"))
        except OSError:
            file_ids.append(None)
    return file_ids


def find_copies(path: Path) -> list[Path]:
    """The copies that processes made of a database whose log was replaced."""
    return sorted(path.parent.glob(f"{glob.escape(path.name)}{COPY_SUFFIX}*"))


def check_has_tables(connection: sqlite3.Connection) -> None:
    """Raise EmptyFileError if the database has no tables."""
    query = "SELECT 1 FROM sqlite_master LIMIT 1"
    if not may_create() and connection.execute(query).fetchone() is None:
        raise EmptyFileError


class OpenSQLiteFile:
    """The file that was there when its engine was made, or else the one that it opened first.

    Its logs stay the same as long as the engine has a connection: the last one deletes them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first_status: os.stat_result | None = None
        self._connections: WeakSet[sqlite3.Connection] = WeakSet()
        self._log_ids: list[_FileId | None] = []
        self._opened_at = 0.0
        with suppress(OSError):
            self._first_status = os.stat(path)

    def check_again(self) -> None:
        """Raise FileError if the file or its logs were known before and are others now, or none."""
        if self._first_status:
            self.check()

    def check(self) -> None:
        """Raise ReplacedFileError or ReplacedLogError if one was deleted or replaced."""
        try:
            status = os.stat(self._path)
        except OSError:
            raise ReplacedFileError from None
        self._first_status = self._first_status or status
        if not os.path.samestat(status, self._first_status):
            raise ReplacedFileError
        if self._connections and _identify_logs(self._path) != self._log_ids:
            raise ReplacedLogError

    def add_connection(self, connection: sqlite3.Connection) -> None:
        """Watch the logs that a new connection uses."""
        connection.execute("PRAGMA user_version")  # opens them
        if not self._connections:
            self._log_ids, self._opened_at = _identify_logs(self._path), time.time()
        self._connections.add(connection)

    def remove_connection(self, connection: sqlite3.Connection) -> None:
        """Forget a connection that is about to be closed."""
        self._connections.discard(connection)

    def rescue_log(self, connection: sqlite3.Connection) -> None:
        """Keep what a deleted log holds: in the file, or in a copy if there is a new log already.

        That log may have changed the file meanwhile.
        """
        if os.path.exists(f"{self._path}-wal"):
            try:
                self._save_copy(connection)
            except (sqlite3.Error, OSError) as error:
                # The words of the error only: it may name a path.
                reason = getattr(error, "strerror", None) or type(error).__name__
                log.error("database_not_copied", extra={"reason": reason})
        else:
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _save_copy(self, connection: sqlite3.Connection) -> None:
        """Copy the database as this process knows it, unless another one has done so.

        The inode of the former log and the time tell one incident from the next: a copy that is
        older than our use of the log is of another one, whose inode was used again.
        """
        inodes = "-".join(str(log_id[1]) for log_id in self._log_ids if log_id)
        prefix = f"{self._path}{COPY_SUFFIX}-{inodes}"
        if any(self._is_of_this_log(copy) for copy in glob.glob(f"{glob.escape(prefix)}*")):
            return
        path = Path(f"{prefix}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return
        try:
            # Waits for the commit that is under way; another transaction begins no more.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            with closing(sqlite3.connect(path)) as copy:
                connection.backup(copy)
        except sqlite3.Error:
            path.unlink()
            raise
        log.error("database_copied", extra={"reason": f"its log was replaced: see {path.name}"})

    def _is_of_this_log(self, copy: str) -> bool:
        with suppress(OSError):  # moved away meanwhile
            return self._opened_at <= os.stat(copy).st_mtime <= time.time()
        return False
