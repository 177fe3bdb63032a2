"""Settings that are given as a file: NAME_FILE instead of NAME, as containers and systemd do."""

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from smstracker.settings.files import ROOT

SUFFIX = "_FILE"
MAX_BYTES = 65_536


class ValueFiles(NamedTuple):
    """The values of files by setting, their paths, and the problems by setting."""

    values: dict[str, str]
    paths: tuple[Path, ...]
    problems: dict[str, str]


NO_VALUE_FILES = ValueFiles({}, (), {})


def file_names(settings: Iterable[str]) -> frozenset[str]:
    """The names under which settings are given as files."""
    return frozenset(name + SUFFIX for name in settings)


def read_value_files(env: Mapping[str, str | None], settings: Iterable[str]) -> ValueFiles:
    """Read the file of each setting whose NAME_FILE is set; a relative path is below the app."""
    values: dict[str, str] = {}
    paths: list[Path] = []
    problems: dict[str, str] = {}
    for name in sorted(settings):
        raw_path = (env.get(name + SUFFIX) or "").strip()
        if not raw_path:
            continue
        paths.append(ROOT / raw_path)
        try:
            if (env.get(name) or "").strip():
                raise ValueError(f"set this or {name}, not both")
            values[name] = _read_value(paths[-1])
        except OSError as error:
            problems[name] = f"{name}{SUFFIX}: the file cannot be read ({error.strerror})"
        except ValueError as error:
            problems[name] = f"{name}{SUFFIX}: {error}"
    return ValueFiles(values, tuple(paths), problems)


def _read_value(path: Path) -> str:
    """Return the text of a file without its last line break. Raises ValueError and OSError."""
    # Opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("must name a file, and this is something else, such as a folder")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"the file is larger than {MAX_BYTES // 1024} KB")
    try:
        text = content.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text") from None
    if "\0" in text:
        raise ValueError("the file is not UTF-8 text")
    if not text.strip():
        raise ValueError("the file is empty")
    return text
