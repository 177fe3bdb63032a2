"""Advice on a failed message: who can act, what to do, and whether to send it again."""

from dataclasses import dataclass
from datetime import datetime

from smstracker.messages.describe import NOT_SENT_REASONS
from smstracker.models import Message
from smstracker.sms import error_guide, status
from smstracker.sms.error_guide import ErrorExplanation, explain_code
from smstracker.sms.status import State

_SAFE_TO_RESEND = "Yes. Nothing was sent, so it is safe."
_UNEXPLAINED = "Not from here. No reason was given, so ask the recipient whether it arrived."
_ALREADY_RESENT = "This was the second try. A third is not likely to help."
# Why a message is not sent again, by the class of its error.
_REFUSALS = {
    "after a fix": "The same message would fail again. {0.action}",
    "ask first": "It may have arrived, so it is not sent again from here. {0.action}",
    "no": "{0.send_again}",
}


@dataclass(frozen=True, slots=True)
class Advice:
    """`title` is the reason; who can act, and how, is None without one."""

    title: str
    who_can_act: str | None
    what_to_do: str | None
    send_again: str
    charged: str

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Pairs of a label and a text."""
        lines = [
            ("Who can act", self.who_can_act),
            ("What to do", self.what_to_do),
            ("Send again?", self.send_again),
            ("Charged?", self.charged),
        ]
        return [(label, text) for label, text in lines if text is not None]


def find_advice(message: Message, resend: Message | None) -> Advice | None:
    """The advice on a failed message, and on its `resend` if it has one; None for any other."""
    if message.status not in (*status.NEGATIVE, *status.NOT_SENT):
        return None
    reason = _explain(message)
    title = reason.short if reason else NOT_SENT_REASONS.get(message.status, "No reason given")
    return Advice(
        title,
        who_can_act=error_guide.ACTORS[reason.actor] if reason else None,
        what_to_do=reason.action if reason else None,
        send_again="It has been sent again." if resend else _describe_resend(message, reason),
        charged=_describe_charge(message, reason),
    )


def _explain(message: Message) -> ErrorExplanation | None:
    return None if message.status in NOT_SENT_REASONS else explain_code(message.error_code)


def _describe_resend(message: Message, reason: ErrorExplanation | None) -> str:
    if reason is None:
        return _SAFE_TO_RESEND if message.status in NOT_SENT_REASONS else _UNEXPLAINED
    if _failed_twice(message, reason):
        return f"No. {_ALREADY_RESENT}"
    return reason.send_again


def _describe_charge(message: Message, reason: ErrorExplanation | None) -> str:
    if message.status in status.NOT_SENT:
        return "No"
    if message.simulated:
        return "No: simulated"
    if message.price is not None:
        return f"Yes, {message.price} {message.price_unit or ''}".strip() if message.price else "No"
    return error_guide.CHARGED[reason.charged if reason else "maybe"]


def is_in_guide(code: str) -> bool:
    """Whether the error guide has a place for the code."""
    return error_guide.plain_code(code) in error_guide.explanations()


def resend_refusal(message: Message, now: datetime) -> str | None:
    """Why a message must not be sent again; None if it may be."""
    state = message.display_status(now).state
    if message.content_deleted_at:
        return "Its text is deleted. Write it anew to send it again."
    if message.status == status.DELETED:
        return "It was deleted at Twilio and may have arrived. Ask the recipient first."
    if state is State.UNKNOWN:
        return "It may have been sent, so it is not sent again."
    if state is not State.FAILED:
        return "Only a failed message can be sent again."
    reason = _explain(message)
    if reason is None:
        return None if message.status in NOT_SENT_REASONS else _UNEXPLAINED
    if message.status == "refused" and message.error_code in status.CREDENTIALS_CODES:
        return None  # never sent; nobody can tell from here whether the fix has been made
    if reason.resend not in error_guide.RESENDABLE:
        return _REFUSALS[reason.resend].format(reason)
    return _ALREADY_RESENT if _failed_twice(message, reason) else None


def may_reuse_text(message: Message, now: datetime) -> bool:
    """Whether a message was cancelled, or arrived nowhere and only a changed one may succeed."""
    if message.content_deleted_at:
        return False
    reason, state = _explain(message), message.display_status(now).state
    if state is State.CANCELLED:
        return True
    return state is State.FAILED and reason is not None and reason.resend in ("after a fix", "no")


def _failed_twice(message: Message, reason: ErrorExplanation) -> bool:
    """Whether both the message and its original failed with an error worth only one retry."""
    original = message.original() if reason.resend == "once" else None
    original_reason = _explain(original) if original else None
    return original_reason is not None and original_reason.resend == "once"
