"""How many callbacks came, counted as they are stored, so that nobody has to count events."""

from datetime import datetime, timedelta

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.database import UtcDateTime
from smstracker.extensions import Model

SPAN = timedelta(minutes=5)


class CallbackTally(Model):
    """The callbacks of the five minutes that begin at `began_at`, as one process counted them.

    A row for each process, because one row for all would be a lock that all callbacks wait for.
    `accepted` includes `repeated` and `by_secondary` (signed with the secondary token). `refused`
    includes what was not kept.
    """

    __tablename__ = "callback_tally"

    began_at: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    process: Mapped[str] = mapped_column(String(16), primary_key=True)
    accepted: Mapped[int]
    repeated: Mapped[int]
    by_secondary: Mapped[int]
    refused: Mapped[int]
    last_accepted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


def span_of(moment: datetime) -> datetime:
    """When the span that holds `moment` began."""
    return moment - (moment - datetime.min.replace(tzinfo=moment.tzinfo)) % SPAN
