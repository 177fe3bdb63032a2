"""What to do about a message that failed: who can act, how, and whether to send it again."""

from dataclasses import dataclass
from datetime import datetime

from smstracker.models import Message
from smstracker.sms import status
from smstracker.sms.error_guide import (
    ACTORS,
    CHARGED,
    EXPLANATIONS,
    RESENDABLE,
    ErrorExplanation,
    explain_code,
    plain_code,
)
from smstracker.sms.status import State

_SAFE = "Yes. Nothing was sent, so it is safe."
_UNEXPLAINED = "Not from here: without a reason, ask the recipient first whether it arrived."
_TRIED_TWICE = "This was a second try already; another one is not likely to help."
# Why the very same message is not to be sent once more, by the class of its error.
_REFUSALS = {
    "after a fix": "The same message would fail in the same way. {0.action}",
    "ask first": "It may have arrived, so it is not sent again from here. {0.action}",
    "no": "Sending it again does not help. {0.resend_note}",
}
# Words of ours, which have no error code.
_NEVER_ARRIVED = {"unreached": "Twilio was not reached", "untraced": "Twilio has no trace"}


@dataclass(frozen=True, slots=True)
class Advice:
    """`title` is the reason as a heading; `lines` are labels with their words."""

    title: str
    lines: tuple[tuple[str, str], ...]


def advice(message: Message, second_try: Message | None = None) -> Advice | None:
    """What the message page says of a failure; None for a message that has not failed."""
    if message.status not in (*status.NEGATIVE, *status.NOT_SENT):
        return None
    reason = _reason(message)
    title = reason.short if reason else _NEVER_ARRIVED.get(message.status, "No reason given")
    who = (("Who can act", ACTORS[reason.actor]), ("What to do", reason.action)) if reason else ()
    again = "It has been sent again." if second_try else _again(message, reason)
    return Advice(title, (*who, ("Send again?", again), ("Charged?", _charged(message, reason))))


def _reason(message: Message) -> ErrorExplanation | None:
    return None if message.status in _NEVER_ARRIVED else explain_code(message.error_code)


def _again(message: Message, reason: ErrorExplanation | None) -> str:
    if reason is None:
        return _SAFE if message.status in _NEVER_ARRIVED else _UNEXPLAINED
    if _was_tried_twice(message, reason):
        return f"No. {_TRIED_TWICE}"
    return reason.send_again


def _charged(message: Message, reason: ErrorExplanation | None) -> str:
    if message.status in status.NOT_SENT:
        return "No"
    if message.price is not None:
        return f"Yes, {message.price} {message.price_unit or ''}".strip() if message.price else "No"
    return CHARGED[reason.charged if reason else "maybe"]


def is_in_guide(code: str) -> bool:
    """Whether the error guide has a place for the code."""
    return plain_code(code) in EXPLANATIONS


def refusal_to_send_again(message: Message, now: datetime) -> str | None:
    """Why this message is not to be sent again; None if it may be."""
    state = message.display_status(now).state
    if message.status == status.DELETED:
        return "It was deleted at Twilio and may have arrived: ask the recipient first."
    if state is State.UNKNOWN:
        return "It is not known whether it was sent. It may have been, so it is not sent again."
    if state is not State.FAILED:
        return "Only a message that failed can be sent again."
    reason = _reason(message)
    if reason is None:
        return None if message.status in _NEVER_ARRIVED else _UNEXPLAINED
    if reason.resend not in RESENDABLE:
        return _REFUSALS[reason.resend].format(reason)
    return _TRIED_TWICE if _was_tried_twice(message, reason) else None


def _was_tried_twice(message: Message, reason: ErrorExplanation) -> bool:
    """Whether what is worth one more try has been met by the first try and by the second."""
    first = message.original() if reason.resend == "once" else None
    earlier = _reason(first) if first else None
    return earlier is not None and earlier.resend == "once"
