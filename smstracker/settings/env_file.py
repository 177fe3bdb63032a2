"""The `.env` file: its values as they are written, and its problems."""

import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from smstracker.settings.generated import make_private


def read_env_file(path: Path) -> tuple[dict[str, str | None], list[str]]:
    """Return the names and values of a `.env` file, and its problems."""
    if not path.exists():
        return {}, []
    make_private(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return {}, [f"{path.name}: is not UTF-8 text; save it as UTF-8"]
    except OSError as error:
        return {}, [f"{path.name}: cannot be read ({error.strerror})"]
    if "\0" in text:
        return {}, [f"{path.name}: is not UTF-8 text; save it as UTF-8"]
    broken = [
        f"{path.name}: line {binding.original.line} is not NAME=value"
        for binding in parse_stream(StringIO(text))
        if binding.error or (binding.key is not None and binding.value is None)
    ]
    if broken:
        return {}, broken
    # A value is taken as written: a password may well contain ${x}.
    return dict(dotenv_values(stream=StringIO(text), interpolate=False)), []


def find_values_expanded_by_flask(file: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the values that Flask's command put into the environment with ${…} replaced."""
    has_loaded = "FLASK_RUN_FROM_CLI" in os.environ and not os.environ.get("FLASK_SKIP_DOTENV")
    return {name: value for name, value in file.items() if has_loaded and "${" in (value or "")}
