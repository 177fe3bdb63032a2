"""The file of a backup: complete and private, or not there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class BackupError(Exception):
    """A backup cannot be made or restored; the text says why and what to do."""


@contextmanager
def private_part(path: Path) -> Iterator[Path]:
    """Hand out an empty file beside `path` that only this user can read; deleted at the end.

    Raises BackupError if it cannot be made.
    """
    try:
        file, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        folder = path.parent.absolute()
        raise BackupError(f"{folder} cannot be written: {error.strerror}.") from error
    os.close(file)
    try:
        yield Path(name)
    finally:
        for suffix in ("", "-journal", "-wal", "-shm", "-turn"):
            with suppress(OSError):
                os.unlink(f"{name}{suffix}")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Hand out a private file, which gets the name `path` once it is complete.

    Raises BackupError if `path` exists or cannot be written.
    """
    _refuse_existing(path)
    with private_part(path) as part:
        try:
            yield part
            _sync(part)
            _refuse_existing(path)
            part.rename(path)
            _sync(path.parent)
        except OSError as error:
            raise BackupError(f"{path} cannot be written: {error.strerror}.") from error


def _refuse_existing(path: Path) -> None:
    if path.is_dir():
        raise BackupError(f"{path} is a folder. Name a file in it.")
    if path.exists():
        raise BackupError(f"{path} exists. A backup never overwrites: name another file.")


def _sync(path: Path) -> None:
    """Have the disk keep a file, or the names in a folder."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
