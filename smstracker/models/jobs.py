"""Heartbeats of the workers, and the jobs that one worker at a time runs, or a command."""

from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import String, Text, delete, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import has_come, is_within, utcnow
from smstracker.database.engine import UtcDateTime, affected_rows, dialect_insert, upsert
from smstracker.extensions import Model, settings

HEARTBEAT_RETENTION = timedelta(days=1)


class Heartbeat(Model):
    """One running worker. `problem` is what keeps it from asking Twilio, as a sentence.

    Its settings of retention are 0 for ever, None if it is of a version that does not tell.
    """

    __tablename__ = "heartbeat"

    worker: Mapped[str] = mapped_column(String(64), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    beat_at: Mapped[datetime] = mapped_column(UtcDateTime)
    problem: Mapped[str | None] = mapped_column(Text)
    keep_text_days: Mapped[int | None]
    keep_message_days: Mapped[int | None]

    @classmethod
    def beat(
        cls, connection: Connection, worker: str, started_at: datetime, problem: str | None
    ) -> None:
        """Store that this worker is alive."""
        changes = {
            "started_at": started_at,
            "beat_at": utcnow(),
            "problem": problem,
            "keep_text_days": settings().keep_text_days or 0,
            "keep_message_days": settings().keep_message_days or 0,
        }
        statement = upsert(connection.dialect.name, cls, ("worker",), changes)
        connection.execute(statement.values(worker=worker, **changes))

    @classmethod
    def end(cls, connection: Connection, worker: str) -> None:
        connection.execute(delete(cls).where(cls.worker == worker))

    @classmethod
    def purge(cls, connection: Connection) -> int:
        """Delete the heartbeats of killed workers; return how many.

        A worker that lives stores its own again.
        """
        killed = delete(cls).where(~is_within(cls.beat_at, utcnow(), HEARTBEAT_RETENTION))
        return affected_rows(connection.execute(killed))


class JobName(StrEnum):
    """The names of ScheduledJob."""

    LISTING = "listing"
    MAINTENANCE = "maintenance"
    DIAGNOSIS = "diagnosis"  # of refused callbacks
    REDATING = "redating of the outbox"
    ROLLUP = "rollup"
    ALERTS = "alerts"
    REMOVAL = "removal"
    CARRIER_REMOVAL = "removal at Twilio"
    CLEANING = "cleaning of the text index"
    LOOKUPS = "lookups"  # only the time of the next slot
    HEARTBEAT = "heartbeat"
    BACKUP = "backup"  # by a command
    LAST_BACKUP = "last backup"  # by a command, after which no other is expected


class ScheduledJob(Model):
    """A job that one worker at a time runs; `due_at` doubles as the end of a lease.

    `failed_at` and `failure` are of the newest attempt, if that failed and is recorded.
    """

    __tablename__ = "scheduled_job"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    done_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failure: Mapped[str | None] = mapped_column(String(64))

    @classmethod
    def read(cls, connection: Connection, name: str) -> "ScheduledJob":
        """The job; one without times if it never ran."""
        row = connection.execute(select(cls.__table__).where(cls.name == name)).first()
        return cls(**row._mapping) if row else cls(name=name)

    def is_due(self, now: datetime, interval: timedelta) -> bool:
        """Whether the time has come; one further away than `interval` was set by a wrong clock."""
        return has_come(self.due_at, now, interval)

    @classmethod
    def claim(
        cls, connection: Connection, name: str, lease: timedelta, interval: timedelta
    ) -> bool:
        """Take a due job for `lease`; False if it is not due or another worker has it."""
        now = utcnow()
        cls._ensure_exists(connection, name, now)
        is_due = has_come(cls.due_at, now, max(interval, lease))
        job = select(cls.name).where(cls.name == name, is_due)
        if connection.scalar(job.with_for_update(skip_locked=True)) is None:
            return False
        cls.postpone(connection, name, now + lease)
        return True

    @classmethod
    def lock(cls, connection: Connection, name: str) -> datetime:
        """Return when the job is due; nobody else can change that until the transaction ends."""
        cls._ensure_exists(connection, name, utcnow())
        due_at = select(cls.due_at).where(cls.name == name).with_for_update()
        return connection.execute(due_at).scalar_one()

    @classmethod
    def _ensure_exists(cls, connection: Connection, name: str, due_at: datetime) -> None:
        insert = dialect_insert(connection.dialect.name, cls).values(name=name, due_at=due_at)
        connection.execute(insert.on_conflict_do_nothing())

    @classmethod
    def postpone(cls, connection: Connection, name: str, until: datetime) -> None:
        connection.execute(update(cls).where(cls.name == name).values(due_at=until))

    @classmethod
    def mark_done(
        cls,
        connection: Connection,
        name: str,
        started_at: datetime,
        interval: timedelta,
        *,
        keeps_failure: bool = False,
    ) -> None:
        """Store that everything up to `started_at` is done; the job is due after `interval`.

        `keeps_failure` if whatever failed last may still do so.
        """
        cls._ensure_exists(connection, name, started_at)
        columns = {} if keeps_failure else {"failed_at": None, "failure": None}
        job = update(cls).where(cls.name == name).values(columns)
        connection.execute(job.values(done_at=started_at, due_at=started_at + interval))

    @classmethod
    def mark_failed(cls, connection: Connection, name: str, failure: str | None = None) -> None:
        """Store that an attempt failed just now, and why; when the job is due stays."""
        now = utcnow()
        cls._ensure_exists(connection, name, now)
        job = update(cls).where(cls.name == name)
        connection.execute(job.values(failed_at=now, failure=failure and failure[:64]))

    @classmethod
    def forget(cls, connection: Connection, name: str) -> None:
        connection.execute(delete(cls).where(cls.name == name))

    @classmethod
    def last_done_at(cls, connection: Connection, name: str) -> datetime | None:
        return connection.scalar(select(cls.done_at).where(cls.name == name))
