"""Messages: saved before they are sent, and read by their owner."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql import ColumnElement, Select, literal_column, select, text

from smstracker.clock import is_within, utcnow
from smstracker.database.engine import UtcDateTime
from smstracker.extensions import Model, db, receipt_window, settings
from smstracker.models.sender_pace import SenderPace
from smstracker.models.tombstones import HashedKind, Tombstone, keyed_hash, sid_hashes
from smstracker.models.users import User
from smstracker.sms import status
from smstracker.sms.identifiers import ERROR_CODE_LENGTH
from smstracker.sms.lookup_schedule import first_lookup
from smstracker.sms.messaging_service import is_messaging_service
from smstracker.sms.status import DisplayStatus

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


def partial_index(condition: str, *columns: str, unique: bool = False) -> Index:
    """An index of the rows that meet a condition in SQL, on both databases."""
    where = text(condition)
    return Index(None, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


def is_in_outbox() -> ColumnElement[bool]:
    """The condition of a message that waits here, by the index of these."""
    condition: ColumnElement[bool] = literal_column(f"message.{IS_IN_OUTBOX}")
    return condition


def reverse_digits(number: str) -> str:
    """Reverse the digits of an E.164 number, so that a search for the last ones is a range."""
    return number[:0:-1]


def _reversed_recipient(context: Any) -> str:
    return reverse_digits(context.get_current_parameters()["recipient"])


class AlreadySentError(Exception):
    """This form instance was sent before; `message` is the one it created, None if deleted."""

    def __init__(self, message: "Message | None", is_same_content: bool) -> None:
        super().__init__("the form was sent before")
        self.message, self.is_same_content = message, is_same_content


class SendLimitError(Exception):
    """The user has sent `limit` messages in a `period`; the next may be sent after `wait`."""

    def __init__(self, limit: int, period: str, wait: timedelta) -> None:
        super().__init__("the send limit is reached")
        self.limit, self.period, self.wait = limit, period, wait


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
    status: Mapped[str] = mapped_column(String(32), default="pending")
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
    # Of a message that goes through the outbox: from when it may be handed over, until when a
    # worker has claimed it, and when its hand-over began.
    send_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    handed_over_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    batch_id: Mapped[int | None] = mapped_column(BigInteger)
    # Of a program's request: its own name for the message, and a keyed hash of the request.
    reference: Mapped[str | None] = mapped_column(String(64))
    request_hash: Mapped[str | None] = mapped_column(String(64))

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

    @classmethod
    def create_pending(
        cls, owner_id: int, idempotency_key: uuid.UUID, content: Content
    ) -> "Message":
        """Save a message to be sent now, once for each `idempotency_key`, within the send limits.

        Raises AlreadySentError or SendLimitError; nothing is saved then.
        """
        return cls._create(owner_id, idempotency_key, content, status="pending")

    @classmethod
    def create_queued(
        cls,
        owner_id: int,
        idempotency_key: uuid.UUID,
        content: Content,
        *,
        send_at: datetime | None = None,
        batch_id: int | None = None,
        reference: str | None = None,
        request_hash: str | None = None,
    ) -> "Message":
        """Save a message for the workers to hand over, from `send_at` on; None: at once.

        Counts in the send limits now, whenever it is sent. Raises as `create_pending` does.
        """
        message = cls._create(owner_id, idempotency_key, content, status=status.OUTBOX)
        message.send_at, message.batch_id = send_at or message.created_at, batch_id
        message.reference, message.request_hash = reference, request_hash
        SenderPace.ensure_exists(db.session.connection(), content.sender)
        db.session.flush()
        return message

    @classmethod
    def _create(
        cls, owner_id: int, idempotency_key: uuid.UUID, content: Content, status: str
    ) -> "Message":
        # One message of an owner at a time: two at once could both pass a check.
        db.session.execute(select(User.id).where(User.id == owner_id).with_for_update())
        earlier = db.session.scalar(
            select(cls).where(cls.owner_id == owner_id, cls.idempotency_key == idempotency_key)
        )
        if earlier is not None:
            raise AlreadySentError(earlier, is_same_content=earlier.content == content)
        if _is_deleted(owner_id, idempotency_key):
            raise AlreadySentError(None, is_same_content=False)
        now = utcnow()
        _check_send_limits(owner_id, now)
        message = cls(
            owner_id=owner_id, idempotency_key=idempotency_key, created_at=now, status_at=now
        )
        message.status, message.next_lookup_at = status, first_lookup(status, now)
        message._set_content(content)
        db.session.add(message)
        db.session.flush()
        return message

    @classmethod
    def create_resend(cls, original: "Message") -> "Message":
        """Save the one resend of `original`. Raises as `create_pending` does."""
        idempotency_key = uuid.uuid5(original.public_id, "again")
        message = cls.create_pending(original.owner_id, idempotency_key, original.content)
        message.resend_of_id = original.id
        return message

    def edit_queued(self, content: Content, send_at: datetime | None) -> None:
        """Change a message in the outbox, whose row is locked; None sends it at once.

        A claim of what it was ends.
        """
        self._set_content(content)
        self.recipient_reversed = reverse_digits(content.recipient)
        self.send_at, self.claimed_until = send_at or utcnow(), None
        SenderPace.ensure_exists(db.session.connection(), content.sender)

    def original(self) -> "Message | None":
        """Return the message of which this is the resend."""
        return db.session.get(Message, self.resend_of_id) if self.resend_of_id else None

    def resend(self) -> "Message | None":
        """Return the resend of this message."""
        return db.session.scalar(select(Message).where(Message.resend_of_id == self.id))

    def _set_content(self, content: Content) -> None:
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
        cls, owner_id: int, now: datetime, period: timedelta
    ) -> Select[tuple[datetime]]:
        """Select when an owner's messages of the last `period` were created, newest first."""
        is_recent = is_within(cls.created_at, now, period)
        query = select(cls.created_at).where(cls.owner_id == owner_id, is_recent)
        return query.order_by(cls.created_at.desc(), cls.id.desc())


def _is_deleted(owner_id: int, idempotency_key: uuid.UUID) -> bool:
    """Whether the message of a form was sent and has been deleted since."""
    connection = db.session.connection()
    key_hash = keyed_hash(connection, HashedKind.FORM, owner_id, idempotency_key)
    return bool(Tombstone.find(connection, [key_hash]))


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


def _check_send_limits(owner_id: int, now: datetime) -> None:
    for limit, period, width in (
        (settings().send_limit_per_minute, "minute", timedelta(minutes=1)),
        (settings().send_limit_per_day, "day", timedelta(days=1)),
    ):
        # The limit-th newest message of the period blocks until it is older than the period.
        newest = Message.select_creation_times(owner_id, now, width)
        blocked_since = db.session.scalar(newest.offset(limit - 1).limit(1))
        if blocked_since is not None:
            raise SendLimitError(limit, period, blocked_since + width - now)
