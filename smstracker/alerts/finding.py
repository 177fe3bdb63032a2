"""What a rule finds when it is true."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from smstracker.models.alerts import Counts

# A value that opens an alert has to fall below this part of itself before the alert ends.
ENDS_BELOW = 2 / 3


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is true, with its counts; `began_at` if it is known to be true for longer.

    `opens` is false for one that only keeps an open alert from ending.
    """

    rule: str
    counts: Counts
    subject: str = ""
    began_at: datetime | None = None
    opens: bool = True


def judge(rule: str, ratio: float, counts: Counts, subject: str = "") -> Iterator[Finding]:
    """Yield what a rule finds by its value, as the `ratio` of that to the limit of the rule."""
    if ratio >= ENDS_BELOW:
        yield Finding(rule, counts, subject, opens=ratio >= 1)
