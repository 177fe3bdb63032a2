"""Warnings about a message to be sent, from its owner's earlier messages: five selects at most."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Select, func
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from smstracker.extensions import db
from smstracker.models.display_state import MAX_SCHEDULE_AHEAD
from smstracker.models.events import StatusEvent
from smstracker.models.messages import Content, Message
from smstracker.models.opt_outs import ACCEPTED, OPT_OUT_CODE, RememberedOptOut
from smstracker.models.tombstones import HashedKind, Tombstone, keyed_hash
from smstracker.sms import status
from smstracker.sms.messaging_service import is_messaging_service

SAME_TEXT_PERIOD = timedelta(days=1)
PICTURE_SCAN_LIMIT = 20  # messages without text whose pictures are compared
# Certainly not sent, so a second one repeats nothing.
NEVER_SENT = (*status.NOT_SENT, "failed", "canceled")


@dataclass(frozen=True, slots=True)
class SendWarnings:
    """`same_text` is the last message of the same text, or of the same pictures without text, that
    was sent lately or still waits here;
    `opt_out` is the event of the message `opted_out` that proves the opt-out, as of `opted_out_at`.
    If the messages are deleted, only `opted_out_at` and `repeats_deleted` tell.
    """

    same_text: Message | None = None
    opted_out: Message | None = None
    opt_out: StatusEvent | None = None
    opted_out_at: datetime | None = None
    repeats_deleted: bool = False


def find_warnings(
    owner_id: int, content: Content, now: datetime, edited_id: uuid.UUID | None = None
) -> SendWarnings:
    """The warnings about sending `content`, from the owner's messages only.

    `edited_id` is the public id of a waiting message whose content this is: it repeats nothing.
    """
    messages = Message.select_by_recipient(owner_id, content.recipient)
    if edited_id:
        messages = messages.where(Message.public_id != edited_id)
    message, event, opted_out_at = find_opt_out(db.session(), owner_id, content)
    same_text = _find_same_content(messages, content, now)
    repeats_deleted = same_text is None and _repeats_deleted(owner_id, content)
    return SendWarnings(same_text, message, event, opted_out_at, repeats_deleted)


def content_hash(connection: Connection, owner_id: int, content: Content) -> bytes:
    """The keyed hash of what "the same text" means; pictures count where there is no text."""
    pictures = () if content.body else content.media_urls
    parts = (owner_id, content.recipient, content.body, *pictures)
    return keyed_hash(connection, HashedKind.CONTENT, *parts)


def _repeats_deleted(owner_id: int, content: Content) -> bool:
    connection = db.session.connection()
    key_hash = content_hash(connection, owner_id, content)
    return bool(Tombstone.find(connection, [key_hash]))


def _find_same_content(
    to_recipient: Select[tuple[Message]], content: Content, now: datetime
) -> Message | None:
    """The last message of the same text, or of the same pictures without text."""
    if not content.body and not content.media_urls:
        return None
    since = now - SAME_TEXT_PERIOD
    submitted_at = func.coalesce(Message.handed_over_at, Message.created_at)
    same_text = to_recipient.where(
        Message.body == content.body,
        Message.created_at > since - MAX_SCHEDULE_AHEAD,  # for the index
        (Message.status == status.OUTBOX) | (submitted_at > since),
        Message.status.not_in(NEVER_SENT),
    ).order_by(Message.created_at.desc(), Message.id.desc())
    pictures = list(content.media_urls)
    # Compared here, because PostgreSQL compares no JSON.
    for message in db.session.scalars(same_text.limit(1 if content.body else PICTURE_SCAN_LIMIT)):
        if content.body or message.media_urls == pictures:
            return message
    return None


def find_opt_out(
    session: Session, owner_id: int, content: Content
) -> tuple[Message | None, StatusEvent | None, datetime | None]:
    """Return the message and the event that prove an opt-out, and when it was; all None for none.

    Of a message that is deleted, only the time is known.
    """
    sent_to_recipient = Message.select_by_recipient(owner_id, content.recipient)
    from_sender = sent_to_recipient.where(_sender_condition(content.sender))
    accepted = from_sender.where(Message.status.in_(ACCEPTED)).order_by(None)
    last_accepted = session.scalar(accepted.with_only_columns(func.max(Message.created_at)))
    # The first refusal since then tells best when it was.
    proof = (
        from_sender.add_columns(StatusEvent)
        .join(StatusEvent, StatusEvent.message_id == Message.id)
        .where(StatusEvent.error_code == OPT_OUT_CODE)
        .order_by(StatusEvent.received_at, StatusEvent.id)
    )
    if last_accepted is not None:
        proof = proof.where(StatusEvent.received_at >= last_accepted)
    row = session.execute(proof.limit(1)).first()
    if row:
        return row[0], row[1], row[1].received_at
    who = (owner_id, content.sender, content.recipient)
    opted_out_at = RememberedOptOut.find_time(session.connection(), *who)
    if opted_out_at and last_accepted and opted_out_at < last_accepted:
        opted_out_at = None  # sent again since, so it has ended
    return None, None, opted_out_at


def _sender_condition(sender: str) -> ColumnElement[bool]:
    """Match one number or service: STOP is valid for the sender that it was sent to."""
    if is_messaging_service(sender):
        return Message.messaging_service_sid == sender
    return (Message.sender == sender) & Message.messaging_service_sid.is_(None)
