"""Scheduler that runs the scenario of every message, step by step."""

import heapq
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from smstracker.simulator.callback_client import CallbackClient, CallbackRequest, build_callback
from smstracker.simulator.fault_injection import FaultInjector, forged_step
from smstracker.simulator.ledger import Ledger, SimulatedMessage
from smstracker.simulator.scenarios import Scenario, ScenarioStep

CALLBACK_THREADS = 16

PostCallback = Callable[[CallbackRequest], None]


@dataclass(order=True, frozen=True, slots=True)
class _ScheduledStep:
    due_at: float
    sequence: int
    sid: str = field(compare=False)
    scenario: Scenario = field(compare=False)
    step: ScenarioStep = field(compare=False)
    is_last: bool = field(compare=False)


class CallbackQueue:
    """Posts callbacks on a few threads; those of one message in order, one at a time."""

    def __init__(self, post: PostCallback, threads: int) -> None:
        self._post = post
        self._pending: dict[str, deque[CallbackRequest]] = {}
        self._ready_sids: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def put(self, callback: CallbackRequest) -> None:
        with self._lock:
            pending = self._pending.setdefault(callback.sid, deque())
            pending.append(callback)
            if len(pending) == 1:
                self._ready_sids.put(callback.sid)

    def close(self, timeout: float) -> None:
        """Stop; queued callbacks are dropped."""
        self._closed = True
        deadline = time.monotonic() + timeout
        for _ in self._threads:
            self._ready_sids.put(None)
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (sid := self._ready_sids.get()) is not None and not self._closed:
            # The callback stays at the head of its queue while it is posted, to keep the order.
            with self._lock:
                callback = self._pending[sid][0]
            self._post(callback)
            with self._lock:
                pending = self._pending[sid]
                pending.popleft()
                if pending:
                    self._ready_sids.put(sid)
                else:
                    del self._pending[sid]


class Delivery:
    """Runs due steps on one thread, which changes the ledger and never waits for a callback.

    `speed` divides all delays. All threads are daemons and run until `close()`.
    """

    def __init__(
        self,
        account_sid: str,
        ledger: Ledger,
        callback_client: CallbackClient,
        fault_injector: FaultInjector,
        speed: float,
    ) -> None:
        self._account_sid = account_sid
        self._ledger = ledger
        self._callback_client = callback_client
        self._fault_injector = fault_injector
        self._speed = speed
        self._callback_queue = CallbackQueue(self._post, CALLBACK_THREADS)
        self._scheduled: list[_ScheduledStep] = []
        self._sequence = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run_due_steps, daemon=True)
        self._thread.start()

    def schedule(self, sid: str, scenario: Scenario, steps: Sequence[ScenarioStep]) -> None:
        """Schedule the steps, each after its own delay."""
        due_at = time.monotonic()
        with self._changed:
            for number, step in enumerate(steps, start=1):
                due_at += step.delay / self._speed
                sequence, is_last = next(self._sequence), number == len(steps)
                scheduled = _ScheduledStep(due_at, sequence, sid, scenario, step, is_last)
                heapq.heappush(self._scheduled, scheduled)
                self._ledger.expect(1)
            self._changed.notify()

    def run_now(self, sid: str, scenario: Scenario, steps: Iterable[ScenarioStep]) -> None:
        """Run the steps at once; blocks until their callbacks are answered."""
        for step in steps:
            self._ledger.expect(1)
            self._run_step(sid, scenario, step, self._post)

    def close(self, timeout: float = 2) -> None:
        """Stop within about `timeout` seconds, even if a receiver hangs."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)
        self._callback_client.close()
        self._callback_queue.close(timeout)

    def _run_due_steps(self) -> None:
        while (due := self._wait_for_due_step()) is not None:
            self._run_step(due.sid, due.scenario, due.step, self._callback_queue.put, due.is_last)

    def _wait_for_due_step(self) -> _ScheduledStep | None:
        with self._changed:
            while not self._closed:
                seconds = self._scheduled[0].due_at - time.monotonic() if self._scheduled else None
                if seconds is not None and seconds <= 0:
                    return heapq.heappop(self._scheduled)
                self._changed.wait(seconds)
        return None

    def _run_step(
        self,
        sid: str,
        scenario: Scenario,
        step: ScenarioStep,
        post: PostCallback,
        is_last: bool = False,
    ) -> None:
        message = self._ledger.get(sid)
        if step.recorded:
            message = self._ledger.change_status(sid, step.status, step.error_code)
        if message is not None and message.callback is not None and step.called_back:
            self._submit(self._build_callbacks(message, scenario, step), post)
        if is_last:
            self._submit(self._fault_injector.release(sid), post)
        # Last, so that the ledger is never idle while a delayed callback waits.
        self._ledger.finish()

    def _build_callbacks(
        self, message: SimulatedMessage, scenario: Scenario, step: ScenarioStep
    ) -> list[CallbackRequest]:
        callback = build_callback(self._account_sid, message, scenario, step)
        callbacks = self._fault_injector.apply_faults(callback, scenario.copies)
        if self._fault_injector.adds_forgery():
            forged = forged_step(scenario)
            callbacks.append(build_callback(self._account_sid, message, scenario, forged))
        return callbacks

    def _submit(self, callbacks: Sequence[CallbackRequest], post: PostCallback) -> None:
        self._ledger.expect(len(callbacks))
        for callback in callbacks:
            post(callback)

    def _post(self, callback: CallbackRequest) -> None:
        try:
            self._callback_client.post(callback)
        finally:
            self._ledger.finish()
