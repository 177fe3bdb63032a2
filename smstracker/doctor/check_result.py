"""Result of a check of `flask doctor`."""

from dataclasses import dataclass
from enum import StrEnum


class CheckOutcome(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check; `fix` names the setting or command that helps."""

    check: str
    verdict: CheckOutcome
    detail: str
    fix: str | None = None


def ok(check: str, detail: str, fix: str | None = None) -> CheckResult:
    return CheckResult(check, CheckOutcome.OK, detail, fix)


def warning(check: str, detail: str, fix: str | None = None) -> CheckResult:
    return CheckResult(check, CheckOutcome.WARNING, detail, fix)


def problem(check: str, detail: str, fix: str | None = None) -> CheckResult:
    return CheckResult(check, CheckOutcome.PROBLEM, detail, fix)


def strip_period(text: str) -> str:
    """Strip a sentence of its period, to make it part of a line."""
    return text.strip().rstrip(".")
