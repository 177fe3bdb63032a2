"""Reads declared settings from a mapping and collects every problem, never with a value."""

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from smstracker.settings.files import read_or_generate
from smstracker.settings.placeholders import PLACEHOLDER, is_placeholder
from smstracker.settings.value_files import NO_VALUE_FILES, ValueFiles

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True}
_BOOLEANS |= {"0": False, "false": False, "no": False, "off": False}


class ConfigError(ValueError):
    """The settings are not valid; `problems` has one sentence for each fault."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(
            "smstracker cannot start:\n" + "\n".join(f"  - {problem}" for problem in problems)
        )


class Reader:
    """The settings of `env`; `instance` is the folder of what is generated.

    `file_text` is the text of the `.env` file, as far as there is one. `value_files` are the
    settings that are given as files.
    """

    def __init__(
        self,
        env: Mapping[str, str | None],
        instance: Path,
        file_text: str = "",
        value_files: ValueFiles = NO_VALUE_FILES,
    ) -> None:
        self.file_text = file_text
        self.env = {name: value.strip() for name, value in env.items() if value and value.strip()}
        self.env |= value_files.values
        self._unknown = value_files.problems.keys()  # set, but to what is not known
        self.instance = instance
        credentials = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN")
        self.demo = not any(self.text(name) or name in self._unknown for name in credentials)
        self.problems = list(value_files.problems.values())

    def problem(self, name: str, reason: str) -> None:
        """Report a problem once, however often the setting is read.

        None of a setting whose file cannot be read: that is reported already.
        """
        if not self._unknown.isdisjoint(re.findall("[A-Z_]+", name)):
            return
        problem = f"{name}: {reason}"
        if problem not in self.problems:
            self.problems.append(problem)

    def text(self, name: str) -> str | None:
        return self.env.get(name)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        raw = self.env.get(name, str(default))
        if raw.isdecimal() and len(raw) < 12 and low <= int(raw) <= high:
            return int(raw)
        self.problem(name, f"must be a whole number from {low} to {high}")
        return default

    def flag(self, name: str) -> bool:
        raw = self.env.get(name, "false").lower()
        if raw not in _BOOLEANS:
            self.problem(name, "must be true or false")
        return _BOOLEANS.get(raw, False)

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in self.env.get(name, "").split(",") if word.strip())

    def parsed(self, name: str, default: T, parse: Callable[[str], T | None], shape: str) -> T:
        raw = self.env.get(name)
        value = None if raw is None else parse(raw)
        if raw is not None and value is None:
            self.problem(name, PLACEHOLDER if is_placeholder(raw) else f"must be {shape}")
        return default if value is None else value

    def generated(self, name: str) -> str:
        """Return a secret of demo mode; empty, and no file, once there is a problem."""
        return "" if self.problems else read_or_generate(self.instance, name)


Read = Callable[[Reader, str], T]
Check = Callable[[Reader], None]


def setting(
    read: Read[T], names: str = "", *, secret: bool = False, after: Check | None = None
) -> T:
    """Declare the field of a dataclass as a setting that `read(reader, name)` returns.

    Its name is the field's in capitals unless `names` has it, and further ones that it reads.
    `after` checks several settings before this one is read. A secret stays out of the repr.
    """
    metadata = {"read": read, "names": names.split(), "after": after}
    return cast(T, field(repr=not secret, metadata=metadata))


def whole_number(default: int, low: int, high: int) -> Read[int]:
    return lambda reader, name: reader.number(name, default, low, high)


def optional_whole_number(low: int, high: int) -> Read[int | None]:
    return lambda reader, name: reader.number(name, low, low, high) if reader.text(name) else None


def matching(pattern: re.Pattern[str], shape: str) -> Read[str | None]:
    return parsed(None, lambda raw: raw if pattern.fullmatch(raw) else None, shape)


def parsed(default: T, parse: Callable[[str], T | None], shape: str) -> Read[T]:
    return lambda reader, name: reader.parsed(name, default, parse, shape)


def setting_names(declaration: type["DataclassInstance"]) -> frozenset[str]:
    """The names of the settings that a dataclass declares."""
    return frozenset(name for item in fields(declaration) if item.metadata for name in _names(item))


def read_settings(declaration: type["DataclassInstance"], reader: Reader) -> dict[str, object]:
    """Read all settings of a dataclass, in the order of their declaration."""
    return {item.name: _read(item, reader) for item in fields(declaration) if item.metadata}


def _read(item: Field[object], reader: Reader) -> object:
    if item.metadata["after"]:
        item.metadata["after"](reader)
    return item.metadata["read"](reader, _names(item)[0])


def _names(item: Field[object]) -> list[str]:
    names: list[str] = item.metadata["names"]
    return names or [item.name.upper()]
