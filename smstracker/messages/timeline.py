"""The timeline of a message: its status events in order of receipt, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from smstracker.messages.describe import short_code_reason, source_phrase
from smstracker.models import Message, StatusEvent
from smstracker.sms import status
from smstracker.sms.status import Effect, Source


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """One line of the timeline; `since` is the time since the previous one."""

    label: str
    at: datetime
    source: str
    since: timedelta | None
    effect: Effect
    event: StatusEvent | None
    reason: str | None


def build_timeline(message: Message, events: Sequence[StatusEvent]) -> list[TimelineStep]:
    """The steps in order of receipt, beginning when the message was saved here."""
    steps = [
        TimelineStep("Saved here", message.created_at, "this app", None, Effect.MOVED, None, None)
    ]
    effects = status.effects((event.status, event.error_code) for event in events)
    for event, effect in zip(events, effects, strict=True):
        step = TimelineStep(
            _label(event),
            event.received_at,
            _event_source(message, event),
            event.received_at - steps[-1].at,
            _effect(event, effect),
            event,
            short_code_reason(event.error_code),
        )
        steps.append(step)
    return steps


def _label(event: StatusEvent) -> str:
    if event.source == Source.LOOKUP and event.status == "unknown":
        return "Perhaps found" if event.payload.get("found") else "Not found"
    return status.label(event.status)


def _effect(event: StatusEvent, effect: Effect) -> Effect:
    """A look-up that answers the same status is nothing new rather than a repeated report."""
    if event.source != Source.LOOKUP or effect is not Effect.REPEATED:
        return effect
    return Effect.MOVED if event.payload.get("found") else Effect.NOTHING_NEW


def _event_source(message: Message, event: StatusEvent) -> str:
    phrase = source_phrase(message, event.status, event.source)
    return f"{phrase}, refused at first, accepted later" if event.replayed_at else phrase
