"""The file of a backup: complete and private, or not there."""

import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PART_SUFFIX = ".part"


class BackupError(Exception):
    """A backup cannot be made or restored; the text says why and what to do."""


def user_and_home() -> tuple[str, str]:
    """The user whose rights this process has: on a server, that of the service."""
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:  # in a container
        return str(os.geteuid()), tempfile.gettempdir()
    return entry.pw_name, entry.pw_dir


@contextmanager
def private_part(path: Path) -> Iterator[Path]:
    """Hand out an empty file beside `path` that only this user can read; deleted at the end.

    Raises BackupError if it cannot be made.
    """
    try:
        file, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=PART_SUFFIX, dir=path.parent)
    except OSError as error:
        folder = path.parent.absolute()
        reason = f"{folder} cannot be written: {error.strerror}."
        if isinstance(error, PermissionError):
            user, home = user_and_home()
            reason += f" Name a folder in which the user {user} may write, such as {home}."
        raise BackupError(reason) from error
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
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except PermissionError:  # of a folder on the way: it cannot be written either
        return
    if is_folder:
        raise BackupError(f"{path} is a folder. Name a file in it.")
    if exists:
        raise BackupError(f"{path} exists. A backup never overwrites: name another file.")


def _sync(path: Path) -> None:
    """Have the disk keep a file, or the names in a folder."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
