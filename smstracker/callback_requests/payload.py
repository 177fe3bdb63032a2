"""Read the body of a callback: its form, its ids, and what may be kept of it."""

import re
import uuid
from io import BytesIO
from itertools import islice
from urllib.parse import unquote_plus, unquote_to_bytes, urlencode

from werkzeug.datastructures import MultiDict
from werkzeug.formparser import FormDataParser

from smstracker.sms import identifiers

FORM_TYPE = "application/x-www-form-urlencoded"
FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\[\]-]{0,127}")
# Fields that tell which webhook it is: their values are kept although it is no status callback.
_KEPT_FIELDS = (
    *("AccountSid", "ApiVersion", "CallSid", "CallStatus", "ConversationSid", "EventType"),
    *("MessageSid", "MessageStatus", "MessagingServiceSid", "NumMedia", "NumSegments"),
    *("SmsMessageSid", "SmsSid", "SmsStatus"),
)
# Each costs the parser an exception, as does each escape that is no UTF-8. Twilio sends neither.
MAX_STRAY_PERCENT_SIGNS = 20
_STRAY_PERCENT_SIGN = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ACCOUNT_SID = re.compile(identifiers.ACCOUNT_SID.encode())
_KEPT_VALUE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}|[0-9]{1,4}|[0-9]{4}-[0-9]{2}-[0-9]{2}")


def read_ids(form: MultiDict[str, str]) -> tuple[str, str, str]:
    """Account, SID and status of a form; empty where it names none."""
    sid = form.get("MessageSid") or form.get("SmsSid") or ""
    status = form.get("MessageStatus") or form.get("SmsStatus") or ""
    return form.get("AccountSid", ""), sid, status


def parse_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def find_ids(body: bytes) -> tuple[str, str, str]:
    """Find the ids in the beginning of an unverified body, without parsing it."""
    account, *values = (
        _find_value(body, name)
        for name in (b"AccountSid", b"MessageSid", b"SmsSid", b"MessageStatus", b"SmsStatus")
    )
    return account, values[0] or values[1], values[2] or values[3]


def find_account(body: bytes) -> str:
    """Return the first account SID in an unverified body of any kind; empty if there is none."""
    account_sid = _ACCOUNT_SID.search(body)
    return account_sid[0].decode() if account_sid else ""


def _find_value(body: bytes, name: bytes) -> str:
    prefix = name + b"="
    start = 0 if body.startswith(prefix) else body.find(b"&" + prefix) + 1
    if not body.startswith(prefix, start):
        return ""
    end = body.find(b"&", start)
    value = body[start + len(prefix) : len(body) if end < 0 else end]
    return unquote_plus(value[:1024].decode("latin-1"))


def read_form(body: bytes) -> MultiDict[str, str]:
    """Parse a body as Flask parses the form of a request; empty if it is none."""
    if any(islice(_STRAY_PERCENT_SIGN.finditer(body), MAX_STRAY_PERCENT_SIGNS, None)):
        return MultiDict()
    try:
        unquote_to_bytes(body).decode()
    except UnicodeDecodeError:
        return MultiDict()
    _, form, _ = FormDataParser().parse(BytesIO(body), FORM_TYPE, len(body))
    return form


def redact(form: MultiDict[str, str]) -> bytes:
    """Encode a form with every name, but only those values that tell which webhook it is."""
    fields = [
        (name, value if name in _KEPT_FIELDS and _KEPT_VALUE.fullmatch(value) else "")
        for name, value in form.items(multi=True)
        if FIELD_NAME.fullmatch(name)
    ]
    return urlencode(fields).encode()
