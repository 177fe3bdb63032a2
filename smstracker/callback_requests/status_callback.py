"""Read a verified callback into a status update, or tell why it is none.

Its keys vary and grow without notice.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, pairwise

from werkzeug.datastructures import MultiDict

from smstracker.callback_requests.payload import FIELD_NAME, read_ids
from smstracker.carrier.signatures import Signer
from smstracker.models.events import StatusUpdate
from smstracker.sms.identifiers import ACCOUNT_SID, ERROR_CODE_LENGTH, MESSAGE_SID, SERVICE_SID
from smstracker.sms.status import RECEIVED, Source
from smstracker.sms.typed_text import truncate_for_column

_SID = re.compile(MESSAGE_SID)
_STATUS = re.compile(r"[a-z_]{1,32}")
# A number or date followed by the name of a field that was glued to it. Twilio passes the date on
# as the carrier wrote it, such as 2026-11-22 08:36:00.
_GLUED_VALUES = {
    "ErrorCode": re.compile(r"[0-9]+[^0-9].*", re.DOTALL),
    "RawDlrDoneDate": re.compile(r"[0-9][-0-9:+./TZ ]*[^-0-9:+./TZ ].*", re.DOTALL),
}
_STATUS_FIELDS = ("MessageStatus", "SmsStatus")
# The names of each deciding fact: two different values for one of them are forged.
_FACT_FIELDS = (("AccountSid",), ("MessageSid", "SmsSid"), _STATUS_FIELDS, ("ErrorCode",))
# Texts may hold any words. In the signed order they precede the SIDs.
_TEXT_FIELDS = ("Body", "ChannelStatusMessage", "ErrorMessage")
# Values without words: a field name inside one of them was glued to it.
_WORDLESS_NAMES = """
AccountSid ApiVersion ChannelInstallSid ChannelPrefix ChannelToAddress ErrorCode EventType From
MessageSid MessageStatus MessagingServiceSid RawDlrDoneDate SmsSid SmsStatus To
"""
_WORDLESS_FIELDS = frozenset(_WORDLESS_NAMES.split())
# A field name and the beginning of its value, joined as they are in the signed text.
_GLUED_FIELD = re.compile(
    rf"(?P<sid>(?:Message|Sms)Sid){MESSAGE_SID}"
    r"|(?P<status>(?:Message|Sms)Status)[a-z]"
    rf"|(?P<account>AccountSid){ACCOUNT_SID}"
    r"|(?P<code>ErrorCode|RawDlrDoneDate)[0-9]"
    r"|(?P<version>ApiVersion)[0-9]{4}-"
    rf"|(?P<service>MessagingServiceSid){SERVICE_SID}"
    r"|(?P<number>From)\+[0-9]{7}"
)
_CODE = re.compile(r"[0-9]+")


class Refusal(StrEnum):
    """Reason of a refusal; requests of the last four were signed with a secret of ours."""

    SIGNATURE = "signature"
    NOT_A_FORM = "not-a-form"
    TOO_LARGE = "too-large"
    ADDRESS = "address"
    INBOUND = "inbound"  # a message that was sent to us
    JSON = "json"
    RECUT = "recut"  # its fields are not those that Twilio signed
    UNREADABLE = "unreadable"  # without a SID or a status


VERIFIED = frozenset({Refusal.INBOUND, Refusal.JSON, Refusal.RECUT, Refusal.UNREADABLE})


def find_refusal(form: MultiDict[str, str], target: str) -> Refusal | None:
    """Tell what a form that verifies is instead of a status callback; None if it is one."""
    _, sid, status = read_ids(form)
    if status in RECEIVED or (not status and ("Body" in form or "NumMedia" in form)):
        return Refusal.INBOUND
    if is_recut(form, target):
        return Refusal.RECUT
    return None if _SID.fullmatch(sid) and _STATUS.fullmatch(status) else Refusal.UNREADABLE


def is_recut(form: MultiDict[str, str], target: str) -> bool:
    """Whether a captured callback may have been divided into other fields.

    The signed text joins address, names and values without separators, so every division of it
    verifies. It shows by an impossible field name, a field inside a value without words, a status
    that continues in the next name, or two values for one fact.

    Texts may contain anything, so whoever wrote the text of a captured callback (Twilio sends none
    today) can drop or replace its error code or carrier's date. SID and status stay those of the
    capture: texts precede them, so another SID would leave the true one in a field that is no text.
    """
    fields = sorted(set(form.items(multi=True)))  # as they are signed
    return (
        any(len({value for name, value in fields if name in names}) > 1 for names in _FACT_FIELDS)
        or any(glued.fullmatch(form.get(name, "")) for name, glued in _GLUED_VALUES.items())
        or not all(FIELD_NAME.fullmatch(name) for name, _ in fields)
        or _is_status_cut(fields)
        or _has_glued_field(fields, target, read_ids(form)[1])
    )


def _is_status_cut(fields: list[tuple[str, str]]) -> bool:
    """Whether the end of each status may have moved into the next name."""
    names = [name for name, _ in fields]
    next_names = [next_name for name, next_name in pairwise([*names, ""]) if name in _STATUS_FIELDS]
    return bool(next_names) and all(re.match("[a-z_]", name) for name in next_names)


def _has_glued_field(fields: list[tuple[str, str]], target: str, sid: str) -> bool:
    """Whether a field begins inside the address, a name or a value without words."""
    ends = list(accumulate((len(name + value) for name, value in fields), initial=len(target)))
    text = target + "".join(name + value for name, value in fields)
    for match in _GLUED_FIELD.finditer(text):
        index = bisect_right(ends, match.start()) - 1
        if index < 0:
            return True
        name, end_of_name = fields[index][0], ends[index] + len(fields[index][0])
        if match.start() < end_of_name:
            is_misplaced = match.end(match.lastgroup or 0) != end_of_name
        else:
            is_other = bool(match["sid"]) and not match[0].endswith(sid)
            is_misplaced = name in _WORDLESS_FIELDS or (is_other and name not in _TEXT_FIELDS)
        if is_misplaced or match.end() > ends[index + 1]:
            return True
    return False


@dataclass(frozen=True, slots=True)
class VerifiedCallback:
    """A form whose signature verified, its signer, and path and query as they were sent."""

    form: MultiDict[str, str]
    signer: Signer
    target: str


def read_callback(
    callback: VerifiedCallback, idempotency_token: str | None, token_mark: str | None = None
) -> StatusUpdate | None:
    """The update in a callback; None if it is no status callback."""
    form = callback.form
    if find_refusal(form, callback.target):
        return None
    _, sid, status = read_ids(form)
    code = form.get("ErrorCode", "")
    # Every field but a text; one that is repeated keeps all its values in a list.
    payload: dict[str, object] = {
        name: values[0] if len(values) == 1 else values
        for name, values in form.lists()
        if name != "Body"
    }
    return StatusUpdate(
        status=status,
        source=Source.CALLBACK,
        payload=payload,
        twilio_sid=sid,
        error_code=truncate_for_column(code, ERROR_CODE_LENGTH) if _CODE.fullmatch(code) else None,
        carrier_done_at=truncate_for_column(form.get("RawDlrDoneDate"), 32),
        idempotency_token=truncate_for_column(idempotency_token, 128),
        account_sid=callback.signer.account_sid,
        signed_with=callback.signer.token,
        token_mark=token_mark,
    )
