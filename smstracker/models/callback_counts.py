"""Callback counts, kept up to date as callbacks are stored, so that no page counts events."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import Connection, String, Update, bindparam, delete, func, update
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.database.engine import Insert, UtcDateTime, affected_rows, excluded, upsert
from smstracker.extensions import Model, db

BUCKET_WIDTH = timedelta(minutes=5)
RETENTION = timedelta(days=8)


@dataclass(slots=True)
class CallbackCounts:
    """Counts that one transaction adds to a tally."""

    accepted: int = 0
    repeated: int = 0
    by_secondary: int = 0
    by_key: int = 0
    unmatched: int = 0
    refused: int = 0
    not_stored: int = 0
    last_accepted_at: datetime | None = None

    def columns(self) -> dict[str, object]:
        """The columns of the tally by name."""
        return {name: getattr(self, name) for name in self.__slots__}


class CallbackTally(Model):
    """Callbacks of the five minutes from `bucket_at`, as one writer of callbacks counted them.

    One row for all would be a lock that every callback waits for. `process` is a random key of the
    writer: that of its process, until a commit hangs, which may have locked the row.
    `accepted` includes `repeated`, `by_key` (signed with a shared key) and `unmatched` (of no
    message here). `refused` includes callbacks that the quarantine did not store.
    `not_stored` were answered with 503: they are not in `accepted`, and are counted as soon as
    the database can be written again.
    """

    __tablename__ = "callback_tally"

    bucket_at: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    process: Mapped[str] = mapped_column(String(16), primary_key=True)
    accepted: Mapped[int]
    repeated: Mapped[int]
    # Unused, always 0: NOT NULL without a default, and written by the previous version during an
    # upgrade.
    by_secondary: Mapped[int]
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
        """Delete tallies older than RETENTION; return how many."""
        return affected_rows(db.session.execute(delete(cls).where(cls.bucket_at < now - RETENTION)))


def bucket_start(moment: datetime) -> datetime:
    """Return the start of the bucket that contains `moment`."""
    return moment - (moment - datetime.min.replace(tzinfo=moment.tzinfo)) % BUCKET_WIDTH


COUNTERS = ("accepted", "repeated", "refused", "not_stored", "by_key", "unmatched")


@cache
def _add_to_row() -> Update:
    column = CallbackTally.__table__.c
    added = {item.name: bindparam(f"added_{item.name}", type_=item.type) for item in column}
    changes = {name: column[name] + added[name] for name in COUNTERS}
    newest = func.coalesce(added["last_accepted_at"], column.last_accepted_at)
    is_row = (column.bucket_at == added["bucket_at"], column.process == added["process"])
    return update(CallbackTally).where(*is_row).values(**changes, last_accepted_at=newest)


@cache
def _upsert(dialect_name: str) -> Insert:
    changes = {name: getattr(CallbackTally, name) + excluded(name) for name in COUNTERS}
    newest = func.coalesce(excluded("last_accepted_at"), CallbackTally.last_accepted_at)
    changes["last_accepted_at"] = newest
    return upsert(dialect_name, CallbackTally, ("bucket_at", "process"), changes)
