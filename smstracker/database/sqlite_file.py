"""The file of SQLite: made by a migration alone, and the same for as long as a process runs."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_may_be_made: ContextVar[bool] = ContextVar("may_be_made", default=False)
Identity = tuple[int, int]


class FileError(sqlite3.OperationalError):
    """The file is not the one that holds the messages."""


class MissingFileError(FileError):
    """There is no file, and nobody asked for one."""


class EmptyFileError(FileError):
    """The file has no table, and nobody asked for any."""


class ReplacedFileError(FileError):
    """The file is gone, or another one than was opened first."""


@contextmanager
def making_file() -> Iterator[None]:
    """Let connections make the file, and find no table in it."""
    token = _may_be_made.set(True)
    try:
        yield
    finally:
        _may_be_made.reset(token)


def check_is_there(path: Path) -> None:
    """Raise MissingFileError. That the folder is missing says SQLite itself."""
    if not _may_be_made.get() and path.parent.is_dir() and not path.exists():
        raise MissingFileError


def check_has_tables(connection: sqlite3.Connection) -> None:
    """Raise EmptyFileError."""
    query = "SELECT 1 FROM sqlite_master LIMIT 1"
    if not _may_be_made.get() and connection.execute(query).fetchone() is None:
        raise EmptyFileError


class OpenSQLiteFile:
    """Remembers which file an engine opened first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first: Identity | None = None

    def check(self) -> None:
        """Raise ReplacedFileError if the file is gone or another one."""
        try:
            status = os.stat(self._path)
        except OSError:
            raise ReplacedFileError from None
        identity = status.st_dev, status.st_ino
        if self._first is None:
            self._first = identity
        elif identity != self._first:
            raise ReplacedFileError
