"""What a check has found: fine, doubtful or broken, and what mends it."""

from dataclasses import dataclass
from enum import StrEnum


class CheckOutcome(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`fix` names the setting or the command that helps."""

    check: str
    verdict: CheckOutcome
    found: str
    fix: str | None = None


def ok(check: str, found: str) -> CheckResult:
    return CheckResult(check, CheckOutcome.OK, found)


def warning(check: str, found: str, fix: str | None = None) -> CheckResult:
    return CheckResult(check, CheckOutcome.WARNING, found, fix)


def problem(check: str, found: str, fix: str | None = None) -> CheckResult:
    return CheckResult(check, CheckOutcome.PROBLEM, found, fix)


def phrase(text: str) -> str:
    """A sentence of others as a part of a line."""
    return text.strip().rstrip(".")
