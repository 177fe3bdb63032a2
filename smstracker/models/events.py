"""Status events, append-only: each status learned of a message, with source and time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    ForeignKey,
    Select,
    String,
    cast,
    delete,
    select,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import utcnow
from smstracker.database.engine import UtcDateTime, affected_rows, delete_unlocked
from smstracker.extensions import Model
from smstracker.models.keep_settings import KeepSetting, days_in_force
from smstracker.models.messages import BigId, partial_index
from smstracker.sms.identifiers import ERROR_CODE_LENGTH
from smstracker.sms.status import Source


class StatusEvent(Model):
    """One status learned of a message, with its raw payload.

    `carrier_done_at` is the carrier's own date, without a zone: never compute with it.
    `signed_with` names the secret that signed a callback ("primary", "secondary", "subaccount",
    "shared key") as configured then; `token_mark` tells whether it is the token configured now.
    `replayed_at` is set on a callback that was refused at first. `is_repeated` marks a callback
    whose status and error code were called back before; `repeats` counts identical callbacks,
    which have no row of their own.
    """

    __tablename__ = "status_event"
    __table_args__ = (
        partial_index("message_id IS NULL", "twilio_sid"),
        partial_index("message_id IS NULL", "received_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    message_id: Mapped[int | None] = mapped_column(ForeignKey("message.id"), index=True)
    twilio_sid: Mapped[str | None] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(64))
    error_code: Mapped[str | None] = mapped_column(String(ERROR_CODE_LENGTH))
    source: Mapped[str] = mapped_column(String(16))
    payload: Mapped[dict[str, object]] = mapped_column(JSON)
    carrier_done_at: Mapped[str | None] = mapped_column(String(32))
    idempotency_token: Mapped[str | None] = mapped_column(String(128))
    account_sid: Mapped[str | None] = mapped_column(String(34))
    signed_with: Mapped[str | None] = mapped_column(String(16))
    token_mark: Mapped[str | None] = mapped_column(String(8))
    is_repeated: Mapped[bool] = mapped_column(default=False)
    repeats: Mapped[int] = mapped_column(default=0, server_default="0")
    replayed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)

    @classmethod
    def select_for_message(cls, message_id: int) -> Select[tuple["StatusEvent"]]:
        return select(cls).where(cls.message_id == message_id).order_by(cls.received_at, cls.id)

    @classmethod
    def remove(
        cls,
        connection: Connection,
        is_removed: ColumnElement[bool],
        parameters: Mapping[str, object],
    ) -> int:
        """Delete the events that meet a condition with its parameters; return how many."""
        return affected_rows(connection.execute(delete(cls).where(is_removed), parameters))

    @classmethod
    def blank_orphans(cls, connection: Connection, now: datetime, limit: int = 500) -> int:
        """Empty up to `limit` callbacks of no message that are older than texts may be."""
        days = days_in_force(connection, KeepSetting.TEXTS)
        if days is None:
            return 0
        is_old = cls.message_id.is_(None) & (cls.received_at < now - timedelta(days=days))
        is_raw = cast(cls.payload, String) != "{}"
        oldest = select(cls.id).where(is_old, is_raw).order_by(cls.received_at).limit(limit)
        unlocked = oldest.with_for_update(skip_locked=True).cte()
        blanking = update(cls).where(cls.id.in_(select(unlocked.c.id))).values(payload={})
        return len(connection.execute(blanking.returning(cls.id)).all())

    @classmethod
    def purge_orphans(cls, connection: Connection, before: datetime, limit: int = 500) -> int:
        """Delete up to `limit` callbacks of no message from `before`; return how many."""
        is_old = cls.message_id.is_(None) & (cls.received_at < before)
        # Not those that another transaction is linking to a message.
        oldest = select(cls.id).where(is_old).order_by(cls.received_at).limit(limit)
        return delete_unlocked(connection, cls, oldest)


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A status learned from any source, before it is stored."""

    status: str
    source: Source
    payload: Mapping[str, object]
    twilio_sid: str | None = None
    error_code: str | None = None
    carrier_done_at: str | None = None
    idempotency_token: str | None = None
    account_sid: str | None = None
    signed_with: str | None = None
    token_mark: str | None = None
    replayed_at: datetime | None = None
    received_at: datetime = field(default_factory=utcnow)

    def row(self) -> dict[str, object]:
        """Return the columns of the event."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class SendResult:
    """What the carrier answered to a create call; `sender` is the number that a service chose."""

    status_update: StatusUpdate
    callback_requested: bool
    segments: int | None = None
    sender: str | None = None
