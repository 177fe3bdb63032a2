"""Read a refused request: all that can explain it, cut to fit the columns, nothing trusted."""

import hashlib
from dataclasses import asdict, dataclass, fields
from functools import cached_property

from flask import g, request
from sqlalchemy import Row, String
from werkzeug.datastructures import MultiDict

from smstracker.callback_requests.body import MAX_KEPT_BYTES, Body
from smstracker.callback_requests.payload import (
    find_ids,
    read_form,
    read_ids,
    redact,
)
from smstracker.callback_requests.status_callback import VERIFIED, Refusal, VerifiedCallback
from smstracker.carrier import current_carrier
from smstracker.carrier.signatures import SIGNATURE, SIGNATURE_SETTINGS
from smstracker.models import RefusedCallback
from smstracker.sms.typed_text import truncate_for_column
from smstracker.web.request_framing import MAX_CALLBACK_BYTES
from smstracker.web.security import SENT_HOST
from smstracker.web.urls import raw_target

StoredRefusal = RefusedCallback | Row[tuple[object, ...]]  # or a row of its columns
MAX_STORED_LENGTH = 2**31 - 1  # that a column holds
_MAX_LENGTHS = {
    column.name: column.type.length
    for column in RefusedCallback.__table__.columns
    if isinstance(column.type, String) and column.type.length
}
MAX_TARGET_LENGTH = _MAX_LENGTHS["target"]
# The idempotency token differs from event to event, the reason of the refusal does not.
_NOT_IN_FINGERPRINT = ("idempotency_token", "is_plausible")


@dataclass(frozen=True)
class RefusedRequest:
    """A refused request; each field fits its column of `RefusedCallback`."""

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
    def from_row(cls, row: StoredRefusal) -> "RefusedRequest":
        """Read a row of `RefusedCallback`."""
        values = {field.name: getattr(row, field.name) for field in fields(cls)}
        return cls(**values | {"reason": Refusal(row.reason)})

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the request; equal for its repeats."""
        values = [value for name, value in self.row().items() if name not in _NOT_IN_FINGERPRINT]
        return hashlib.sha256(repr(values).encode()).hexdigest()

    @cached_property
    def form(self) -> MultiDict[str, str]:
        return read_form(self.body)

    @property
    def is_whole(self) -> bool:
        """Whether everything that a signature covers was kept."""
        return self.body_length == len(self.body) and len(self.target) < MAX_TARGET_LENGTH

    def row(self) -> dict[str, object]:
        return asdict(self)


def read_refused_request(reason: Refusal) -> RefusedRequest:
    """Read the current request."""
    body: Body = g.get("callback_body", Body())
    header = request.headers.get
    # Not request.form: a body that is declared as something else may still be a form.
    account, sid, status = find_ids(body.content[:MAX_KEPT_BYTES])
    return RefusedRequest(
        reason=reason,
        is_plausible=reason in VERIFIED or current_carrier().signatures.has_token_for(account),
        body=_kept_body(reason, body),
        body_length=_body_length(reason, body),
        target=truncate_for_column(raw_target(), MAX_TARGET_LENGTH) or "",
        **_truncate(
            sent_host=request.environ.get(SENT_HOST),
            forwarded_host=header("X-Forwarded-Host"),
            forwarded_proto=header("X-Forwarded-Proto"),
            content_type=header("Content-Type"),
            signature=header(SIGNATURE),
            signature_settings=header(SIGNATURE_SETTINGS),
            idempotency_token=header("I-Twilio-Idempotency-Token"),
            account_sid=account,
            twilio_sid=sid,
            status=status,
        ),
    )


def request_facts(refusal: RefusedCallback) -> dict[str, str | None]:
    """Headers and address of a request by their label on page and in command."""
    return {
        "Path and query": refusal.target,
        "Host": refusal.sent_host,
        "X-Forwarded-Host": refusal.forwarded_host,
        "X-Forwarded-Proto": refusal.forwarded_proto,
        "Content-Type": refusal.content_type,
        "Signature": refusal.signature,
        "Signature settings": refusal.signature_settings,
    }


def _kept_body(reason: Refusal, body: Body) -> bytes:
    """The beginning of the body; of an incoming message neither text nor phone numbers."""
    if reason in (Refusal.TOO_LARGE, Refusal.JSON):
        return b""
    callback: VerifiedCallback | None = g.get("verified_callback")
    form = callback.form if callback else MultiDict[str, str]()
    _, sid, status = read_ids(form)
    # With both it may be a status callback that a later version understands.
    if reason is Refusal.INBOUND or (reason is Refusal.UNREADABLE and not (sid and status)):
        return redact(form)[:MAX_KEPT_BYTES]
    return body.content[:MAX_KEPT_BYTES]


def _body_length(reason: Refusal, body: Body) -> int:
    """The announced length, if the body was too long to be read."""
    length = body.announced_length
    if reason is Refusal.TOO_LARGE:
        length = request.content_length or MAX_CALLBACK_BYTES + 1
    return min(length, MAX_STORED_LENGTH)


def _truncate(**values: str | None) -> dict[str, str | None]:
    return {name: truncate_for_column(value, _MAX_LENGTHS[name]) for name, value in values.items()}
