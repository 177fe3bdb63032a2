"""The audit log: who did what, when, about which object. Never content, a number or a token."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Index, Select, String, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import utcnow
from smstracker.database.engine import (
    UtcDateTime,
    delete_unlocked,
    excluded,
    reading_connection,
    upsert,
)
from smstracker.extensions import Model, db, settings
from smstracker.models.messages import BigId
from smstracker.models.users import digest

COMMAND_LINE = "command line"  # the actor of a command
WORKER = "worker"
MAX_COUNTED = 100  # of one act within an hour; more are neither counted nor stored


class AuditAction(StrEnum):
    """What was done, as stored; `WORDS` has the words for people."""

    SIGNED_IN_BY_LINK = "signed-in-by-link"
    SIGNED_IN_BY_CODE = "signed-in-by-code"
    SIGN_IN_REFUSED = "sign-in-refused"
    SIGNED_OUT = "signed-out"
    ENDED_SESSIONS = "ended-sessions"
    ADDED_USER = "added-user"
    DEACTIVATED_USER = "deactivated-user"
    GAVE_ADMINISTRATOR = "gave-administrator"
    TOOK_ADMINISTRATOR = "took-administrator"
    SIGNED_USER_OUT = "signed-user-out"
    MADE_SIGN_IN_LINK = "made-sign-in-link"
    DELETED_USER = "deleted-user"
    ERASED_USER = "erased-user"
    EXPORTED_LOG = "exported-log"
    EXPORTED_PERSON = "exported-person"
    ERASED_PERSON = "erased-person"
    DELETED_BY_AGE = "deleted-by-age"
    RESTORED_BACKUP = "restored-backup"
    UNDID_ERASURE = "undid-erasure"
    UNDID_DEACTIVATION = "undid-deactivation"
    UNDID_USER_DELETION = "undid-user-deletion"
    UNDID_USER_ERASURE = "undid-user-erasure"
    UNDID_ROLE_LOSS = "undid-role-loss"
    REPLAYED_CALLBACKS = "replayed-callbacks"
    ALERT_MUTED = "alert-muted"
    ALERT_UNMUTED = "alert-unmuted"
    STARTED_BATCH = "started-batch"
    PAUSED_BATCH = "paused-batch"
    RESUMED_BATCH = "resumed-batch"
    STOPPED_BATCH = "stopped-batch"
    ADDED_TOKEN = "added-token"  # noqa: S105
    REVOKED_TOKEN = "revoked-token"  # noqa: S105


WORDS = {
    AuditAction.SIGNED_IN_BY_LINK: "Signed in with a link",
    AuditAction.SIGNED_IN_BY_CODE: "Signed in with a code",
    AuditAction.SIGN_IN_REFUSED: "Sign-in refused",
    AuditAction.SIGNED_OUT: "Signed out",
    AuditAction.ENDED_SESSIONS: "Ended own sessions elsewhere",
    AuditAction.ADDED_USER: "Let a user in",
    AuditAction.DEACTIVATED_USER: "Deactivated a user",
    AuditAction.GAVE_ADMINISTRATOR: "Gave the administrator role",
    AuditAction.TOOK_ADMINISTRATOR: "Removed the administrator role",
    AuditAction.SIGNED_USER_OUT: "Signed a user out everywhere",
    AuditAction.MADE_SIGN_IN_LINK: "Made a sign-in link",
    AuditAction.DELETED_USER: "Deleted a user, kept the messages",
    AuditAction.ERASED_USER: "Deleted a user and the messages",
    AuditAction.EXPORTED_LOG: "Exported own messages",
    AuditAction.EXPORTED_PERSON: "Exported what was held of a person",
    AuditAction.ERASED_PERSON: "Erased what was held of a person",
    AuditAction.DELETED_BY_AGE: "Deleted what was too old to keep",
    AuditAction.RESTORED_BACKUP: "Restored a backup",
    AuditAction.UNDID_ERASURE: "Restored a backup from before a person was erased",
    AuditAction.UNDID_DEACTIVATION: "Restored a backup from before a user was deactivated",
    AuditAction.UNDID_USER_DELETION: "Restored a backup from before a user was deleted",
    AuditAction.UNDID_USER_ERASURE: "Restored a backup from before a user was deleted in full",
    AuditAction.UNDID_ROLE_LOSS: "Restored a backup from before a user lost the administrator role",
    AuditAction.REPLAYED_CALLBACKS: "Replayed refused callbacks",
    AuditAction.ALERT_MUTED: "Muted an alert",
    AuditAction.ALERT_UNMUTED: "Unmuted an alert",
    AuditAction.STARTED_BATCH: "Started a batch",
    AuditAction.PAUSED_BATCH: "Paused a batch",
    AuditAction.RESUMED_BATCH: "Resumed a batch",
    AuditAction.STOPPED_BATCH: "Stopped the rest of a batch",
    AuditAction.ADDED_TOKEN: "Added a token for a program",
    AuditAction.REVOKED_TOKEN: "Revoked a token for a program",
}


class AuditEntry(Model):
    """One act; several alike within an hour are one row if `hour_key` is set.

    `actor` is the address of a user, a token by its id, COMMAND_LINE, WORKER, or empty for somebody
    unknown.
    `subject` is what the act was about: a user's address, a public id, a rule's name, a receipt, a
    kind of rows.
    """

    __tablename__ = "audit_entry"
    __table_args__ = (Index(None, "action", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, index=True)
    action: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(254))
    subject: Mapped[str] = mapped_column(String(254), default="")
    count: Mapped[int] = mapped_column(default=1)
    hour_key: Mapped[str | None] = mapped_column(String(64), unique=True)

    @property
    def words(self) -> str:
        """What was done; the stored word of an action that this version does not have."""
        action = next((action for action in AuditAction if action == self.action), None)
        return WORDS[action] if action else self.action

    @property
    def count_in_words(self) -> str:
        """How often it was done within its hour, or to how many rows; empty for a single act."""
        if self.action == AuditAction.DELETED_BY_AGE:
            return f"{self.count:,} within the hour"
        return f"{self.count:,} times within the hour" if self.count > 1 else ""

    @classmethod
    def select_newest(cls, action: AuditAction | None = None) -> Select[tuple["AuditEntry"]]:
        """Select the entries of an action, or of all, newest first."""
        query = select(cls).order_by(cls.id.desc())
        return query if action is None else query.where(cls.action == action)

    @classmethod
    def purge(cls, now: datetime) -> int:
        """Delete entries older than AUDIT_DAYS; return how many."""
        cutoff = now - timedelta(days=settings().audit_days)
        return delete_unlocked(db.session.connection(), cls, select(cls.id).where(cls.at < cutoff))


def record_audit(action: AuditAction, *, actor: str, subject: str = "") -> None:
    """Add an entry in the caller's transaction."""
    entry = AuditEntry(action=action, actor=actor[:254], subject=subject[:254])
    db.session.add(entry)


