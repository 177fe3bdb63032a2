"""A status callback as it comes, read into news. Its keys vary and grow without notice."""

import re
from typing import Any

from werkzeug.datastructures import MultiDict

from smstracker.carrier import Signer
from smstracker.models.events import News
from smstracker.status import Source

_SID = re.compile(r"[A-Za-z0-9]{1,64}")


def read_callback(
    form: MultiDict[str, str], signer: Signer, idempotency_token: str | None, **more: Any
) -> News | None:
    """The news in a verified callback, or None if it names no message or no status."""
    sid = form.get("MessageSid") or form.get("SmsSid") or ""
    word = form.get("MessageStatus") or form.get("SmsStatus") or ""
    if not _SID.fullmatch(sid) or not word:
        return None
    return News(
        status=_fitting(word, 64) or "?",
        source=Source.CALLBACK,
        payload=_payload(form),
        twilio_sid=sid,
        error_code=_fitting(form.get("ErrorCode"), 16),
        carrier_done_at=_fitting(form.get("RawDlrDoneDate"), 32),
        idempotency_token=_fitting(idempotency_token, 128),
        account_sid=signer.account_sid,
        signed_with=signer.token,
        **more,
    )


def _payload(form: MultiDict[str, str]) -> dict[str, Any]:
    """Every field; one that is repeated keeps all its values in a list."""
    return {name: values[0] if len(values) == 1 else values for name, values in form.lists()}


def _fitting(value: str | None, length: int) -> str | None:
    """A value as a column can hold it; the payload keeps it whole."""
    return value.replace("\0", "")[:length] or None if value else None
