"""The status words of a message: their order, what people read, and how they are counted.

Pure: the SQL that moves a message (`models.moves`) and the timeline are derived from `RANK`.
Twilio's words stay Twilio's in the data; the words of ours are named at `RANK`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache

# A message moves only to a word of higher rank. Words of ours: pending (saved, not yet handed
# over), unknown (the create call gave no readable answer), refused (by Twilio's API), unreached
# (the call certainly never arrived), untraced (an unknown one that Twilio's list never had). A
# callback proves that Twilio took the message, so it outranks them all. Also ours is deleted (a
# look-up found that Twilio has the message no more): it ends the waiting, and every outcome that
# a late callback still tells outranks it.
RANK = {
    "pending": 0,
    "unknown": 1,
    "refused": 2,
    "unreached": 2,
    "untraced": 2,
    "scheduled": 3,
    "accepted": 4,
    "queued": 5,
    "sending": 6,
    "sent": 7,
    "partially_delivered": 8,
    "deleted": 9,
    "canceled": 10,
    "failed": 10,
    "undelivered": 10,
    "delivered": 11,
    "read": 12,
}
OUTCOME_OPEN = ("pending", "unknown")
NOT_SENT = ("refused", "unreached", "untraced")
NEGATIVE = ("failed", "undelivered")
POSITIVE = ("delivered", "read")
DELETED = "deleted"
FINAL = (*NOT_SENT, *NEGATIVE, *POSITIVE, "canceled", DELETED)
# Known without a callback because none can be due: no look-up of these repairs a missed one.
NOT_CALLED_BACK = (*NOT_SENT, DELETED)
# Twilio's words for a message that was sent to us: none of ours.
RECEIVED = ("receiving", "received")
AWAITING_RECEIPT = ("sent", "partially_delivered")

# A process that dies between saving a message and recording Twilio's answer leaves "pending".
PENDING_IS_UNKNOWN_AFTER = timedelta(minutes=2)


class Source(StrEnum):
    """How a status is known."""

    SEND = "send"
    CALLBACK = "callback"
    LOOKUP = "lookup"


SOURCE_WORDS = {
    Source.SEND: "Twilio's answer to the send request",
    Source.CALLBACK: "status callback from Twilio",
    Source.LOOKUP: "asked Twilio",
}


class State(StrEnum):
    """The six honest totals; every message is in exactly one of them."""

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
# A deleted message is not "no receipt", which says that it was sent: it may as well have failed.
_STATE |= {"unknown": State.UNKNOWN, DELETED: State.UNKNOWN, "canceled": State.CANCELLED}

# What people read, and the tone that only supports it.
_SHOWN = dict.fromkeys(RANK, ("Waiting", "neutral"))
_SHOWN |= {
    "scheduled": ("Scheduled", "neutral"),
    "sent": ("Sent, awaiting receipt", "blue"),
    "partially_delivered": ("Sent, awaiting receipt", "blue"),
    "delivered": ("Delivered", "green"),
    "read": ("Read", "green"),
    "failed": ("Not delivered", "red"),
    "undelivered": ("Not delivered", "red"),
    "refused": ("Not sent", "red-outline"),
    "unreached": ("Not sent", "red-outline"),
    "untraced": ("Not sent", "red-outline"),
    "canceled": ("Cancelled", "grey"),
    DELETED: ("Deleted at Twilio", "grey-blue"),
    "unknown": ("Outcome unknown, checking", "amber"),
}
_NO_RECEIPT = ("Sent, no receipt", "grey-blue")


@dataclass(frozen=True, slots=True)
class DisplayStatus:
    """A status as people read it."""

    label: str
    tone: str
    state: State


@cache
def lower_ranked(word: str) -> tuple[str, ...]:
    """The words from which a message may move to `word`; none for a word that we do not know."""
    rank = RANK.get(word, -1)
    return tuple(other for other, at in RANK.items() if at < rank)


def same_outcome(word: str) -> tuple[str, ...]:
    """The words of the same rank and meaning: an event of one only fills in what is missing."""
    if word not in RANK:
        return ()
    return NEGATIVE if word in NEGATIVE else (word,)


@cache
def contradicting(word: str) -> tuple[str, ...]:
    """The words that say the opposite of `word`: not delivered against delivered."""
    if word in POSITIVE:
        return NEGATIVE
    return POSITIVE if word in NEGATIVE else ()


def statuses_in(state: State) -> tuple[str, ...]:
    """The words that count as `state`, silence left aside."""
    return tuple(word for word, of in _STATE.items() if of is state)


def display_status(
    word: str, since: datetime, *, now: datetime, receipt_window: timedelta
) -> DisplayStatus:
    """How a message that has had the status `word` since `since` is shown at `now`."""
    turn = display_changes_at(word, since, receipt_window)
    is_silent = turn is not None and now > turn
    if is_silent and word in AWAITING_RECEIPT:
        return DisplayStatus(*_NO_RECEIPT, State.NO_RECEIPT)
    if is_silent:
        word = "unknown"
    # A word that is new to us may be in a database that a newer version has written.
    if word not in RANK:
        return DisplayStatus(label(word), "neutral", State.UNKNOWN)
    return DisplayStatus(*_SHOWN[word], _STATE[word])


def display_changes_at(word: str, since: datetime, receipt_window: timedelta) -> datetime | None:
    """When the silence since `since` makes of the status what no event tells of."""
    if word in AWAITING_RECEIPT:
        return since + receipt_window
    return since + PENDING_IS_UNKNOWN_AFTER if word == "pending" else None


def label(word: str) -> str:
    """What people read for the word of one event; a word that we do not know is quoted."""
    step = {"accepted": "Accepted by Twilio", "queued": "Queued", "sending": "Sending"}
    step |= {"sent": "Sent", "pending": "Saved here", "unknown": "Outcome unknown"}
    if word in step:
        return step[word]
    return _SHOWN[word][0] if word in _SHOWN else f"“{word}” (a status that is new to us)"


class Effect(StrEnum):
    """What one event of a timeline did to the message."""

    MOVED = ""
    REPEATED = "repeated"
    NOTHING_NEW = "nothing new"
    LATE = "late"
    CONFLICTING = "conflicting"
    UNKNOWN_WORD = "unknown word"


def effects(events: Iterable[tuple[str, str | None]]) -> Sequence[Effect]:
    """The effect of each (word, error code), in order of receipt."""
    found: list[Effect] = []
    seen: list[tuple[str, str | None]] = []
    for word, code in events:
        found.append(_effect(word, code, seen))
        seen.append((word, code))
    return found


def _effect(word: str, code: str | None, seen: Sequence[tuple[str, str | None]]) -> Effect:
    words = {earlier for earlier, _ in seen}
    if word not in RANK:
        return Effect.UNKNOWN_WORD
    if (word, code) in seen:
        return Effect.REPEATED
    if words.intersection(contradicting(word)):
        return Effect.CONFLICTING
    highest = max((RANK.get(earlier, -1) for earlier in words), default=-1)
    return Effect.LATE if RANK[word] < highest else Effect.MOVED
