"""Messages: saved before they are sent, and read by their owner."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql import (
    ColumnElement,
    Select,
    literal_column,
    select,
    text,
)

from smstracker.clock import is_within, utcnow
from smstracker.database.engine import UtcDateTime
from smstracker.database.statement_time import StatementTime
from smstracker.extensions import Model, db, receipt_window, settings
from smstracker.models.sender_pace import SenderPace
from smstracker.models.tombstones import Tombstone, sid_hashes
from smstracker.sms import status
from smstracker.sms.identifiers import ERROR_CODE_LENGTH
from smstracker.sms.messaging_service import is_messaging_service
from smstracker.sms.status import DisplayStatus

REFERENCE_LENGTH = 64
BigId = BigInteger().with_variant(Integer, "sqlite")
# Named as the columns were once: SQLite renames a constraint only by copying the table.
IDEMPOTENCY_CONSTRAINT = "uq_message_owner_id_form_id"
RESEND_CONSTRAINT = "fk_message_again_of_id_message"
# Filters of the log that have an index. Callbacks, the common source, are left out of it: a scan of
# the newest messages finds them, and storing a callback need not write the index.
PARTIAL_INDEXES = {
    "error_code": "error_code IS NOT NULL",
    "sender": "sender IS NOT NULL",
    "messaging_service_sid": "messaging_service_sid IS NOT NULL",
    "status_source": "status_source <> 'callback'",
}
# As the index of the outbox says it: SQLite takes a partial index only for the same words.
IS_IN_OUTBOX = "status = 'outbox'"
# As models.batches has it, which imports this module.


def partial_index(condition: str, *columns: str, unique: bool = False) -> Index:
    """An index of the rows that meet a condition in SQL, on both databases."""
    where = text(condition)
    return Index(None, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


def is_in_outbox() -> ColumnElement[bool]:
    """The condition of a message that waits here, by the index of these."""
    condition: ColumnElement[bool] = literal_column(f"message.{IS_IN_OUTBOX}")
    return condition


def is_held() -> ColumnElement[bool]:
    """The condition of a message that a restore holds, as `Message.is_held`."""
    return is_in_outbox() & Message.send_at.is_(None)


def reverse_digits(number: str) -> str:
    """Reverse the digits of an E.164 number, so that a search for the last ones is a range."""
    return number[:0:-1]


def _reversed_recipient(context: Any) -> str:
    return reverse_digits(context.get_current_parameters()["recipient"])


@dataclass(frozen=True, slots=True)
class Content:
    """What to send, to whom, from whom: `sender` is a number or a Messaging Service SID."""

    recipient: str
    sender: str
    body: str
    media_urls: tuple[str, ...] = ()


class Message(Model):
    """One message of one owner. Only `models.status_transitions` changes its status."""

    __tablename__ = "message"
    __table_args__ = (
        UniqueConstraint("owner_id", "idempotency_key", name=IDEMPOTENCY_CONSTRAINT),
        Index(None, "owner_id", "created_at", "id"),
        # With status_at, counts need not read the rows.
        Index(None, "owner_id", "status", "created_at", "id", "status_at"),
        Index(None, "owner_id", "recipient_reversed", "created_at", "id"),
        *(
            partial_index(condition, "owner_id", name, "created_at", "id")
            for name, condition in PARTIAL_INDEXES.items()
        ),
        # Partial, so that setting a SID does not wait for the foreign-key locks of new events.
        partial_index("twilio_sid IS NOT NULL", "twilio_sid", unique=True),
        partial_index("resend_of_id IS NOT NULL", "resend_of_id", unique=True),
        partial_index("next_lookup_at IS NOT NULL", "next_lookup_at"),
        partial_index("final_at IS NOT NULL", "final_at", "status_source"),
        partial_index("batch_id IS NOT NULL", "owner_id", "batch_id", "created_at", "id"),
        # The counts of a batch need neither sort nor read the rows.
        partial_index(
            "batch_id IS NOT NULL",
            *("owner_id", "batch_id", "status", "error_code", "status_at"),
        ),
        partial_index(IS_IN_OUTBOX, "batch_id", "sender", "messaging_service_sid", "send_at", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[uuid.UUID] = mapped_column(unique=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    idempotency_key: Mapped[uuid.UUID]
    recipient: Mapped[str] = mapped_column(String(16))
    recipient_reversed: Mapped[str] = mapped_column(
        String(16), default=_reversed_recipient, server_default=""
    )
    sender: Mapped[str | None] = mapped_column(String(34))
    messaging_service_sid: Mapped[str | None] = mapped_column(String(34))
    body: Mapped[str] = mapped_column(Text)
    media_urls: Mapped[list[str]] = mapped_column(JSON)
    # When text, pictures and raw callbacks were deleted here; body and pictures are empty then.
    content_deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    simulated: Mapped[bool]
    callback_requested: Mapped[bool] = mapped_column(default=True)
    account_sid: Mapped[str | None] = mapped_column(String(34))
    twilio_sid: Mapped[str | None] = mapped_column(String(64))
    segments: Mapped[int | None]
    status: Mapped[str] = mapped_column(String(32), default=status.PENDING)
    status_at: Mapped[datetime] = mapped_column(UtcDateTime)
    status_source: Mapped[str | None] = mapped_column(String(16))
    error_code: Mapped[str | None] = mapped_column(String(ERROR_CODE_LENGTH))
    has_conflict: Mapped[bool] = mapped_column(default=False)
    price_micros: Mapped[int | None] = mapped_column(BigInteger)
    price_unit: Mapped[str | None] = mapped_column(String(3))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    accepted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    final_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    next_lookup_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    resend_of_id: Mapped[int | None] = mapped_column(
        ForeignKey("message.id", name=RESEND_CONSTRAINT)
    )
    # Of a message that goes through the outbox: from when it may be handed over (None while a
    # restore holds it, since `status_at`), until when a worker has claimed it, and when its
    # hand-over began.
    send_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    handed_over_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    batch_id: Mapped[int | None] = mapped_column(BigInteger)
    # Of a program's request: its own name for the message, a keyed hash of the request, and its
    # token, which may be deleted.
    reference: Mapped[str | None] = mapped_column(String(REFERENCE_LENGTH))
    request_hash: Mapped[str | None] = mapped_column(String(64))
    token_id: Mapped[int | None]

    @property
    def submitted_at(self) -> datetime:
        """When the hand-over to Twilio began, or until then when the message was saved."""
        return self.handed_over_at or self.created_at

    @property
    def content(self) -> Content:
        sender = self.messaging_service_sid or self.sender or ""
        return Content(self.recipient, sender, self.body, tuple(self.media_urls))

    @property
    def price(self) -> Decimal | None:
        """Twilio's charge in `price_unit`; None until Twilio has told it."""
        if self.price_micros is None:
            return None
        return (Decimal(self.price_micros) / 1_000_000).normalize() + Decimal("0.00")

    @property
    def is_held(self) -> bool:
        """Whether it waits until its owner edits or cancels it: a restore has brought it back."""
        return self.status == status.OUTBOX and self.send_at is None

    def is_scheduled(self, now: datetime) -> bool:
        """Whether it waits here for a time to come."""
        is_ahead = self.send_at is not None and self.send_at > now
        return self.status == status.OUTBOX and is_ahead

    def display_status(self, now: datetime) -> DisplayStatus:
        """Return the status as shown at `now`."""
        if self.is_scheduled(now):
            return status.display_scheduled(self.send_at)
        return status.display_status(
            self.status, self.status_at, now=now, receipt_window=receipt_window()
        )

    def display_changes_at(self, now: datetime) -> datetime | None:
        """Return when time alone will change what is shown; None if it never will."""
        if self.is_scheduled(now):
            return self.send_at
        changes_at = status.display_changes_at(self.status, self.status_at, receipt_window())
        return changes_at if changes_at and changes_at > now else None

    def edit_queued(self, content: Content, send_at: datetime | None) -> None:
        """Change a message in the outbox, whose row is locked; None sends it at once.

        A claim of what it was ends.
        """
        self.set_content(content)
        self.recipient_reversed = reverse_digits(content.recipient)
        now = utcnow()
        self.send_at, self.claimed_until = send_at or now, None
        if send_at is None:
            self.status_at = now  # as `outbox.find_misdated` knows it
        SenderPace.ensure_exists(db.session.connection(), content.sender)

    def original(self) -> "Message | None":
        """Return the message of which this is the resend."""
        return db.session.get(Message, self.resend_of_id) if self.resend_of_id else None

    def resend(self) -> "Message | None":
        """Return the resend of this message."""
        return db.session.scalar(select(Message).where(Message.resend_of_id == self.id))

    @classmethod
    def find_resends(cls, ids: Collection[int]) -> dict[int, "Message"]:
        """Find the resends of messages, by the ids of those."""
        if not ids:
            return {}
        resends = db.session.scalars(select(cls).where(cls.resend_of_id.in_(ids)))
        return {resend.resend_of_id: resend for resend in resends if resend.resend_of_id}

    def set_content(self, content: Content) -> None:
        service = is_messaging_service(content.sender)
        self.messaging_service_sid = content.sender if service else None
        self.sender = None if service else content.sender
        self.recipient, self.body = content.recipient, content.body
        self.media_urls = list(content.media_urls)
        self.simulated = settings().demo
        self.account_sid = settings().twilio_account_sid

    @classmethod
    def select_owned(cls, owner_id: int) -> Select[tuple["Message"]]:
        return select(cls).where(cls.owner_id == owner_id)

    @classmethod
    def has_id(cls, id_or_sid: str) -> ColumnElement[bool]:
        """The condition of the message with this `public_id` or SID of Twilio."""
        try:
            return cls.public_id == uuid.UUID(id_or_sid)
        except ValueError:
            # Twilio writes SM or MM, then lower case; both spellings are in the index.
            sids = [id_or_sid, id_or_sid[:2].upper() + id_or_sid[2:].lower()]
            return cls.twilio_sid.in_(sids)

    @classmethod
    def select_by_recipient(cls, owner_id: int, number: str) -> Select[tuple["Message"]]:
        """Select an owner's messages to an E.164 number, in no order."""
        is_recipient = cls.recipient_reversed == reverse_digits(number)
        return cls.select_owned(owner_id).where(is_recipient)

    @classmethod
    def select_creation_times(
        cls, owner_id: int | BindParameter[int], now: datetime | StatementTime, period: timedelta
    ) -> Select[tuple[datetime]]:
        """Select when an owner's messages of the last `period` were created, newest first."""
        is_recent = is_within(cls.created_at, now, period)
        query = select(cls.created_at).where(cls.owner_id == owner_id, is_recent)
        return query.order_by(cls.created_at.desc(), cls.id.desc())


def is_deleted_sid(connection: Connection, sid: str | None) -> bool:
    """Whether a message or callback with this SID was deleted here, and no message has it.

    A SID that was erased may be a stranger's claim: it keeps nothing of a message here away.
    """
    if not sid or not Tombstone.find(connection, sid_hashes(connection, sid)):
        return False
    return connection.scalar(select(Message.id).where(Message.twilio_sid == sid)) is None


def keep_undeleted(connection: Connection, sids: Collection[str]) -> set[str]:
    """Keep the messages with these SIDs from being deleted before the transaction ends, without
    waiting; return the SIDs of those that another one may be deleting.
    """
    if not sids or connection.dialect.name != "postgresql":
        return set()
    query = select(Message.twilio_sid).where(Message.twilio_sid.in_(sids))
    locked = query.with_for_update(read=True, key_share=True, skip_locked=True)
    kept_sids = set(connection.scalars(locked))
    return {sid for sid in connection.scalars(query) if sid and sid not in kept_sids}
