"""Validation of create requests, in Twilio's order and with its error codes."""

import re
import secrets
from datetime import UTC, datetime

from werkzeug.datastructures import MultiDict

from smstracker.simulator.api_errors import require
from smstracker.simulator.ledger import SimulatedMessage, count_message_segments
from smstracker.sms.identifiers import E164, SENDER
from smstracker.sms.messaging_service import SERVICE_SID

from .callback_url import parse_callback_url

MAX_BODY_CHARACTERS = 1600
MAX_MEDIA_FILES = 10

_RECIPIENT = re.compile(E164)
_SENDER = re.compile(SENDER)
_MEDIA = re.compile(r"https?://[^\s/?#]+\S*")

Form = MultiDict[str, str]


def read_create_request(form: Form) -> SimulatedMessage:
    """Parse and check a create request; return its message with a new SID. Raises ApiError."""
    to = _read_field(form, "To", _RECIPIENT, missing=21604, invalid=21211)
    sender, service_sid = _read_sender(form)
    body, media = _read_content(form)
    callback_url = form.get("StatusCallback")
    now = datetime.now(UTC)
    return SimulatedMessage(
        sid=("MM" if media else "SM") + secrets.token_hex(16),
        to=to,
        sender=sender,
        service_sid=service_sid,
        body=body,
        media=media,
        callback=parse_callback_url(callback_url) if callback_url else None,
        status="accepted" if service_sid else "queued",
        segments=0 if service_sid else count_message_segments(body, sender),
        created_at=now,
        updated_at=now,
    )


def _read_field(
    form: Form, name: str, pattern: re.Pattern[str], *, missing: int, invalid: int
) -> str:
    value = form.get(name, "").strip()
    require(value, missing)
    require(pattern.fullmatch(value), invalid)
    return value


def _read_sender(form: Form) -> tuple[str | None, str | None]:
    """The sender and the SID of the Messaging Service; at least one is not None."""
    sender = sid = None
    if form.get("MessagingServiceSid"):
        sid = _read_field(form, "MessagingServiceSid", SERVICE_SID, missing=21705, invalid=21705)
    if form.get("From") or sid is None:
        sender = _read_field(form, "From", _SENDER, missing=21603, invalid=21212)
    return sender, sid


def _read_content(form: Form) -> tuple[str, tuple[str, ...]]:
    body, media = form.get("Body", ""), tuple(form.getlist("MediaUrl"))
    require(body or media or form.get("ContentSid"), 21602)
    require(len(body) <= MAX_BODY_CHARACTERS, 21617)
    require(len(media) <= MAX_MEDIA_FILES, 21623)
    require(all(map(_MEDIA.fullmatch, media)), 21620)
    return body, media
