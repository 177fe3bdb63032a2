"""Messages: saved before they are sent, listed for their owner, counted by state."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    Select,
    String,
    Text,
    UniqueConstraint,
    select,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import utcnow
from smstracker.database.engine import UtcDateTime
from smstracker.extensions import Model, db, settings
from smstracker.models.users import User
from smstracker.sms import status
from smstracker.sms.lookup_schedule import first_lookup
from smstracker.sms.messaging_service import is_messaging_service
from smstracker.sms.status import DisplayStatus

BigId = BigInteger().with_variant(Integer, "sqlite")
HAS_SID = text("twilio_sid IS NOT NULL")
IS_FINAL = text("final_at IS NOT NULL")
IS_AGAIN = text("again_of_id IS NOT NULL")
IS_OPEN = text("next_lookup_at IS NOT NULL")
# Filters of the log. Callbacks are the common source: looking through the newest finds them, and
# no callback has to touch that index.
SOMETIMES_SET = {
    "error_code": text("error_code IS NOT NULL"),
    "sender": text("sender IS NOT NULL"),
    "messaging_service_sid": text("messaging_service_sid IS NOT NULL"),
    "status_source": text("status_source <> 'callback'"),
}


def _reversed(context: Any) -> str:
    """The digits of the recipient from the last to the first: the last ones are a range then."""
    recipient: str = context.get_current_parameters()["recipient"]
    return recipient[:0:-1]


class AlreadySentError(Exception):
    """This form instance has made its message; `same` tells whether the content is unchanged."""

    def __init__(self, message: "Message", same: bool) -> None:
        super().__init__("the form was sent before")
        self.message = message
        self.same = same


class SendLimitError(Exception):
    """The user has sent `limit` messages in a `period`; after `wait` the next one may go."""

    def __init__(self, limit: int, period: str, wait: timedelta) -> None:
        super().__init__("the send limit is reached")
        self.limit = limit
        self.period = period
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Content:
    """What somebody asks to be sent: `sender` is a number or a Messaging Service SID."""

    recipient: str
    sender: str
    body: str
    media_urls: tuple[str, ...] = ()


class Message(Model):
    """One message of one owner. Its status moves only by `models.moves`."""

    __tablename__ = "message"
    __table_args__ = (
        UniqueConstraint("owner_id", "form_id"),
        Index(None, "owner_id", "created_at", "id"),
        # The status time is there so that counting need not read the rows.
        Index(None, "owner_id", "status", "created_at", "id", "status_at"),
        Index(None, "owner_id", "recipient_backwards", "created_at", "id"),
        *(
            Index(None, "owner_id", column, "created_at", "id", sqlite_where=w, postgresql_where=w)
            for column, w in SOMETIMES_SET.items()
        ),
        # Partial, so that setting it does not wait for the foreign-key locks of new events.
        Index(None, "twilio_sid", unique=True, sqlite_where=HAS_SID, postgresql_where=HAS_SID),
        Index(None, "again_of_id", unique=True, sqlite_where=IS_AGAIN, postgresql_where=IS_AGAIN),
        Index(None, "next_lookup_at", sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
        Index(None, "final_at", "status_source", sqlite_where=IS_FINAL, postgresql_where=IS_FINAL),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[uuid.UUID] = mapped_column(unique=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    form_id: Mapped[uuid.UUID]
    recipient: Mapped[str] = mapped_column(String(16))
    recipient_backwards: Mapped[str] = mapped_column(
        String(16), default=_reversed, server_default=""
    )
    sender: Mapped[str | None] = mapped_column(String(34))
    messaging_service_sid: Mapped[str | None] = mapped_column(String(34))
    body: Mapped[str] = mapped_column(Text)
    media_urls: Mapped[list[str]] = mapped_column(JSON)
    simulated: Mapped[bool]
    callback_requested: Mapped[bool] = mapped_column(default=True)
    account_sid: Mapped[str | None] = mapped_column(String(34))
    twilio_sid: Mapped[str | None] = mapped_column(String(64))
    segments: Mapped[int | None]
    status: Mapped[str] = mapped_column(String(32), default="pending")
    status_at: Mapped[datetime] = mapped_column(UtcDateTime)
    status_source: Mapped[str | None] = mapped_column(String(16))
    error_code: Mapped[str | None] = mapped_column(String(16))
    conflicting: Mapped[bool] = mapped_column(default=False)
    price_micros: Mapped[int | None] = mapped_column(BigInteger)
    price_unit: Mapped[str | None] = mapped_column(String(3))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    accepted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    final_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    next_lookup_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    again_of_id: Mapped[int | None] = mapped_column(ForeignKey("message.id"))

    @property
    def content(self) -> Content:
        sender = self.messaging_service_sid or self.sender or ""
        return Content(self.recipient, sender, self.body, tuple(self.media_urls))

    @property
    def price(self) -> Decimal | None:
        """What Twilio charged, in `price_unit`; known only when Twilio was asked late enough."""
        if self.price_micros is None:
            return None
        return (Decimal(self.price_micros) / 1_000_000).normalize() + Decimal("0.00")

    def display_status(self, now: datetime) -> DisplayStatus:
        """The status as people read it at `now`."""
        return status.display_status(
            self.status, self.status_at, now=now, receipt_window=_receipt_window()
        )

    def display_changes_at(self, now: datetime) -> datetime | None:
        """When it will be shown as something else, should nothing more be heard of it."""
        turn = status.display_changes_at(self.status, self.status_at, _receipt_window())
        return turn if turn and turn > now else None

    @classmethod
    def create_pending(cls, owner_id: int, form_id: uuid.UUID, content: Content) -> "Message":
        """Save what is about to be sent, once for each `form_id` and within the send limits.

        Raises AlreadySentError and SendLimitError; nothing is saved then.
        """
        # One draft of an owner at a time, so that two at once can pass neither check.
        db.session.execute(select(User.id).where(User.id == owner_id).with_for_update())
        earlier = db.session.scalar(
            select(cls).where(cls.owner_id == owner_id, cls.form_id == form_id)
        )
        if earlier is not None:
            raise AlreadySentError(earlier, same=earlier.content == content)
        now = utcnow()
        _check_send_limits(owner_id, now)
        message = cls(owner_id=owner_id, form_id=form_id, created_at=now, status_at=now)
        message.next_lookup_at = first_lookup("pending", now)
        message._fill(content)
        db.session.add(message)
        db.session.flush()
        return message

    @classmethod
    def create_resend(cls, original: "Message") -> "Message":
        """Save the second try of `original`; there can be only one. Raises as `draft` does."""
        form_id = uuid.uuid5(original.public_id, "again")
        message = cls.create_pending(original.owner_id, form_id, original.content)
        message.again_of_id = original.id
        return message

    def original(self) -> "Message | None":
        """The message of which this is the second try."""
        return db.session.get(Message, self.again_of_id) if self.again_of_id else None

    def resend(self) -> "Message | None":
        """The message that was made by sending this one again."""
        return db.session.scalar(select(Message).where(Message.again_of_id == self.id))

    def _fill(self, content: Content) -> None:
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
    def select_sent_to(cls, owner_id: int, number: str) -> Select[tuple["Message"]]:
        """An owner's messages to one number (E.164), in no order."""
        backwards = number[:0:-1]
        return cls.select_owned(owner_id).where(cls.recipient_backwards == backwards)

    @classmethod
    def select_created_since(cls, owner_id: int, since: datetime) -> Select[tuple[datetime]]:
        """When an owner's messages since a moment were made, newest first."""
        made = select(cls.created_at).where(cls.owner_id == owner_id, cls.created_at > since)
        return made.order_by(cls.created_at.desc(), cls.id.desc())


def _receipt_window() -> timedelta:
    return timedelta(hours=settings().receipt_window_hours)


def _check_send_limits(owner_id: int, now: datetime) -> None:
    minute, day = settings().send_limit_per_minute, settings().send_limit_per_day
    for limit, period, span in (
        (minute, "minute", timedelta(minutes=1)),
        (day, "day", timedelta(days=1)),
    ):
        # The limit-th newest message of the span is the one that has to leave it first.
        newest = Message.select_created_since(owner_id, now - span)
        blocking = db.session.scalar(newest.offset(limit - 1).limit(1))
        if blocking is not None:
            raise SendLimitError(limit, period, blocking + span - now)
