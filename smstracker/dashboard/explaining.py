"""What to do about a message that failed: who can act, how, and whether to send it again."""

from dataclasses import dataclass
from datetime import datetime

from smstracker import status
from smstracker.models import Message
from smstracker.reasons import AGAIN, CHARGED, WHO, WORTH_ANOTHER_TRY, reason_for
from smstracker.status import State

_SAFE = "Yes. Nothing was sent, so it is safe."
_UNEXPLAINED = "Not from here: without a reason, ask the recipient first whether it arrived."


@dataclass(frozen=True, slots=True)
class Advice:
    """`title` is the reason as a heading; `lines` are labels with their words."""

    title: str
    lines: tuple[tuple[str, str], ...]


def advice(message: Message) -> Advice | None:
    """What the message page says of a failure; None for a message that has not failed."""
    reason = reason_for(message.error_code)
    if message.status in ("unreached", "untraced"):
        title = "Twilio was not reached" if message.status == "unreached" else "Twilio has no trace"
        return Advice(title, (("Send again?", _SAFE), ("Charged?", "No")))
    if message.status not in (*status.NEGATIVE, *status.NOT_SENT):
        return None
    if reason is None:
        return Advice("No reason given", (("Send again?", _UNEXPLAINED), ("Charged?", "Perhaps")))
    lines = (
        ("Who can act", WHO[reason.who]),
        ("What to do", reason.todo),
        ("Send again?", f"{AGAIN[reason.again]}. {reason.when}"),
        ("Charged?", "No" if message.status == "refused" else CHARGED[reason.charged]),
    )
    return Advice(reason.short, lines)


def refusal_to_send_again(message: Message, now: datetime) -> str | None:
    """Why this message is not to be sent again; None if it may be."""
    state = message.shown(now).state
    if state is State.UNKNOWN:
        return "It is not known whether it was sent. It may have been, so it is not sent again."
    if state is not State.FAILED:
        return "Only a message that failed can be sent again."
    if message.status in ("unreached", "untraced"):
        return None
    reason = reason_for(message.error_code)
    if reason is None:
        return _UNEXPLAINED
    if reason.again in WORTH_ANOTHER_TRY:
        return None
    return f"Sending this message again does not help: {reason.when[0].lower()}{reason.when[1:]}"
