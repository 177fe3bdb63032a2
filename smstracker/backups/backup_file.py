"""The file of a backup: complete and private, or not there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class BackupError(Exception):
    """A backup cannot be made or restored; the text says why and what to do."""


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Hand out a private file beside `path`, which gets that name once it is complete.

    Raises BackupError if `path` exists or cannot be written.
    """
    _refuse_existing(path)
    try:
        file, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise BackupError(f"{path.parent} cannot be written: {error.strerror}.") from error
    os.close(file)
    part = Path(name)
    try:
        yield part
        _sync(part)
        _refuse_existing(path)
        part.rename(path)
        _sync(path.parent)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with suppress(OSError):
                os.unlink(f"{part}{suffix}")


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
