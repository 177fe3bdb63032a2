"""The carrier's books: what is true of every message, and what was posted about it."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from smstracker.simulator.scenarios import SigningKey
from smstracker.sms.segments import count_segments

from .callback_url import CallbackUrl

POOL_SENDER = "+15005550199"
PRICE_PER_SEGMENT = Decimal("-0.00790")
UNFINISHED = frozenset({"accepted", "scheduled", "queued", "sending", "sent"})


@dataclass(frozen=True, slots=True)
class SimulatedMessage:
    """What is true of a message at one moment.

    With a Messaging Service the sender is None and the segments are 0 until it is queued.
    `body` stays what was sent: a redacted message only stops showing it.
    """

    sid: str
    to: str
    sender: str | None
    service_sid: str | None
    body: str
    media: tuple[str, ...]
    callback: CallbackUrl | None
    status: str
    segments: int
    created_at: datetime
    updated_at: datetime
    send_at: datetime | None = None
    sent_at: datetime | None = None
    error_code: int | None = None
    price: Decimal | None = None
    redacted: bool = False
    deleted: bool = False

    def moved(self, status: str, error_code: int | None = None) -> "SimulatedMessage":
        """The message with another status, and with all that becomes known along with it."""
        now = datetime.now(UTC)
        moved = replace(self, status=status, error_code=error_code, updated_at=now)
        if status == "canceled":
            return moved
        segments = self.segments or count_message_segments(self.body)
        moved = replace(moved, sender=self.sender or POOL_SENDER, segments=segments)
        if status in ("sent", "delivered") and self.sent_at is None:
            moved = replace(moved, sent_at=now, price=segments * PRICE_PER_SEGMENT)
        return moved


@dataclass(frozen=True, slots=True)
class CallbackAttempt:
    """One request of a status callback: either it was answered, or `error` says what happened."""

    sid: str
    status: str
    url: str
    params: Mapping[str, str]
    signed_with: SigningKey
    idempotency_token: str
    at: datetime
    response_status: int | None
    error: str | None


class Ledger:
    """Thread safe. Holds the newest `limit` messages; older ones are forgotten entirely."""

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._messages: OrderedDict[str, SimulatedMessage] = OrderedDict()
        self._attempts: dict[str, list[CallbackAttempt]] = {}
        self._owed = 0
        self._changed = threading.Condition()

    def add(self, message: SimulatedMessage) -> None:
        with self._changed:
            self._messages[message.sid] = message
            self._attempts[message.sid] = []
            while len(self._messages) > self._limit:
                oldest, _ = self._messages.popitem(last=False)
                del self._attempts[oldest]

    def get(self, sid: str) -> SimulatedMessage | None:
        """A message that was deleted through the API is still here, marked as such."""
        with self._changed:
            return self._messages.get(sid)

    def messages(self) -> list[SimulatedMessage]:
        """All messages, oldest first, the deleted ones too."""
        with self._changed:
            return list(self._messages.values())

    def count_creates(self, to: str, body: str) -> int:
        """How many messages with this recipient and this text were ever accepted."""
        return sum(message.to == to and message.body == body for message in self.messages())

    def move(self, sid: str, status: str, error_code: int | None = None) -> SimulatedMessage | None:
        """None, and no change, if the message is canceled, deleted or forgotten."""
        with self._changed:
            message = self._messages.get(sid)
            if message is None or message.deleted or message.status == "canceled":
                return None
            self._messages[sid] = moved = message.moved(status, error_code)
            return moved

    def cancel(self, sid: str) -> SimulatedMessage | None:
        """None, and no change, if the message is not waiting for its time."""
        with self._changed:
            message = self._messages.get(sid)
            if message is None or message.status != "scheduled":
                return None
            self._messages[sid] = canceled = message.moved("canceled")
            return canceled

    def redact(self, sid: str) -> SimulatedMessage | None:
        return self._mark(sid, UNFINISHED - {"sent"}, redacted=True)

    def delete(self, sid: str) -> SimulatedMessage | None:
        """None, and no change, before the message is finished: a sent one still is not."""
        return self._mark(sid, UNFINISHED, deleted=True)

    def _mark(self, sid: str, too_early: frozenset[str], **marks: bool) -> SimulatedMessage | None:
        with self._changed:
            message = self._messages.get(sid)
            if message is None or message.status in too_early:
                return None
            marked = replace(
                message,
                updated_at=datetime.now(UTC),
                redacted=message.redacted or marks.get("redacted", False),
                deleted=message.deleted or marks.get("deleted", False),
            )
            self._messages[sid] = marked
            return marked

    def record(self, attempt: CallbackAttempt) -> None:
        with self._changed:
            if attempt.sid in self._attempts:
                self._attempts[attempt.sid].append(attempt)

    def attempts(self, sid: str | None = None) -> list[CallbackAttempt]:
        """The attempts for one message, or for all of them, in the order of their answers."""
        with self._changed:
            if sid is not None:
                return list(self._attempts.get(sid, ()))
            everything = [attempt for each in self._attempts.values() for attempt in each]
        return sorted(everything, key=lambda attempt: attempt.at)

    def owe(self, count: int) -> None:
        """Note that many steps and callbacks as still to come."""
        with self._changed:
            self._owed += count

    def settle(self, count: int = 1) -> None:
        with self._changed:
            self._owed -= count
            self._changed.notify_all()

    def wait_until_idle(self, timeout: float) -> bool:
        """Whether, within `timeout` seconds, no step and no callback was left to come.

        A scheduled message counts as a step to come until its time, or until it is canceled.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._owed == 0, timeout)


def count_message_segments(body: str) -> int:
    """A message without text, but with pictures, counts as one segment too."""
    return max(1, count_segments(body).count)
