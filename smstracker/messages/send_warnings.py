"""What an owner's earlier messages tell about one that is being written. Three selects at most."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, select
from sqlalchemy.sql import ColumnElement

from smstracker.extensions import db
from smstracker.models.events import StatusEvent
from smstracker.models.messages import Content, Message
from smstracker.sms import status

OPTED_OUT = "21610"
SAME_TEXT_WITHIN = timedelta(days=1)
PICTURES_COMPARED = 20  # messages of pictures without text
# What certainly never left is no first copy.
_NEVER_LEFT = (*status.NOT_SENT, "failed", "canceled")
_LET_THROUGH = (*status.POSITIVE, *status.AWAITING_RECEIPT)


@dataclass(frozen=True, slots=True)
class SendWarnings:
    """`same_text` is the last message alike: of the same text, or of the same pictures if there is
    none; `opt_out` is the event of `opted_out` that proves it.
    """

    same_text: Message | None = None
    opted_out: Message | None = None
    opt_out: StatusEvent | None = None


def find_warnings(owner_id: int, content: Content, now: datetime) -> SendWarnings:
    """What is known of sending `content`; own messages only."""
    to = Message.select_by_recipient(owner_id, content.recipient)
    message, event = _opt_out(to, content.sender)
    return SendWarnings(_same_content(to, content, now), message, event)


def _same_content(to: Select[tuple[Message]], content: Content, now: datetime) -> Message | None:
    """The last message of the same text; of pictures without text, that of the same pictures."""
    if not content.body and not content.media_urls:
        return None
    same_text = to.where(
        Message.body == content.body,
        Message.created_at > now - SAME_TEXT_WITHIN,
        Message.status.not_in(_NEVER_LEFT),
    ).order_by(Message.created_at.desc(), Message.id.desc())
    pictures = list(content.media_urls)
    # Compared here, because PostgreSQL compares no JSON.
    for message in db.session.scalars(same_text.limit(1 if content.body else PICTURES_COMPARED)):
        if content.body or message.media_urls == pictures:
            return message
    return None


def _opt_out(to: Select[tuple[Message]], sender: str) -> tuple[Message | None, StatusEvent | None]:
    by_sender = to.where(_is_from(sender))
    proof = (
        by_sender.add_columns(StatusEvent)
        .join(StatusEvent, StatusEvent.message_id == Message.id)
        .where(StatusEvent.error_code == OPTED_OUT)
        .order_by(StatusEvent.received_at.desc(), StatusEvent.id.desc())
    )
    row = db.session.execute(proof.limit(1)).first()
    if row is None:
        return None, None
    message, event = row
    # Only START lets a message that was made after that leave Twilio; no receipt may come of it.
    since = by_sender.where(
        Message.created_at > event.received_at, Message.status.in_(_LET_THROUGH)
    )
    started = db.session.scalar(select(since.exists()))
    return (None, None) if started else (message, event)


def _is_from(sender: str) -> ColumnElement[bool]:
    """STOP holds for this very number or service, and for no other."""
    if sender.startswith("MG") and len(sender) == 34:
        return Message.messaging_service_sid == sender
    return (Message.sender == sender) & Message.messaging_service_sid.is_(None)
