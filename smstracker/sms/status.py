"""Status words of a message: their rank, their display, and how they are counted. Pure.

The SQL that changes a status (`models.status_transitions`) and the timeline derive from `RANK`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache

# A status changes only to a higher rank. The words are Twilio's, except these of ours:
# outbox (saved, waiting its turn), pending (being submitted), unknown (the create call gave no
# readable answer), refused (by Twilio's API), unreached (the call certainly never arrived),
# untraced (unknown, and never in Twilio's list). A callback proves that Twilio took the message, so
# it outranks these. deleted (a look-up found that Twilio has deleted the message) is final, but the
# outcome of a late callback outranks it.
RANK = {
    "outbox": 0,
    "pending": 1,
    "unknown": 2,
    "refused": 3,
    "unreached": 3,
    "untraced": 3,
    "scheduled": 4,
    "accepted": 5,
    "queued": 6,
    "sending": 7,
    "sent": 8,
    "partially_delivered": 9,
    "deleted": 10,
    "canceled": 11,
    "failed": 11,
    "undelivered": 11,
    "delivered": 12,
    "read": 13,
}
# Twilio has never heard of it, so it is not asked about, however long the message waits.
OUTBOX = "outbox"
PENDING = "pending"  # handed over, without an answer so far
OUTCOME_OPEN = (PENDING, "unknown")
NOT_SENT = ("refused", "unreached", "untraced")
NOT_ACCEPTED = (OUTBOX, *OUTCOME_OPEN, *NOT_SENT)
# Error codes of a refused send: one of Twilio's, or the status of an answer without one.
CREDENTIALS_CODES = ("20003", "HTTP 401")
# Twilio refused the message for now: too many requests, or too many messages of this sender.
# "HTTP 429" is of an answer without a code.
QUEUE_OVERFLOW_CODE = "30001"  # also of a failure that a callback reports
SLOW_DOWN_CODES = ("20429", "21611", QUEUE_OVERFLOW_CODE, "HTTP 429")
NEGATIVE = ("failed", "undelivered")
POSITIVE = ("delivered", "read")
DELETED = "deleted"
FINAL = (*NOT_SENT, *NEGATIVE, *POSITIVE, "canceled", DELETED)
# No callback is due for these, so a look-up that finds one does not mean a missed callback.
NOT_CALLED_BACK = (*NOT_SENT, DELETED)
# Twilio's words for incoming messages.
RECEIVED = ("receiving", "received")
AWAITING_RECEIPT = ("sent", "partially_delivered")

# A process that dies between saving a message and storing Twilio's answer leaves "pending".
PENDING_IS_UNKNOWN_AFTER = timedelta(minutes=2)


class Source(StrEnum):
    """Where a status was learned."""

    SEND = "send"
    CALLBACK = "callback"
    LOOKUP = "lookup"
    APP = "app"  # decided here, before Twilio heard of the message


# In short, and in full.
SOURCE_NAMES = {
    Source.SEND: "send answer",
    Source.CALLBACK: "callback",
    Source.LOOKUP: "look-up",
    Source.APP: "this app",
}
SOURCE_WORDS = {
    Source.SEND: "send answer from Twilio",
    Source.CALLBACK: "callback from Twilio",
    Source.LOOKUP: "look-up at Twilio",
    Source.APP: "this app",
}


class State(StrEnum):
    """The six totals; every message counts in exactly one."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"
    NO_RECEIPT = "no-receipt"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


STATE_WORDS = {
    State.WAITING: "Waiting",
    State.DELIVERED: "Delivered",
    State.FAILED: "Failed",
    State.NO_RECEIPT: "No receipt",
    State.UNKNOWN: "Unknown",
    State.CANCELLED: "Cancelled",
}

_STATE = dict.fromkeys(RANK, State.WAITING)
_STATE |= dict.fromkeys((*NOT_SENT, *NEGATIVE), State.FAILED)
_STATE |= dict.fromkeys(POSITIVE, State.DELIVERED)
# Not "no receipt", which says that it was sent: a deleted message may have failed.
_STATE |= {"unknown": State.UNKNOWN, DELETED: State.UNKNOWN, "canceled": State.CANCELLED}

# Label and tone by status word.
_DISPLAY = dict.fromkeys(RANK, ("Waiting", "neutral"))
_DISPLAY |= dict.fromkeys(AWAITING_RECEIPT, ("Sent, awaiting receipt", "blue"))
_DISPLAY |= dict.fromkeys(NEGATIVE, ("Not delivered", "red"))
_DISPLAY |= dict.fromkeys(NOT_SENT, ("Not sent", "red-outline"))
_DISPLAY |= {
    OUTBOX: ("Queued here", "neutral"),
    "scheduled": ("Scheduled", "neutral"),
    "delivered": ("Delivered", "green"),
    "read": ("Read", "green"),
    "canceled": ("Cancelled", "grey"),
    DELETED: ("Deleted at Twilio", "grey-blue"),
    "unknown": ("Outcome unknown, checking", "amber"),
}
# What silence alone makes of a status.
STATE_OF_SILENT = {PENDING: State.UNKNOWN} | dict.fromkeys(AWAITING_RECEIPT, State.NO_RECEIPT)


