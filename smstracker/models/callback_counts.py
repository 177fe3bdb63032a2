"""Callback counts, kept up to date as callbacks are stored, so that no page counts events."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import BigInteger, Connection, String, Update, bindparam, delete, func, update
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.database.engine import Insert, UtcDateTime, affected_rows, excluded, upsert
from smstracker.extensions import Model, db
from smstracker.models.metric_totals import CALLBACKS, MetricTotal

BUCKET_WIDTH = timedelta(minutes=5)
RETENTION = timedelta(days=8)
# A column for each reason of `callback_requests.status_callback.Refusal`.
REFUSAL_PREFIX = "refused_"
REASONS = "signature not_a_form too_large address inbound json recut unreadable"
REFUSAL_COLUMNS = tuple(REFUSAL_PREFIX + reason for reason in REASONS.split())
# Callbacks by the milliseconds from their arrival to the end of their commit.
STORE_BOUNDS = (5, 10, 25, 50, 100, 250, 1000, 5000)
STORE_COLUMNS = (*(f"stored_in_{bound}_ms" for bound in STORE_BOUNDS), "stored_in_more")
STORE_MICROS = "store_micros"  # the sum of these times
DETAILS = (*REFUSAL_COLUMNS, *STORE_COLUMNS, STORE_MICROS)


@dataclass(slots=True)
class CallbackCounts:
    """Counts that one transaction adds to a tally."""

    accepted: int = 0
    repeated: int = 0
    by_key: int = 0
    unmatched: int = 0
    refused: int = 0
    not_stored: int = 0
    last_accepted_at: datetime | None = None
    details: Counter[str] = field(default_factory=Counter)  # by names of DETAILS

    def columns(self) -> dict[str, object]:
        """The columns of the tally by name."""
        names = (*COUNTERS, "last_accepted_at")
        return {name: getattr(self, name) for name in names} | {
            name: self.details[name] for name in DETAILS
        }


def refusal_column(reason: str) -> str:
    """The column that counts refusals of a reason."""
    return REFUSAL_PREFIX + reason.replace("-", "_")


def store_times(seconds: Iterable[float]) -> Counter[str]:
    """Count times to store by the columns of the tally."""
    counts: Counter[str] = Counter()
    for duration in seconds:
        counts[STORE_COLUMNS[bisect_left(STORE_BOUNDS, duration * 1e3)]] += 1
        counts[STORE_MICROS] += round(duration * 1e6)
    return counts


class CallbackTally(Model):
    """Callbacks of the five minutes from `bucket_at`, as one writer of callbacks counted them.

    One row for all would be a lock that every callback waits for. `process` is a random key of the
    writer: that of its process, until a commit hangs, which may have locked the row.
    `accepted` includes `repeated`, `by_key` (signed with a shared key) and `unmatched` (of no
    message here). `refused` includes callbacks that the quarantine did not store, and, of times
    before there were columns for the reasons, those without one.
    `not_stored` were answered with 503: they are not in `accepted`, and are counted as soon as
    the database can be written again. `last_accepted_at` is of the newest with a message here.
    """

    __tablename__ = "callback_tally"

    bucket_at: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    process: Mapped[str] = mapped_column(String(16), primary_key=True)
    accepted: Mapped[int]
    repeated: Mapped[int]
    # Unused: NOT NULL without a default, and written by the previous version during an upgrade.
    by_secondary: Mapped[int] = mapped_column(default=0)
    by_key: Mapped[int] = mapped_column(default=0, server_default="0")
    unmatched: Mapped[int] = mapped_column(default=0, server_default="0")
    refused: Mapped[int]
    not_stored: Mapped[int] = mapped_column(default=0, server_default="0")
    last_accepted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @classmethod
    def add(
        cls, connection: Connection, tally_key: str, counts: CallbackCounts, now: datetime
    ) -> None:
        """Add to the row of this bucket and key, in one statement."""
        row = {"bucket_at": bucket_start(now), "process": tally_key, **counts.columns()}
        # The row is there, but for the first time in a bucket; SQLAlchemy caches no upsert.
        added = {f"added_{name}": value for name, value in row.items()}
        if affected_rows(connection.execute(_add_to_row(), added)) == 0:
            connection.execute(_upsert(connection.dialect.name), row)

    @classmethod
    def purge(cls, now: datetime) -> int:
        """Delete tallies older than RETENTION, whose sums move to the totals; return how many."""
        outdated = delete(cls).where(cls.bucket_at < now - RETENTION)
        columns = [cls.__table__.c[name] for name in (*COUNTERS, *DETAILS)]
        rows = db.session.execute(outdated.returning(*columns)).all()
        sums = zip(columns, map(sum, zip(*rows, strict=True)), strict=False)
        MetricTotal.add(db.session.connection(), {CALLBACKS + c.name: total for c, total in sums})
        return len(rows)


def bucket_start(moment: datetime) -> datetime:
    """Return the start of the bucket that contains `moment`."""
    return moment - (moment - datetime.min.replace(tzinfo=moment.tzinfo)) % BUCKET_WIDTH


COUNTERS = ("accepted", "repeated", "refused", "not_stored", "by_key", "unmatched")
for detail in DETAILS:
    column = mapped_column(BigInteger, nullable=False, default=0, server_default="0")
    setattr(CallbackTally, detail, column)


@cache
def _add_to_row() -> Update:
    column = CallbackTally.__table__.c
    added = {item.name: bindparam(f"added_{item.name}", type_=item.type) for item in column}
    changes = {name: column[name] + added[name] for name in (*COUNTERS, *DETAILS)}
    newest = func.coalesce(added["last_accepted_at"], column.last_accepted_at)
    is_row = (column.bucket_at == added["bucket_at"], column.process == added["process"])
    return update(CallbackTally).where(*is_row).values(**changes, last_accepted_at=newest)


@cache
def _upsert(dialect_name: str) -> Insert:
    changes = {
        name: getattr(CallbackTally, name) + excluded(name) for name in (*COUNTERS, *DETAILS)
    }
    newest = func.coalesce(excluded("last_accepted_at"), CallbackTally.last_accepted_at)
    changes["last_accepted_at"] = newest
    return upsert(dialect_name, CallbackTally, ("bucket_at", "process"), changes)
