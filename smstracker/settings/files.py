"""The files of an installation: `.env`, and what is generated once into the instance folder."""

import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

ROOT = Path(__file__).parents[2]
ENV_FILE = ROOT / ".env"


def read_env_file(path: Path) -> tuple[dict[str, str | None], list[str]]:
    """Return the names and values of a `.env` file, and its problems."""
    if not (path.exists() or path.is_symlink()):  # a broken link hides real settings
        return {}, []
    if may_be_read_by_anybody(path):
        make_private(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return {}, [f"{path.name}: is not UTF-8 text; save it as UTF-8"]
    except OSError as error:
        return {}, [f"{path.name}: cannot be read ({error.strerror})"]
    if "\0" in text:
        return {}, [f"{path.name}: is not UTF-8 text; save it as UTF-8"]
    bindings = list(parse_stream(StringIO(text)))
    broken = [
        f"{path.name}: line {binding.original.line} is not NAME=value"
        for binding in bindings
        if binding.error or (binding.key is not None and binding.value is None)
    ]
    if broken := broken or list(_find_repeated_names(path.name, bindings)):
        return {}, broken
    # A value is taken as written: a password may well contain ${x}.
    return dict(dotenv_values(stream=StringIO(text), interpolate=False)), []


def read_text(path: Path) -> str:
    """Return a text as far as it can be read; empty if not at all."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _find_repeated_names(file_name: str, bindings: Iterable[Binding]) -> Iterator[str]:
    """Report names with two values: the last would win, and an empty one would start the demo."""
    first: dict[str, Binding] = {}
    for binding in bindings:
        earlier = first.setdefault(binding.key, binding) if binding.key else binding
        if earlier.value != binding.value:
            lines = f"{earlier.original.line} and {binding.original.line}"
            yield f"{file_name}: {binding.key} has different values in lines {lines}; keep one"


def find_values_expanded_by_flask(file: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the values that Flask's command put into the environment with ${…} replaced."""
    has_loaded = "FLASK_RUN_FROM_CLI" in os.environ and not os.environ.get("FLASK_SKIP_DOTENV")
    return {name: value for name, value in file.items() if has_loaded and "${" in (value or "")}


def may_be_read_by_anybody(path: Path) -> bool:
    """Whether the mode of a file is careless: one for its group alone was chosen by somebody.

    A service may read a file of root by its group.
    """
    with suppress(OSError):
        return bool(path.stat().st_mode & 0o007)
    return False


def make_private(path: Path, mode: int = 0o600) -> None:
    """Close a file or folder of ours to other users. `flask doctor` reports where this failed."""
    with suppress(OSError):
        status = path.stat()
        # Never a folder where a file is expected, as in a mistaken DATABASE_URL.
        is_expected = stat.S_ISDIR if mode & 0o100 else stat.S_ISREG
        if is_expected(status.st_mode) and status.st_mode & 0o077 and status.st_uid == os.geteuid():
            path.chmod(mode)


def make_instance(instance: Path) -> None:
    instance.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_private(instance, 0o700)


def read_or_generate(instance: Path, name: str) -> str:
    """Return a random 32-digit hexadecimal string, generated once and kept in `instance`."""
    path = instance / name
    make_instance(instance)
    # Linking a finished file is atomic: two processes that start at once use the same one.
    draft_path = instance / f".{name}.{secrets.token_hex(8)}"
    try:
        if not path.exists():
            draft_path.touch(mode=0o600)
            draft_path.write_text(secrets.token_hex(16))
            with suppress(FileExistsError):
                os.link(draft_path, path)
    finally:
        draft_path.unlink(missing_ok=True)
    return path.read_text().strip()
