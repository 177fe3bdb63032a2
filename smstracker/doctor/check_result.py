"""What a check has found: fine, doubtful or broken, and what mends it."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix` names the setting or the command that helps."""

    check: str
    verdict: Verdict
    found: str
    fix: str | None = None


def ok(check: str, found: str) -> Finding:
    return Finding(check, Verdict.OK, found)


def warning(check: str, found: str, fix: str | None = None) -> Finding:
    return Finding(check, Verdict.WARNING, found, fix)


def problem(check: str, found: str, fix: str | None = None) -> Finding:
    return Finding(check, Verdict.PROBLEM, found, fix)


def phrase(text: str) -> str:
    """A sentence of others as a part of a line."""
    return text.strip().rstrip(".")
