"""What a message in the outbox waits for, in words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from smstracker.extensions import db
from smstracker.models import Message, SenderPace
from smstracker.sms import status

_REASONS = dict.fromkeys(status.SLOW_DOWN_CODES, "Twilio asks to slow down")
_REASONS |= dict.fromkeys(
    status.CREDENTIALS_CODES,
    "Twilio does not accept the credentials, which an administrator has to correct",
)
_REASONS |= {"unreached": "Twilio cannot be reached"}


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing of a sender is handed to Twilio, and until when."""

    reason: str
    until: datetime


def find_pauses(now: datetime) -> Mapping[str, Pause]:
    """The senders that pause now; a sender is a number or a Messaging Service SID."""
    columns = (SenderPace.sender, SenderPace.pause_code, SenderPace.paused_until)
    rows = db.session.execute(select(*columns).where(SenderPace.is_paused(now)))
    return {
        row.sender: Pause(_REASONS.get(row.pause_code, "Sending pauses"), row.paused_until)
        for row in rows
    }


def find_message_pauses(messages: Iterable[Message], now: datetime) -> Mapping[str, Pause]:
    """The senders that pause now; not looked for if none of the messages waits."""
    waits = any(message.status == status.OUTBOX for message in messages)
    return find_pauses(now) if waits else {}


def find_pause(message: Message, pauses: Mapping[str, Pause], now: datetime) -> Pause | None:
    """The pause that keeps a message waiting."""
    if message.status != status.OUTBOX or message.is_held or message.is_scheduled(now):
        return None
    return pauses.get(message.content.sender)
