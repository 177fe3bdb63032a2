"""A status callback as it comes, read into news. Its keys vary and grow without notice."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from enum import StrEnum
from io import BytesIO
from itertools import accumulate, pairwise
from typing import Any
from urllib.parse import unquote_plus, urlencode

from werkzeug.datastructures import MultiDict
from werkzeug.formparser import FormDataParser

from smstracker.carrier import Signer
from smstracker.models.events import StatusUpdate
from smstracker.sms.status import RECEIVED, Source

_SID = re.compile(r"(?:SM|MM)[0-9a-fA-F]{32}")
_WORD = re.compile(r"[a-z_]{1,32}")
_CODE = re.compile(r"[0-9]+")
# A number that goes on with the name of a field that was glued to it.
_NUMBERS = ("ErrorCode", "RawDlrDoneDate")
_GLUED_NUMBER = re.compile(r"[0-9]+[^0-9].*", re.DOTALL)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\[\]-]{0,127}")
_STATUSES = ("MessageStatus", "SmsStatus")
# Fields that decide something: a second value of one of them, or of its older name, is a lie.
_DECISIVE = (("AccountSid",), ("MessageSid", "SmsSid"), _STATUSES, ("ErrorCode",))
# Texts may hold any words. In the signed order they stand before the SIDs.
_TEXTS = ("Body", "ChannelStatusMessage", "ErrorMessage")
# Values that hold no words: a field inside one of them was glued to it.
_STRICT_NAMES = """
AccountSid ApiVersion ChannelInstallSid ChannelPrefix ChannelToAddress ErrorCode EventType From
MessageSid MessageStatus MessagingServiceSid RawDlrDoneDate SmsSid SmsStatus To
"""
_STRICT = frozenset(_STRICT_NAMES.split())
# A field and the beginning of its value, run together as they are in the signed text.
_RUN_TOGETHER = re.compile(
    r"(?P<sid>(?:Message|Sms)Sid)(?:SM|MM)[0-9a-fA-F]{32}"
    r"|(?P<status>(?:Message|Sms)Status)[a-z]"
    r"|(?P<account>AccountSid)AC[0-9a-fA-F]{32}"
    r"|(?P<code>ErrorCode|RawDlrDoneDate)[0-9]"
    r"|(?P<version>ApiVersion)[0-9]{4}-"
    r"|(?P<service>MessagingServiceSid)MG[0-9a-fA-F]{32}"
    r"|(?P<number>From)\+[0-9]{7}"
)
# What is kept of a webhook that is no status callback: what tells which one it is.
_TELLING = (
    "AccountSid",
    "ApiVersion",
    "CallSid",
    "CallStatus",
    "ConversationSid",
    "EventType",
    "MessageSid",
    "MessageStatus",
    "MessagingServiceSid",
    "NumMedia",
    "NumSegments",
    "SmsMessageSid",
    "SmsSid",
    "SmsStatus",
)
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}|[0-9]{1,4}|[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Refusal(StrEnum):
    """Why a callback was refused. The last four were signed with a secret of ours."""

    SIGNATURE = "signature"
    NOT_A_FORM = "not-a-form"
    TOO_LARGE = "too-large"
    ADDRESS = "address"
    INBOUND = "inbound"  # a message that was sent to us
    JSON = "json"
    RECUT = "recut"  # its fields are not those that Twilio signed
    UNREADABLE = "unreadable"  # without a SID or a status


VERIFIED = frozenset({Refusal.INBOUND, Refusal.JSON, Refusal.RECUT, Refusal.UNREADABLE})


def find_misfit(form: MultiDict[str, str], target: str) -> Refusal | None:
    """Why a form that verifies is no status callback; None if it is one."""
    _, sid, word = read_ids(form)
    if word in RECEIVED or (not word and ("Body" in form or "NumMedia" in form)):
        return Refusal.INBOUND
    if is_recut(form, target):
        return Refusal.RECUT
    return None if _SID.fullmatch(sid) and _WORD.fullmatch(word) else Refusal.UNREADABLE


def is_recut(form: MultiDict[str, str], target: str) -> bool:
    """Whether a captured callback may have been divided into other fields.

    The signed text has nothing between address, names and values, so every way to divide it
    verifies. Names that no field has, a field inside a value without words, a status that the
    next name goes on with, and two values for one fact tell.

    Words in a text tell nothing, so whoever chose the text of a captured callback (Twilio sends
    none today) may divide it so that an error code or a carrier's date is missing or is one of
    his. The SID and the status stay those of the capture: the texts stand before them, so another
    SID would leave the true one in a field that is no text, which tells too.
    """
    for names in _DECISIVE:
        if len({value for name in names for value in form.getlist(name)}) > 1:
            return True
    if any(_GLUED_NUMBER.fullmatch(form.get(name, "")) for name in _NUMBERS):
        return True
    fields = sorted(set(form.items(multi=True)))  # as they are signed
    if any(not _NAME.fullmatch(name) for name, _ in fields):
        return True
    return _is_status_cut(fields) or _has_glued_field(fields, target, read_ids(form)[1])


def _is_status_cut(fields: list[tuple[str, str]]) -> bool:
    """Whether each status may have lost its end to the name that follows it."""
    names = [name for name, _ in fields]
    following = [after for name, after in pairwise([*names, ""]) if name in _STATUSES]
    return bool(following) and all(re.match("[a-z_]", name) for name in following)


def _has_glued_field(fields: list[tuple[str, str]], target: str, sid: str) -> bool:
    """Whether a field begins where none may: in the address, a name or a value without words."""
    ends = list(accumulate((len(name + value) for name, value in fields), initial=len(target)))
    text = target + "".join(name + value for name, value in fields)
    for match in _RUN_TOGETHER.finditer(text):
        index = bisect_right(ends, match.start()) - 1
        if index < 0:
            return True
        name, end_of_name = fields[index][0], ends[index] + len(fields[index][0])
        if match.start() < end_of_name:
            is_misplaced = match.end(match.lastgroup or 0) != end_of_name
        else:
            is_other = bool(match["sid"]) and not match[0].endswith(sid)
            is_misplaced = name in _STRICT or (is_other and name not in _TEXTS)
        if is_misplaced or match.end() > ends[index + 1]:
            return True
    return False


def read_callback(
    form: MultiDict[str, str],
    signer: Signer,
    idempotency_token: str | None,
    target: str = "",
    **more: Any,
) -> StatusUpdate | None:
    """The news in a verified callback, or None if it is no status callback."""
    if find_misfit(form, target):
        return None
    _, sid, word = read_ids(form)
    code = form.get("ErrorCode", "")
    return StatusUpdate(
        status=word,
        source=Source.CALLBACK,
        payload=_payload(form),
        twilio_sid=sid,
        error_code=truncate_for_column(code, 16) if _CODE.fullmatch(code) else None,
        carrier_done_at=truncate_for_column(form.get("RawDlrDoneDate"), 32),
        idempotency_token=truncate_for_column(idempotency_token, 128),
        account_sid=signer.account_sid,
        signed_with=signer.token,
        **more,
    )


def read_ids(form: MultiDict[str, str]) -> tuple[str, str, str]:
    """The account, SID and status that a form names; what it does not name is empty."""
    sid = form.get("MessageSid") or form.get("SmsSid") or ""
    word = form.get("MessageStatus") or form.get("SmsStatus") or ""
    return form.get("AccountSid", ""), sid, word


def find_ids(body: bytes) -> tuple[str, str, str]:
    """The same from the beginning of a body that nobody has verified, without parsing it."""
    account, *pairs = (
        _find_value(body, name)
        for name in (b"AccountSid", b"MessageSid", b"SmsSid", b"MessageStatus", b"SmsStatus")
    )
    return account, pairs[0] or pairs[1], pairs[2] or pairs[3]


def _find_value(body: bytes, name: bytes) -> str:
    mark = name + b"="
    start = 0 if body.startswith(mark) else body.find(b"&" + mark) + 1
    if not body.startswith(mark, start):
        return ""
    end = body.find(b"&", start)
    value = body[start + len(mark) : len(body) if end < 0 else end]
    return unquote_plus(value[:1024].decode("latin-1"))


def read_form(body: bytes) -> MultiDict[str, str]:
    """A body read as Flask reads the form of a request; empty if it is none."""
    kind = "application/x-www-form-urlencoded"
    _, form, _ = FormDataParser().parse(BytesIO(body), kind, len(body))
    return form


def redact(form: MultiDict[str, str]) -> bytes:
    """A form with every name and only those values that tell which webhook it is."""
    return urlencode(list(_redacted(form))).encode()


def _redacted(form: MultiDict[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in form.items(multi=True):
        if _NAME.fullmatch(name):
            yield name, value if name in _TELLING and _TOKEN.fullmatch(value) else ""


def _payload(form: MultiDict[str, str]) -> dict[str, Any]:
    """Every field but a text; one that is repeated keeps all its values in a list."""
    return {
        name: values[0] if len(values) == 1 else values
        for name, values in form.lists()
        if name != "Body"
    }


def truncate_for_column(value: str | None, length: int) -> str | None:
    """A value as a column of either database can hold it: no NUL, no half of a surrogate pair."""
    if not value:
        return None
    return value.encode(errors="replace").decode().replace("\0", "")[:length] or None
