"""The sentences of the message page: what became of it, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from smstracker import status
from smstracker.carrier import NoSlotError, TwilioIsSlowError
from smstracker.clock import in_words, waiting_time
from smstracker.models import Message, SendLimitError, StatusEvent
from smstracker.reasons import reason_for
from smstracker.sms.phone_numbers import format_international
from smstracker.status import Effect, Source, State

_NOT_SENT_BECAUSE = {
    "unreached": "Twilio was not reached",
    "untraced": "Twilio has no trace of it",
}
_TWILIO_IS_SLOW = "Twilio is answering slowly, and many messages are waiting for it."
_SERVER_IS_BUSY = "Too many pages and exports are open, so no message can be sent now."
_DELETED_THERE = (
    "Twilio no longer has this message: a person, a program or Twilio's retention period deleted "
    "it before its outcome came here. It may have arrived, so ask the recipient before you send "
    "it again. A status callback that still comes counts."
)
_SIMULATION_ENDED = "The simulated carrier forgets every message when it is started again."
_OUTCOME_LOST = "Its outcome will not be known"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline; `since` is the time since the step before."""

    label: str
    at: datetime
    source: str
    since: timedelta | None
    effect: Effect
    event: StatusEvent | None
    reason: str | None


def busy_notice(error: NoSlotError) -> str:
    """Why no message could be handed over now, and what to do."""
    reason = _TWILIO_IS_SLOW if isinstance(error, TwilioIsSlowError) else _SERVER_IS_BUSY
    return f"{reason} Nothing was sent or saved. Press Send again in a moment."


def headline(message: Message, now: datetime) -> str:
    """The outcome in one sentence."""
    to = format_international(message.recipient)
    shown = message.shown(now)
    took = in_words(message.status_at - message.created_at)
    waited = in_words(now - message.status_at)
    if message.status == status.DELETED:
        return f"The message to {to} {_gone(message)}; its outcome will not be known"
    if message.status not in status.RANK:
        return f"The message to {to} has a status that is new to us"
    if shown.state is State.UNKNOWN:
        return f"We do not know yet whether the message to {to} was sent"
    if shown.state is State.NO_RECEIPT:
        return f"Sent to {to}, but no receipt came in {waited}"
    if message.status in status.POSITIVE:
        verb = "Read by" if message.status == "read" else "Delivered to"
        if message.status_source == Source.LOOKUP:
            # When it was delivered is not known, only when Twilio was asked.
            return f"{verb} {to}, as we learned by asking {took} after you sent it"
        return f"{verb} {to}, {took} after you sent it"
    if message.status in status.NEGATIVE:
        return f"Not delivered to {to}"
    if message.status in status.NOT_SENT:
        return f"Not sent to {to}"
    if message.status == "canceled":
        return f"Cancelled before it was sent to {to}"
    if message.status in status.AWAITING_RECEIPT:
        return f"Sent to {to}, waiting for the receipt"
    return f"On its way to {to}"


def _gone(message: Message) -> str:
    return "is lost to the simulated carrier" if message.simulated else "was deleted at Twilio"


def explanation(message: Message, events: Sequence[StatusEvent], now: datetime) -> list[str]:
    """What is behind the headline and what to do, each a sentence or two."""
    said: list[str] = []
    reason = reason_for(message.error_code)
    if reason is not None:
        said.append(reason.what)
    if message.status == "unreached":
        said.append(
            "This app could not connect to Twilio, so the message certainly was not sent. "
            "It is safe to send it again."
        )
    if message.status == "untraced":
        said.append(
            "Twilio's answer was unreadable, and several searches of its list over ten minutes "
            "found no such message. It is safe to send it again."
        )
    if message.status == status.DELETED:
        said.append(_SIMULATION_ENDED if message.simulated else _DELETED_THERE)
    elif message.status in status.RANK and message.shown(now).state is State.UNKNOWN:
        said += _what_is_unknown(events)
    if message.conflicting:
        said.append(
            "The network reported both a failure and a delivery. Both are in the timeline; "
            "the delivery counts."
        )
    if not message.callback_requested and message.status not in status.NOT_SENT:
        said.append(
            "Twilio cannot reach this app from outside, so statuses will not arrive by callback. "
            "Your administrator has to set PUBLIC_BASE_URL to a public https address."
        )
    return said


