"""What is kept of a refused callback: all that can explain it, cut to fit, none of it trusted."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from flask import g, request
from sqlalchemy import String
from werkzeug.datastructures import MultiDict

from smstracker.carrier.signatures import SIGNATURE, SIGNATURE_SETTINGS
from smstracker.models import RefusedCallback
from smstracker.refused.payload import (
    VERIFIED,
    Refusal,
    find_ids,
    read_form,
    read_ids,
    redact,
    truncate_for_column,
)
from smstracker.web.security import SENT_HOST
from smstracker.webhooks.body import BODY_KEPT, MAX_CALLBACK, Body

__all__ = ["Refusal", "RefusedRequest", "raw_target", "read_refused_request"]

LARGEST_LENGTH = 2**31 - 1  # that a column holds
_LENGTHS = {
    column.name: column.type.length
    for column in RefusedCallback.__table__.columns
    if isinstance(column.type, String) and column.type.length
}
# The token of a retry differs from event to event, but not in why it is refused.
_NO_DIFFERENCE = ("idempotency_token", "is_plausible")


@dataclass(frozen=True)
class RefusedRequest:
    """A refused request; every field fits its column of `RefusedCallback`."""

    reason: Refusal
    is_plausible: bool
    target: str
    sent_host: str | None
    forwarded_host: str | None
    forwarded_proto: str | None
    content_type: str | None
    signature: str | None
    idempotency_token: str | None
    body: bytes
    body_length: int
    account_sid: str | None
    twilio_sid: str | None
    status: str | None
    signature_settings: str | None = None

    @classmethod
    def of(cls, row: Any) -> "RefusedRequest":
        """What a row of the quarantine holds."""
        held = {field.name: getattr(row, field.name) for field in fields(cls)}
        return cls(**held | {"reason": Refusal(row.reason)})

    @cached_property
    def fingerprint(self) -> str:
        """The same for what is the very same request."""
        different = [value for name, value in self.row().items() if name not in _NO_DIFFERENCE]
        return hashlib.sha256(repr(different).encode()).hexdigest()

    @cached_property
    def form(self) -> MultiDict[str, str]:
        return read_form(self.body)

    @property
    def is_whole(self) -> bool:
        """Whether nothing that a signature covers was cut off."""
        return self.body_length == len(self.body) and len(self.target) < _LENGTHS["target"]

    def row(self) -> dict[str, Any]:
        return asdict(self)


def read_refused_request(reason: Refusal, knows: Callable[[str | None], bool]) -> RefusedRequest:
    """The evidence of the current request; `knows` tells which accounts could be ours."""
    body: Body = g.get("callback_body", Body())
    header = request.headers.get
    # Not the form of the request: a body that is declared as something else may still be one.
    account, sid, word = find_ids(body.content[:BODY_KEPT])
    return RefusedRequest(
        reason=reason,
        is_plausible=reason in VERIFIED or knows(account),
        body=_kept_body(reason, body),
        body_length=_length(reason, body),
        target=truncate_for_column(raw_target(), _LENGTHS["target"]) or "",
        **_cut(
            sent_host=request.environ.get(SENT_HOST),
            forwarded_host=header("X-Forwarded-Host"),
            forwarded_proto=header("X-Forwarded-Proto"),
            content_type=header("Content-Type"),
            signature=header(SIGNATURE),
            signature_settings=header(SIGNATURE_SETTINGS),
            idempotency_token=header("I-Twilio-Idempotency-Token"),
            account_sid=account,
            twilio_sid=sid,
            status=word,
        ),
    )


def raw_target() -> str:
    """Path and query of the current request as they were sent: `request.url` is decoded."""
    raw = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI", "")
    if not raw.startswith("/"):  # a proxy may ask for the whole address
        parts = urlsplit(raw)
        raw = f"{parts.path}?{parts.query}"
    path, _, query = raw.partition("#")[0].partition("?")
    return f"{path}?{query}" if query else path


def _kept_body(reason: Refusal, body: Body) -> bytes:
    """The beginning of a body; of a message that was sent to us, neither text nor number."""
    if reason in (Refusal.TOO_LARGE, Refusal.JSON):
        return b""
    form: MultiDict[str, str] = g.get("callback_form", MultiDict())
    _, sid, word = read_ids(form)
    # What names both may be a status callback of a kind that a later version understands.
    if reason is Refusal.INBOUND or (reason is Refusal.UNREADABLE and not (sid and word)):
        return redact(form)[:BODY_KEPT]
    return body.content[:BODY_KEPT]


def _length(reason: Refusal, body: Body) -> int:
    """As announced, if the body was too long to be read."""
    length = body.length
    if reason is Refusal.TOO_LARGE:
        length = request.content_length or MAX_CALLBACK + 1
    return min(length, LARGEST_LENGTH)


def _cut(**values: str | None) -> dict[str, str | None]:
    return {name: truncate_for_column(value, _LENGTHS[name]) for name, value in values.items()}