def count_audit(action: AuditAction, *, actor: str = "", subject: str = "") -> None:
    """Count an act in its hour's entry, in the caller's transaction: for what can be repeated.

    Beyond MAX_COUNTED it only reads, so that a flood neither fills the table nor blocks writers.
    """
    now = utcnow()
    key = _hour_key(action, now, actor, subject)
    with reading_connection(db.engine) as connection:
        counted = connection.scalar(select(AuditEntry.count).where(AuditEntry.hour_key == key))
    if (counted or 0) < MAX_COUNTED:
        values = {"action": action, "actor": actor[:254], "subject": subject[:254]}
        _add_to_hour(db.session.connection(), key, now, 1, values)


def count_deleted(connection: Connection, subject: str, count: int) -> None:
    """Add to the rows of a kind that the worker has deleted by age within this hour."""
    now, action = utcnow(), AuditAction.DELETED_BY_AGE
    values = {"action": action, "actor": WORKER, "subject": subject}
    _add_to_hour(connection, _hour_key(action, now, WORKER, subject), now, count, values)


def _hour_key(action: AuditAction, now: datetime, actor: str, subject: str) -> str:
    return digest(f"{action} {now:%Y-%m-%dT%H} {actor} {subject}")


def _add_to_hour(
    connection: Connection, key: str, now: datetime, count: int, values: Mapping[str, str]
) -> None:
    changes = {"count": AuditEntry.count + excluded("count")}
    statement = upsert(connection.dialect.name, AuditEntry, ("hour_key",), changes)
    connection.execute(statement.values(**values, hour_key=key, count=count, at=now))
