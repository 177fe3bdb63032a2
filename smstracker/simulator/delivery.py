"""Takes every message through the steps of its story, each at its time."""

import heapq
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from smstracker.simulator.callback_client import CallbackClient, CallbackRequest, build_callback
from smstracker.simulator.fault_injection import FaultInjector, false_step
from smstracker.simulator.ledger import Ledger, SimulatedMessage
from smstracker.simulator.scenarios import Scenario, ScenarioStep

SENDER_THREADS = 16

Tell = Callable[[CallbackRequest], None]


@dataclass(order=True, frozen=True, slots=True)
class _Appointment:
    due: float
    turn: int
    sid: str = field(compare=False)
    story: Scenario = field(compare=False)
    step: ScenarioStep = field(compare=False)
    is_last: bool = field(compare=False)


class Outbox:
    """Posts events on a few threads: those of one message in order, never two of them at once."""

    def __init__(self, post: Tell, threads: int) -> None:
        self._post = post
        self._waiting: dict[str, deque[CallbackRequest]] = {}
        self._ready: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def put(self, event: CallbackRequest) -> None:
        with self._lock:
            waiting = self._waiting.setdefault(event.sid, deque())
            waiting.append(event)
            if len(waiting) == 1:
                self._ready.put(event.sid)

    def close(self, timeout: float) -> None:
        """What is not yet being posted stays unposted."""
        self._closed = True
        deadline = time.monotonic() + timeout
        for _ in self._threads:
            self._ready.put(None)
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (sid := self._ready.get()) is not None and not self._closed:
            # The event stays at the head of its line while it is posted: that keeps the order.
            with self._lock:
                event = self._waiting[sid][0]
            self._post(event)
            with self._lock:
                waiting = self._waiting[sid]
                waiting.popleft()
                if waiting:
                    self._ready.put(sid)
                else:
                    del self._waiting[sid]


class Delivery:
    """One thread keeps the time and changes the books; callbacks never hold it up.

    `speed` divides all delays. Everything runs on daemon threads until `close()`.
    """

    def __init__(
        self,
        account_sid: str,
        books: Ledger,
        courier: CallbackClient,
        chance: FaultInjector,
        speed: float,
    ) -> None:
        self._account_sid = account_sid
        self._books = books
        self._courier = courier
        self._chance = chance
        self._speed = speed
        self._outbox = Outbox(self._post, SENDER_THREADS)
        self._calendar: list[_Appointment] = []
        self._turns = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._clock = threading.Thread(target=self._keep_time, daemon=True)
        self._clock.start()

    def begin(
        self, sid: str, story: Scenario, steps: Sequence[ScenarioStep], wait: float = 0
    ) -> None:
        """Plan the steps, the first of them `wait` seconds and its own delay from now."""
        due = time.monotonic() + wait / self._speed
        with self._changed:
            for left, step in zip(reversed(range(len(steps))), steps, strict=True):
                due += step.after / self._speed
                planned = _Appointment(due, next(self._turns), sid, story, step, left == 0)
                heapq.heappush(self._calendar, planned)
                self._books.owe(1)
            self._changed.notify()

    def perform(self, sid: str, story: Scenario, steps: Iterable[ScenarioStep]) -> None:
        """Take the steps now and return when their callbacks are answered."""
        for step in steps:
            self._books.owe(1)
            self._take(sid, story, step, self._post)

    def drop(self, sid: str) -> None:
        """Forget the steps that are still to come."""
        with self._changed:
            kept = [each for each in self._calendar if each.sid != sid]
            dropped = len(self._calendar) - len(kept)
            heapq.heapify(kept)
            self._calendar = kept
        self._put(self._chance.release(sid), self._outbox.put)
        self._books.settle(dropped)

    def close(self, timeout: float = 2) -> None:
        """Stop. Takes at most about `timeout` seconds, even if a receiver hangs."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._clock.join(timeout)
        self._courier.close()
        self._outbox.close(timeout)

    def _keep_time(self) -> None:
        while (now := self._next()) is not None:
            self._take(now.sid, now.story, now.step, self._outbox.put, now.is_last)

    def _next(self) -> _Appointment | None:
        with self._changed:
            while not self._closed:
                left = self._calendar[0].due - time.monotonic() if self._calendar else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._calendar)
                self._changed.wait(left)
        return None

    def _take(
        self, sid: str, story: Scenario, step: ScenarioStep, tell: Tell, is_last: bool = False
    ) -> None:
        message = self._books.get(sid)
        if step.recorded:
            message = self._books.move(sid, step.status, step.error_code)
        if message is not None and message.callback is not None and step.called_back:
            self._put(self._events(message, story, step), tell)
        if is_last:
            self._put(self._chance.release(sid), tell)
        # Last, so that what is held back until then never leaves the books idle.
        self._books.settle()

    def _events(
        self, message: SimulatedMessage, story: Scenario, step: ScenarioStep
    ) -> list[CallbackRequest]:
        event = build_callback(self._account_sid, message, story, step)
        events = self._chance.befall(event, story.copies)
        if self._chance.forges():
            events.append(build_callback(self._account_sid, message, story, false_step(story)))
        return events

    def _put(self, events: Sequence[CallbackRequest], tell: Tell) -> None:
        self._books.owe(len(events))
        for event in events:
            tell(event)

    def _post(self, event: CallbackRequest) -> None:
        try:
            self._courier.post(event)
        finally:
            self._books.settle()
