"""What is generated once into the instance folder, and the rights of files of ours."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def make_private(path: Path, mode: int = 0o600) -> None:
    """Close a file or folder of ours to other users. `flask doctor` reports where this failed."""
    with suppress(OSError):
        status = path.stat()
        # Never a folder where a file is expected, as in a mistaken DATABASE_URL.
        has_expected_type = (
            stat.S_ISDIR(status.st_mode) if mode & 0o100 else stat.S_ISREG(status.st_mode)
        )
        if has_expected_type and status.st_mode & 0o077 and status.st_uid == os.geteuid():
            path.chmod(mode)


def make_instance(instance: Path) -> None:
    instance.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_private(instance, 0o700)


def read_or_generate(instance: Path, name: str) -> str:
    """Return a random 32-digit hexadecimal string, generated once and kept in `instance`."""
    path = instance / name
    make_instance(instance)
    try:
        # Linking a finished file is atomic: two processes that start at once use the same one.
        draft_path = instance / f".{name}.{secrets.token_hex(8)}"
        if not path.exists():
            draft_path.touch(mode=0o600)
            draft_path.write_text(secrets.token_hex(16))
            os.link(draft_path, path)
    except FileExistsError:
        pass
    finally:
        draft_path.unlink(missing_ok=True)
    return path.read_text().strip()
