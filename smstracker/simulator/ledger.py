"""The carrier's ledger: the true state of every message, and the callbacks posted about it."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from smstracker.simulator.scenarios import ScenarioStep, SigningKey
from smstracker.sms.segments import count_segments

from .callback_url import CallbackUrl

POOL_SENDER = "+15005550199"
MAX_MESSAGES = 100_000
PRICE_PER_SEGMENT = Decimal("-0.00790")


@dataclass(frozen=True, slots=True)
class SimulatedMessage:
    """The state of a message at one moment.

    With a Messaging Service, `sender` is None and `segments` is 0 until it is queued.
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
    sent_at: datetime | None = None
    error_code: int | None = None
    price: Decimal | None = None

    def copy_after(self, step: ScenarioStep) -> "SimulatedMessage":
        """A copy with the status of `step`, and with the fields that change along with it."""
        now = datetime.now(UTC)
        updated = replace(self, status=step.status, error_code=step.error_code, updated_at=now)
        segments = self.segments or count_message_segments(self.body, self.sender)
        updated = replace(updated, sender=self.sender or POOL_SENDER, segments=segments)
        if step.status in ("sent", "delivered") and self.sent_at is None:
            updated = replace(updated, sent_at=now, price=segments * PRICE_PER_SEGMENT)
        return updated


@dataclass(frozen=True)
class CallbackRequest:
    """A status callback to post; repetitions share its idempotency token."""

    sid: str
    status: str
    callback_url: CallbackUrl
    params: Mapping[str, str]
    signing_key: SigningKey
    idempotency_token: str

    @property
    def url(self) -> str:
        return self.callback_url.signed


@dataclass(frozen=True)
class CallbackAttempt(CallbackRequest):
    """One post of a status callback, with the response status or the error."""

    attempted_at: datetime
    response_status: int | None
    error: str | None


class Ledger:
    """The newest `MAX_MESSAGES` messages and their callback attempts. Thread safe."""

    def __init__(self) -> None:
        self._messages: OrderedDict[str, SimulatedMessage] = OrderedDict()
        self._attempts: dict[str, list[CallbackAttempt]] = {}
        self._pending_count = 0
        self._changed = threading.Condition()

    def add(self, message: SimulatedMessage) -> None:
        with self._changed:
            self._messages[message.sid] = message
            self._attempts[message.sid] = []
            while len(self._messages) > MAX_MESSAGES:
                oldest, _ = self._messages.popitem(last=False)
                del self._attempts[oldest]

    def get(self, sid: str) -> SimulatedMessage | None:
        with self._changed:
            return self._messages.get(sid)

    def messages(self) -> list[SimulatedMessage]:
        """All messages, oldest first."""
        with self._changed:
            return list(self._messages.values())

    def count_creates(self, to: str, body: str) -> int:
        """The number of accepted messages with this recipient and text."""
        return sum(message.to == to and message.body == body for message in self.messages())

    def change_status(self, sid: str, step: ScenarioStep) -> SimulatedMessage | None:
        """Change the status; None if the message is no longer kept."""
        with self._changed:
            if sid in self._messages:
                self._messages[sid] = self._messages[sid].copy_after(step)
            return self._messages.get(sid)

    def redact(self, sid: str) -> SimulatedMessage | None:
        """Delete the text; None if the message is no longer kept."""
        with self._changed:
            if sid in self._messages:
                self._messages[sid] = replace(self._messages[sid], body="")
            return self._messages.get(sid)

    def delete(self, sid: str) -> None:
        with self._changed:
            self._messages.pop(sid, None)
            self._attempts.pop(sid, None)

    def delete_media(self, sid: str, address: str) -> bool:
        """Delete one picture; False if there is no such picture."""
        with self._changed:
            message = self._messages.get(sid)
            if message is None or address not in message.media:
                return False
            media = tuple(other for other in message.media if other != address)
            self._messages[sid] = replace(message, media=media)
            return True

    def record_attempt(self, attempt: CallbackAttempt) -> None:
        with self._changed:
            if attempt.sid in self._attempts:
                self._attempts[attempt.sid].append(attempt)

    def attempts(self, sid: str | None = None) -> list[CallbackAttempt]:
        """The callback attempts of one message, or of all, in order of their time."""
        with self._changed:
            if sid is not None:
                return list(self._attempts.get(sid, ()))
            all_attempts = [attempt for attempts in self._attempts.values() for attempt in attempts]
        return sorted(all_attempts, key=lambda attempt: attempt.attempted_at)

    def expect(self, count: int) -> None:
        """Add to the number of pending steps and callbacks."""
        with self._changed:
            self._pending_count += count

    def finish(self) -> None:
        """Take one from the number of pending steps and callbacks."""
        with self._changed:
            self._pending_count -= 1
            self._changed.notify_all()

    def wait_until_idle(self, timeout: float) -> bool:
        """Wait until no step or callback is pending; False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._pending_count == 0, timeout)


def count_message_segments(body: str, sender: str | None) -> int:
    """The number of segments; a message with pictures only counts as one."""
    return max(1, count_segments(body, sender).count)
