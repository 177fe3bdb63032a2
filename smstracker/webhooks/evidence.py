"""What is kept of a refused callback: all that can explain it, cut to fit, none of it trusted."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from flask import request
from sqlalchemy import String
from werkzeug.datastructures import MultiDict

from smstracker.models import RefusedCallback
from smstracker.security import MAX_BODY, SENT_HOST
from smstracker.webhooks.forms import claims, fitting, read_form

BODY_KEPT = 16 * 1024  # bytes
LARGEST_LENGTH = 2**31 - 1  # that a column holds
_LENGTHS = {
    column.name: column.type.length
    for column in RefusedCallback.__table__.columns
    if isinstance(column.type, String) and column.type.length
}
# The token of a retry differs from event to event, but not in why it is refused.
_NO_DIFFERENCE = ("idempotency_token", "is_plausible")


class Refusal(StrEnum):
    """Why a callback was refused."""

    SIGNATURE = "signature"
    UNREADABLE = "unreadable"  # signed, but without a SID or a status
    NOT_A_FORM = "not-a-form"
    TOO_LARGE = "too-large"
    ADDRESS = "address"


@dataclass(frozen=True)
class Evidence:
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

    @classmethod
    def of(cls, row: Any) -> "Evidence":
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


def evidence(reason: Refusal, knows: Callable[[str | None], bool]) -> Evidence:
    """The evidence of the current request; `knows` tells which accounts could be ours."""
    body, length = _body(reason)
    header = request.headers.get
    # Not the form of the request: a body that is declared as something else may still be one.
    account, sid, word = claims(read_form(body))
    return Evidence(
        reason=reason,
        is_plausible=knows(account),
        body=body,
        body_length=length,
        target=fitting(raw_target(), _LENGTHS["target"]) or "",
        **_cut(
            sent_host=request.environ.get(SENT_HOST),
            forwarded_host=header("X-Forwarded-Host"),
            forwarded_proto=header("X-Forwarded-Proto"),
            content_type=header("Content-Type"),
            signature=header("X-Twilio-Signature"),
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


def _body(reason: Refusal) -> tuple[bytes, int]:
    """The beginning of the body, and its length, as announced if it was not read."""
    if reason is Refusal.TOO_LARGE:
        return b"", min(request.content_length or MAX_BODY + 1, LARGEST_LENGTH)
    body = request.get_data()
    return body[:BODY_KEPT], len(body)


def _cut(**values: str | None) -> dict[str, str | None]:
    return {name: fitting(value, _LENGTHS[name]) for name, value in values.items()}