def _what_is_unknown(events: Sequence[StatusEvent]) -> list[str]:
    said = [
        "Twilio gave no readable answer. The message may have been sent, so do not send it "
        "again yet."
    ]
    found, others = _listed(events, "found"), _listed(events, "others")
    if not found and not others:
        wait = "This page changes as soon as Twilio reports or the message is found in its list"
        return [*said, f"{wait}, which mostly takes less than ten minutes."]
    many = "1 message" if len(found or others) == 1 else f"{len(found or others)} messages"
    what = (
        f"{many} that could be this one"
        if found
        else f"{many} of another text to this recipient from about that time"
    )
    return [
        *said,
        f"Twilio's list has {what}: {', '.join(found or others)}. That cannot be decided from "
        "here: ask your administrator to look in the Twilio Console.",
    ]


def _listed(events: Sequence[StatusEvent], kind: str) -> list[str]:
    """The SIDs that the last search of Twilio's list could not tell from this message."""
    looks = (e for e in reversed(events) if e.source == Source.LOOKUP and e.status == "unknown")
    last = next(looks, None)
    return [str(sid) for sid in last.payload.get(kind, [])] if last else []


def timeline(message: Message, events: Sequence[StatusEvent]) -> list[Step]:
    """Every step in order of receipt, from the moment the message was saved here."""
    steps = [Step("Saved here", message.created_at, "this app", None, Effect.MOVED, None, None)]
    effects = status.effects((event.status, event.error_code) for event in events)
    for event, effect in zip(events, effects, strict=True):
        steps.append(
            Step(
                _label(event),
                event.received_at,
                _source_of_event(message, event),
                event.received_at - steps[-1].at,
                _effect(event, effect),
                event,
                _short(event.error_code),
            )
        )
    return steps


def _label(event: StatusEvent) -> str:
    if event.source == Source.LOOKUP and event.status == "unknown":
        return "Perhaps found" if event.payload.get("found") else "Not found"
    return status.label(event.status)


def _effect(event: StatusEvent, effect: Effect) -> Effect:
    """An answer that says nothing new was asked for; it is no repetition of Twilio's."""
    if event.source != Source.LOOKUP or effect is not Effect.REPEATED:
        return effect
    return Effect.MOVED if event.payload.get("found") else Effect.NOTHING_NEW


def source_words(message: Message, word: str, source: str | None) -> str:
    """How the status `word` is known."""
    words = status.SOURCE_WORDS[Source(source)] if source else "saved by this app"
    if source == Source.LOOKUP and word in ("unknown", "untraced"):
        words = "searched Twilio's list"
    elif word in ("unknown", "unreached"):
        words = "the send request, which got no readable answer"
    return words.replace("Twilio", "the simulated carrier") if message.simulated else words


def _source_of_event(message: Message, event: StatusEvent) -> str:
    words = source_words(message, event.status, event.source)
    return f"{words}, refused at first, accepted later" if event.replayed_at else words


def short_reason(message: Message) -> str | None:
    """The reason beside a status in the log."""
    if message.status in _NOT_SENT_BECAUSE:
        return _NOT_SENT_BECAUSE[message.status]
    if message.status == status.DELETED:
        return _OUTCOME_LOST
    failed = message.status in (*status.NEGATIVE, *status.NOT_SENT)
    return _short(message.error_code) if failed else None


def _short(code: str | None) -> str | None:
    reason = reason_for(code)
    return reason.short if reason else None


def pictures_alone(message: Message) -> str | None:
    """What stands for the text of a message that has none."""
    if message.body:
        return None
    count = len(message.media_urls)
    return "1 picture without text" if count == 1 else f"{count} pictures without text"


def limit_notice(error: SendLimitError) -> str:
    return (
        f"You have sent {error.limit:,} messages in a {error.period}, which is the limit. "
        f"Nothing was sent; try again in {waiting_time(error.wait)}."
    )
