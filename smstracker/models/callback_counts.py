"""How many callbacks came, counted as they are stored, so that nobody has to count events."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import Connection, String, delete, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.database.engine import UtcDateTime
from smstracker.extensions import Model, db

SPAN = timedelta(minutes=5)
KEPT = timedelta(days=8)


@dataclass(slots=True)
class CallbackCounts:
    """What one transaction adds to a tally."""

    accepted: int = 0
    repeated: int = 0
    by_secondary: int = 0
    by_key: int = 0
    unmatched: int = 0
    refused: int = 0
    not_stored: int = 0
    last_accepted_at: datetime | None = None


class CallbackTally(Model):
    """The callbacks of the five minutes that begin at `began_at`, as one process counted them.

    A row for each process, because one row for all would be a lock that all callbacks wait for.
    `accepted` includes `repeated`, `by_key` (signed with a shared key) and `unmatched` (of no
    message here). `refused` includes what was not kept.
    `not_stored` ones were answered with 503: they are no part of `accepted`, and are counted as
    soon as the database takes something again.
    """

    __tablename__ = "callback_tally"

    began_at: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    process: Mapped[str] = mapped_column(String(16), primary_key=True)
    accepted: Mapped[int]
    repeated: Mapped[int]
    # Always 0, and read by nobody: it is NOT NULL without a default, and processes of the version
    # before still write it during an upgrade.
    by_secondary: Mapped[int]
    by_key: Mapped[int] = mapped_column(default=0, server_default="0")
    unmatched: Mapped[int] = mapped_column(default=0, server_default="0")
    refused: Mapped[int]
    not_stored: Mapped[int] = mapped_column(default=0, server_default="0")
    last_accepted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @classmethod
    def add(
        cls, connection: Connection, process: str, counts: CallbackCounts, now: datetime
    ) -> None:
        """Add to the row of this span and process, with one statement."""
        row = {"began_at": bucket_start(now), "process": process, **asdict(counts)}
        connection.execute(_upsert(connection.dialect.name), row)

    @classmethod
    def purge(cls, now: datetime) -> int:
        """Delete the tallies that nobody looks at any more; how many they were."""
        gone = db.session.execute(delete(cls).where(cls.began_at < now - KEPT).returning(1))
        return len(gone.all())


def bucket_start(moment: datetime) -> datetime:
    """When the span that holds `moment` began."""
    return moment - (moment - datetime.min.replace(tzinfo=moment.tzinfo)) % SPAN


@cache
def _upsert(dialect: str) -> postgresql.Insert | sqlite.Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    fresh = insert(CallbackTally)
    numbers: tuple[str, ...] = ("accepted", "repeated", "refused", "not_stored")
    numbers += ("by_key", "unmatched")
    sums = {name: getattr(CallbackTally, name) + fresh.excluded[name] for name in numbers}
    last = func.coalesce(fresh.excluded["last_accepted_at"], CallbackTally.last_accepted_at)
    return fresh.on_conflict_do_update(
        index_elements=[CallbackTally.began_at, CallbackTally.process],
        set_=sums | {"last_accepted_at": last},
    )
