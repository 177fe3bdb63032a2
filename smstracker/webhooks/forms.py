"""A status callback as it comes, read into news. Its keys vary and grow without notice."""

import re
from io import BytesIO
from typing import Any

from werkzeug.datastructures import MultiDict
from werkzeug.formparser import FormDataParser

from smstracker.carrier import Signer
from smstracker.models.events import News
from smstracker.status import Source

_SID = re.compile(r"[A-Za-z0-9]{1,64}")


def read_callback(
    form: MultiDict[str, str], signer: Signer, idempotency_token: str | None, **more: Any
) -> News | None:
    """The news in a verified callback, or None if it names no message or no status."""
    _, sid, word = claims(form)
    if not _SID.fullmatch(sid) or not word:
        return None
    return News(
        status=fitting(word, 64) or "?",
        source=Source.CALLBACK,
        payload=_payload(form),
        twilio_sid=sid,
        error_code=fitting(form.get("ErrorCode"), 16),
        carrier_done_at=fitting(form.get("RawDlrDoneDate"), 32),
        idempotency_token=fitting(idempotency_token, 128),
        account_sid=signer.account_sid,
        signed_with=signer.token,
        **more,
    )


def claims(form: MultiDict[str, str]) -> tuple[str, str, str]:
    """The account, SID and status that a form names; what it does not name is empty."""
    sid = form.get("MessageSid") or form.get("SmsSid") or ""
    word = form.get("MessageStatus") or form.get("SmsStatus") or ""
    return form.get("AccountSid", ""), sid, word


def read_form(body: bytes) -> MultiDict[str, str]:
    """A body read as Flask reads the form of a request; empty if it is none."""
    kind = "application/x-www-form-urlencoded"
    _, form, _ = FormDataParser().parse(BytesIO(body), kind, len(body))
    return form


def _payload(form: MultiDict[str, str]) -> dict[str, Any]:
    """Every field; one that is repeated keeps all its values in a list."""
    return {name: values[0] if len(values) == 1 else values for name, values in form.lists()}


def fitting(value: str | None, length: int) -> str | None:
    """A value as a column of either database can hold it: no NUL, no half of a surrogate pair."""
    if not value:
        return None
    return value.encode(errors="replace").decode().replace("\0", "")[:length] or None
