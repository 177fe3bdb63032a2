"""What a rule finds when it is true."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from smstracker.models.alerts import Counts, RuleName

# A value that opens an alert has to fall below this part of itself before the alert ends.
ENDS_BELOW = 2 / 3


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is true, with its counts; `began_at` if it is known to be true for longer.

    `opens` is false for one that only keeps an open alert from ending.
    """

    rule: RuleName
    counts: Counts
    subject: str = ""
    began_at: datetime | None = None
    opens: bool = True


def find_by_ratio(
    rule: RuleName, ratio: float, counts: Counts, subject: str = ""
) -> Iterator[Finding]:
    """Yield a finding if the `ratio` of a value to the limit of its rule is high enough."""
    if ratio >= ENDS_BELOW:
        yield Finding(rule, counts, subject, opens=ratio >= 1)
