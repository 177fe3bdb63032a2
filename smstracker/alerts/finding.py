"""What a rule finds when it is true."""

from dataclasses import dataclass
from datetime import datetime

from smstracker.models.alerts import Counts


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is true, with its counts; `began_at` if it is known to be true for longer."""

    rule: str
    counts: Counts
    subject: str = ""
    began_at: datetime | None = None
