"""What was counted ahead for /insights: by half hours, and by days of UTC made of them.

Moments are whole seconds since 1970, because a year of them is read for one page.
"""

from sqlalchemy import BigInteger, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.extensions import Model
from smstracker.models.messages import BigId

EVERYONE = 0  # the owner of the rows that count all messages
HALF_HOUR = 1800
DAY = 86_400


class InsightBucket(Model):
    """The `width` seconds from `began` are counted, for all owners.

    From `stale_at` on, silence alone changes what was counted with this receipt window; if it is
    negative, there has been news since -`stale_at`.
    """

    __tablename__ = "insight_span"

    width: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    began: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    stale_at: Mapped[int] = mapped_column(BigInteger)
    window_hours: Mapped[int]
    made_at: Mapped[int] = mapped_column(BigInteger)


class InsightTally(Model):
    """The counts of one owner in one span, as `Counts.packed`; no row where there is no message.

    The outcomes are apart, because a day's bars may want them by half hours, and the rest not.
    """

    __tablename__ = "insight_tally"

    width: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    began: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    owner_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    outcomes: Mapped[str] = mapped_column(Text)
    sums: Mapped[str] = mapped_column(Text)


class InsightChange(Model):
    """A message whose price or sender became known without a status event."""

    __tablename__ = "insight_change"
    # The numbers of rows that are gone must not come again: they are followed by number.
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    message_id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"))


class InsightCursor(Model):
    """How far the events and changes have been followed; the one row is named "insights".

    On PostgreSQL a lower number may be committed after a higher one: what was `seen` counts as
    complete when every transaction of then must be over. `version` lets one worker write only
    what it has counted since nobody else wrote.
    """

    __tablename__ = "insight_cursor"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    version: Mapped[int]
    event_id: Mapped[int | None] = mapped_column(BigInteger)
    change_id: Mapped[int] = mapped_column(BigInteger)
    seen_event_id: Mapped[int] = mapped_column(BigInteger)
    seen_change_id: Mapped[int] = mapped_column(BigInteger)
    seen_at: Mapped[int] = mapped_column(BigInteger)
