"""Alerts, and the notices that tell people of them. A notice is saved before it is sent."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import (
    JSON,
    ColumnElement,
    ForeignKey,
    Index,
    String,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import has_come, is_within, utcnow
from smstracker.database.engine import UtcDateTime, affected_rows, dialect_insert
from smstracker.extensions import Model
from smstracker.models.messages import BigId

ALERT_RETENTION = timedelta(days=30)
# A notice is not created for an alert that ended before that.
LATE_NOTICE = timedelta(days=1)
# Longer than a session with a slow mail server; only a process that dies leaves it to end.
SENDING_LEASE = timedelta(minutes=5)
MAX_RETRY_DELAY = timedelta(hours=1)
MUTE_HOURS = (1, 8, 24)
_MAX_MUTE = timedelta(hours=max(MUTE_HOURS))
WEBHOOK = "webhook"  # the channel; every other one is an e-mail address
BEGIN, END = "begin", "end"
Counts = Mapping[str, int]
_UNENDED = text("ended_at IS NULL")


class RuleName(StrEnum):
    """The names of the rules; an older or newer version may have stored others."""

    CALLBACKS_SILENT = "callbacks-silent"
    CALLBACKS_REFUSED = "callbacks-refused"
    CALLBACKS_NOT_STORED = "callbacks-not-stored"
    WORKER_GONE = "worker-gone"
    TWILIO_UNREACHABLE = "twilio-unreachable"
    OUTBOX_STUCK = "outbox-stuck"
    FAILURES_HIGH = "failures-high"
    ERROR_CODE = "error-code"
    CODE_UNLISTED = "code-unlisted"
    OUTCOME_UNKNOWN = "outcome-unknown"
    DISK_FULL = "disk-full"
    DATABASE_COPIED = "database-copied"
    BACKUPS_STOPPED = "backups-stopped"


class Alert(Model):
    """A rule that is true, or was; `subject` is an error code or empty.

    It is an alert from `opened_at` on, when the rule has held for its time; before, it is only
    watched. `counts` are those of the last time that the rule was true.
    """

    __tablename__ = "alert"
    __table_args__ = (
        # Two workers cannot both begin one.
        Index(
            "uq_alert_unended",
            "rule",
            "subject",
            unique=True,
            sqlite_where=_UNENDED,
            postgresql_where=_UNENDED,
        ),
        Index(None, "ended_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    rule: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(16))
    began_at: Mapped[datetime] = mapped_column(UtcDateTime)
    opened_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_true_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    muted_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    counts: Mapped[dict[str, int]] = mapped_column(JSON)

    @property
    def lasted(self) -> timedelta:
        """How long the rule was true."""
        return max(self.last_true_at - self.began_at, timedelta(0))

    def is_muted(self, now: datetime) -> bool:
        return self.muted_until is not None and not has_come(self.muted_until, now, _MAX_MUTE)

    def is_gone(self, evaluated_at: datetime | None) -> bool:
        """Whether the newest evaluation found nothing, so that it ends soon."""
        return evaluated_at is not None and self.last_true_at < evaluated_at

    @classmethod
    def is_audible(cls, now: datetime) -> ColumnElement[bool]:
        """Match alerts that are not muted."""
        return cls.muted_until.is_(None) | has_come(cls.muted_until, now, _MAX_MUTE)

    @classmethod
    def begin(
        cls, connection: Connection, rule: str, subject: str, times: Mapping[str, datetime | None]
    ) -> None:
        """Store a new one, muted as the one before it; nothing if another worker just did."""
        is_muted = ~has_come(cls.muted_until, utcnow(), _MAX_MUTE)
        of_key = (cls.rule == rule, cls.subject == subject)
        muted_until = connection.scalar(select(func.max(cls.muted_until)).where(*of_key, is_muted))
        insert = dialect_insert(connection.dialect.name, cls).values(
            rule=rule, subject=subject, muted_until=muted_until, counts={}, **times
        )
        connection.execute(insert.on_conflict_do_nothing())

    @classmethod
    def unended(cls, connection: Connection) -> dict[tuple[str, str], "Alert"]:
        """Those that have not ended, by rule and subject, locked until the commit."""
        query = select(cls.__table__).where(cls.ended_at.is_(None)).order_by(cls.id)
        rows = connection.execute(query.with_for_update())
        alerts = (cls(**row._mapping) for row in rows)
        return {(alert.rule, alert.subject): alert for alert in alerts}

    @classmethod
    def read(cls, connection: Connection, alert_id: int) -> "Alert":
        row = connection.execute(select(cls.__table__).where(cls.id == alert_id)).one()
        return cls(**row._mapping)

    @classmethod
    def change(cls, connection: Connection, alert_id: int, **columns: object) -> None:
        connection.execute(update(cls).where(cls.id == alert_id).values(columns))

    @classmethod
    def drop_watched(cls, connection: Connection, alert_id: int) -> None:
        connection.execute(delete(cls).where(cls.id == alert_id, cls.opened_at.is_(None)))

    @classmethod
    def is_any_recent(cls, connection: Connection, now: datetime) -> bool:
        """Whether there is one that has not ended, or of whose end people may have to be told."""
        recent = cls.ended_at.is_(None) | is_within(cls.ended_at, now, LATE_NOTICE)
        return connection.scalar(select(cls.id).where(recent).limit(1)) is not None

    @classmethod
    def count_open(cls, connection: Connection) -> dict[str, int]:
        """The number of open alerts of each rule that has any, muted ones included."""
        is_open = (cls.ended_at.is_(None), cls.opened_at.is_not(None))
        counted = select(cls.rule, func.count()).where(*is_open).group_by(cls.rule)
        return {rule: count for rule, count in connection.execute(counted)}  # noqa: C416 - typed

    @classmethod
    def purge(cls, connection: Connection, now: datetime) -> int:
        """Delete those that ended ALERT_RETENTION ago, with their notices; return how many."""
        past = select(cls.id).where(cls.ended_at < now - ALERT_RETENTION)
        connection.execute(delete(AlertNotice).where(AlertNotice.alert_id.in_(past)))
        return affected_rows(connection.execute(delete(cls).where(cls.id.in_(past))))


class AlertNotice(Model):
    """One notice by one channel: `occasion` is BEGIN, "day 1" and so on, or END.

    `due_at` is the next attempt, or the end of the lease of the worker that makes it. `failure`
    names why the last attempt failed.
    """

    __tablename__ = "alert_notice"
    __table_args__ = (Index(None, "alert_id", "channel", "occasion", unique=True),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    alert_id: Mapped[int] = mapped_column(ForeignKey("alert.id"))
    channel: Mapped[str] = mapped_column(String(254))
    occasion: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failures: Mapped[int] = mapped_column(default=0)
    failure: Mapped[str | None] = mapped_column(String(64))

    @classmethod
    def plan(
        cls, connection: Connection, alert_id: int, channel: str, occasion: str, now: datetime
    ) -> None:
        """Save a notice to be sent; an unsent earlier one is replaced, so that one mail goes out.

        Does nothing if there is this notice already.
        """
        of_alert = (cls.alert_id == alert_id, cls.channel == channel, cls.sent_at.is_(None))
        connection.execute(delete(cls).where(*of_alert, cls.occasion != occasion))
        row = {"alert_id": alert_id, "channel": channel, "occasion": occasion, "failures": 0}
        insert = dialect_insert(connection.dialect.name, cls)
        insert = insert.values(**row, created_at=now, due_at=now)
        connection.execute(insert.on_conflict_do_nothing())

    @classmethod
    def claim(
        cls, connection: Connection, channel: str, now: datetime, limit: int
    ) -> list["AlertNotice"]:
        """Take the next due notices for SENDING_LEASE, `limit` at most.

        None of a muted alert, and of one that is over only that it is.
        """
        is_due = cls.sent_at.is_(None) & has_come(cls.due_at, now, MAX_RETRY_DELAY)
        is_true = Alert.ended_at.is_(None) | (cls.occasion == END)
        query = select(cls.__table__).join(Alert, Alert.id == cls.alert_id)
        query = query.where(cls.channel == channel, is_due, is_true, Alert.is_audible(now))
        query = query.order_by(cls.due_at, cls.id).limit(limit)
        rows = connection.execute(query.with_for_update(skip_locked=True, of=cls)).all()
        lease = update(cls).where(cls.id.in_([row.id for row in rows]))
        connection.execute(lease.values(due_at=now + SENDING_LEASE))
        return [cls(**row._mapping) for row in rows]

    @classmethod
    def record(cls, connection: Connection, notice_id: int, **columns: object) -> None:
        """Store the outcome of an attempt."""
        connection.execute(update(cls).where(cls.id == notice_id).values(columns))