@dataclass(frozen=True, slots=True)
class DisplayStatus:
    """A status as shown: `label` says it, `tone` names its colour, `state` its total.

    `moment` is the time that a message is scheduled for.
    """

    label: str
    tone: str
    state: State
    moment: datetime | None = None


_SILENT_DISPLAY = {
    State.UNKNOWN: DisplayStatus(*_DISPLAY["unknown"], State.UNKNOWN),
    State.NO_RECEIPT: DisplayStatus("Sent, no receipt", "grey-blue", State.NO_RECEIPT),
}


@cache
def lower_ranked(word: str) -> tuple[str, ...]:
    """Return the words from which a status may change to `word`; none for an unknown word."""
    rank = RANK.get(word, -1)
    return tuple(other for other, other_rank in RANK.items() if other_rank < rank)


def same_outcome(word: str) -> tuple[str, ...]:
    """Return the words that mean the same outcome: such an event only fills in missing facts."""
    if word not in RANK:
        return ()
    return NEGATIVE if word in NEGATIVE else (word,)


@cache
def contradicting(word: str) -> tuple[str, ...]:
    """Return the words for the opposite outcome: delivered against not delivered."""
    if word in POSITIVE:
        return NEGATIVE
    return POSITIVE if word in NEGATIVE else ()


def counted_statuses(state: State) -> tuple[str, ...]:
    """Return the words that count as `state` while they are not silent."""
    return tuple(word for word, counted_as in _STATE.items() if counted_as is state)


def state_after_silence(word: str) -> State:
    """Return what a message counts as if no update follows `word`."""
    return STATE_OF_SILENT.get(word) or _STATE.get(word, State.UNKNOWN)


def display_status(
    word: str, since: datetime, *, now: datetime, receipt_window: timedelta
) -> DisplayStatus:
    """Return how `word`, a message's status since `since`, is shown at `now`."""
    changes_at = display_changes_at(word, since, receipt_window)
    if changes_at is not None and now > changes_at:
        return _SILENT_DISPLAY[STATE_OF_SILENT[word]]
    # A newer version may have written a word that this one does not know.
    if word not in RANK:
        return DisplayStatus(label(word), "neutral", State.UNKNOWN)
    return DisplayStatus(*_DISPLAY[word], _STATE[word])


def display_scheduled(send_at: datetime | None) -> DisplayStatus:
    """Return how a message is shown that waits here until `send_at`."""
    return DisplayStatus(*_DISPLAY["scheduled"], State.WAITING, send_at)


def display_changes_at(word: str, since: datetime, receipt_window: timedelta) -> datetime | None:
    """Return when silence alone changes what is shown; None if it never does."""
    limit = silence_limit(word, receipt_window)
    return None if limit is None else since + limit


def silence_limit(word: str, receipt_window: timedelta) -> timedelta | None:
    """Return the silence after which `word` counts as STATE_OF_SILENT; None if it never does."""
    if word not in STATE_OF_SILENT:
        return None
    return PENDING_IS_UNKNOWN_AFTER if word == PENDING else receipt_window


def label(word: str) -> str:
    """Return the label of one event in a timeline; an unknown word is quoted."""
    event_labels = {"accepted": "Accepted by Twilio", "queued": "Queued", "sending": "Sending"}
    event_labels |= {"sent": "Sent", "pending": "Saved here", "unknown": "Outcome unknown"}
    if word in event_labels:
        return event_labels[word]
    return _DISPLAY[word][0] if word in _DISPLAY else f"“{word}” (unknown status)"


class Effect(StrEnum):
    """What an event did to the status of its message."""

    MOVED = ""
    REPEATED = "repeated"
    NOTHING_NEW = "nothing new"
    LATE = "late"
    CONFLICTING = "conflicting"
    UNKNOWN_WORD = "unknown word"


def effects(events: Iterable[tuple[str, str | None]]) -> Sequence[Effect]:
    """Return the effect of each (word, error code), in order of receipt."""
    history = list(events)
    return [_effect(*event, history[:index]) for index, event in enumerate(history)]


def _effect(
    word: str, code: str | None, earlier_events: Sequence[tuple[str, str | None]]
) -> Effect:
    earlier_words = {earlier for earlier, _ in earlier_events}
    if word not in RANK:
        return Effect.UNKNOWN_WORD
    if (word, code) in earlier_events:
        return Effect.REPEATED
    if earlier_words.intersection(contradicting(word)):
        return Effect.CONFLICTING
    highest = max((RANK.get(earlier, -1) for earlier in earlier_words), default=-1)
    return Effect.LATE if RANK[word] < highest else Effect.MOVED
