"""Tables of the rollups for /insights: by half hour, and by UTC day.

Times are whole seconds since 1970, because one page reads a year of them.
"""

from sqlalchemy import BigInteger, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.extensions import Model
from smstracker.models.messages import BigId

EVERYONE = 0  # the owner_id of rollups of all messages
HALF_HOUR = 1800
DAY = 86_400


class InsightBucket(Model):
    """A bucket that is counted for all owners: the `width` seconds from `began`.

    From `stale_at` on, silence alone changes its counts, given this receipt window. A negative
    `stale_at` means that messages of the bucket have changed since -`stale_at`.
    """

    __tablename__ = "insight_span"

    width: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    began: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    stale_at: Mapped[int] = mapped_column(BigInteger)
    window_hours: Mapped[int]
    made_at: Mapped[int] = mapped_column(BigInteger)


class InsightRollup(Model):
    """The totals of one owner in one bucket, as `MessageTotals.packed_columns`.

    An owner without messages in the bucket has no row. The outcomes have a column of their own,
    because bars that split a day read only them by half hour.
    """

    __tablename__ = "insight_tally"

    width: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    began: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    owner_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    outcomes: Mapped[str] = mapped_column(Text)
    sums: Mapped[str] = mapped_column(Text)


class InsightChange(Model):
    """A change of a message's price or sender that no status event records."""

    __tablename__ = "insight_change"
    # The cursor follows the ids, so those of deleted rows must not be used again.
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    message_id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"))


class InsightCursor(Model):
    """The position of the rollup job in events and changes; one row, named "insights".

    On PostgreSQL a lower id may be committed after a higher one: ids up to the `seen_` ones are
    complete once every transaction of `seen_at` must have ended. `version` detects a write of
    another worker. `event_id` is None until the first `seen_` ids are complete.
    """

    __tablename__ = "insight_cursor"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    version: Mapped[int]
    event_id: Mapped[int | None] = mapped_column(BigInteger)
    change_id: Mapped[int] = mapped_column(BigInteger)
    seen_event_id: Mapped[int] = mapped_column(BigInteger)
    seen_change_id: Mapped[int] = mapped_column(BigInteger)
    seen_at: Mapped[int] = mapped_column(BigInteger)
