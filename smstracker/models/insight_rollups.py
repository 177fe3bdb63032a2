"""Tables of the rollups for /insights: messages counted by owner and bucket of their creation.

Times are whole seconds since 1970. Messages are counted by UTC day, and counted anew so. Rows of
outcomes are by quarter of an hour, which divides the hours and days of every time zone in use. Of
the others only sums over a range are shown, and theirs are by day: by quarters, delivery times of
ten million messages in two years are 600,000 rows for everyone, which SQLite adds up in more than a
second; by days, 37,000 rows in 50 ms.
"""

from sqlalchemy import BigInteger, ColumnElement, String, cast, func
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.extensions import Model
from smstracker.models.messages import BigId
from smstracker.sms.identifiers import ERROR_CODE_LENGTH

EVERYONE = 0  # the owner_id of rollups of all messages
QUARTER = 900
DAY_SECONDS = 86_400
BINS = 20  # of one row of delivery times
SHARED_KEY = ("owner_id", "bucket", "is_deleted")
EpochRange = tuple[int, int]  # start, inclusive, and end, exclusive


def day_start(seconds: int) -> int:
    """The start of the UTC day that contains a time."""
    return seconds // DAY_SECONDS * DAY_SECONDS


class Rollup(Model):
    """The counts of one owner in one bucket; zero if there is no row.

    Rows of deleted messages are added to and never counted again. Of a day that a range cuts, they
    count if its first second is in the range.
    """

    __abstract__ = True
    __table_args__ = {"sqlite_with_rowid": False}
    width = DAY_SECONDS  # of a bucket

    owner_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bucket: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    is_deleted: Mapped[bool] = mapped_column(primary_key=True)

    @classmethod
    def key(cls) -> list[str]:
        """The names of the columns that tell rows of one owner and bucket apart."""
        names = [column.name for column in cls.__table__.columns if column.primary_key]
        return [name for name in names if name not in SHARED_KEY]

    @classmethod
    def counts(cls) -> list[str]:
        """The names of the columns that are added up."""
        return [column.name for column in cls.__table__.columns if not column.primary_key]

    @classmethod
    def sums(cls) -> list[ColumnElement[int]]:
        """The sum of each of these columns, by its name."""
        # PostgreSQL's sum of bigint is numeric.
        sums = {name: func.sum(cls.__table__.c[name]) for name in cls.counts()}
        return [cast(column, BigInteger).label(name) for name, column in sums.items()]


class InsightOutcome(Rollup):
    """Messages by the state that their status means in the end, after silence; see `State`."""

    __tablename__ = "insight_outcome"
    width = QUARTER

    waiting: Mapped[int] = mapped_column(BigInteger)
    delivered: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    no_receipt: Mapped[int] = mapped_column(BigInteger)
    unknown: Mapped[int] = mapped_column(BigInteger)
    cancelled: Mapped[int] = mapped_column(BigInteger)


class InsightFailure(Rollup):
    """Failed messages by error code; empty without one."""

    __tablename__ = "insight_failure"

    error_code: Mapped[str] = mapped_column(String(ERROR_CODE_LENGTH), primary_key=True)
    messages: Mapped[int] = mapped_column(BigInteger)


class InsightSpend(Rollup):
    """The price of the messages whose price is known."""

    __tablename__ = "insight_spend"

    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    micros: Mapped[int] = mapped_column(BigInteger)
    messages: Mapped[int] = mapped_column(BigInteger)


class InsightDelivery(Rollup):
    """Deliveries by their seconds, for each sender (empty for a service) and each calling code.

    `bin_0` to `bin_19` divide the seconds from `first_second`, which is 0, 20, 40, 80, 160 and so
    on, up to the next row.
    """

    __tablename__ = "insight_delivery"

    name_of: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(34), primary_key=True)
    first_second: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


BIN_NAMES = tuple(f"bin_{number}" for number in range(BINS))
for bin_name in BIN_NAMES:
    setattr(InsightDelivery, bin_name, mapped_column(BigInteger, nullable=False))


class InsightCoverage(Model):
    """The days that are counted, from `since` to before `until`; none while these are equal."""

    __tablename__ = "insight_coverage"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    since: Mapped[int] = mapped_column(BigInteger)
    until: Mapped[int] = mapped_column(BigInteger)


class InsightRecount(Model):
    """A day with a change that no status event records."""

    __tablename__ = "insight_recount"
    # An id stands for one change, so those of deleted rows must not be used again.
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    day: Mapped[int] = mapped_column(BigInteger)
