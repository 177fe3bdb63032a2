"""Result of a check of `flask doctor`."""

from dataclasses import dataclass
from enum import StrEnum
from functools import partial


class CheckOutcome(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check; `fix` names the setting or command that helps."""

    verdict: CheckOutcome
    check: str
    detail: str
    fix: str | None = None


ok = partial(CheckResult, CheckOutcome.OK)
warning = partial(CheckResult, CheckOutcome.WARNING)
problem = partial(CheckResult, CheckOutcome.PROBLEM)


def strip_period(text: str) -> str:
    """Strip a sentence of its period, to make it part of a line."""
    return text.strip().rstrip(".")
