"""Scheduler that runs the scenario of every message, step by step."""

import queue
import random
import sched
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from smstracker.simulator.callback_client import Signing, build_callback, post_callback
from smstracker.simulator.fault_injection import FaultInjector, Faults, forged_step
from smstracker.simulator.ledger import CallbackRequest, Ledger, SimulatedMessage
from smstracker.simulator.scenarios import Scenario, ScenarioStep, SigningKey

CALLBACK_THREADS = 16
RETRY_PAUSE_SECONDS = (0.1, 0.3)

PostCallback = Callable[[CallbackRequest], None]


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
        self, account_sid: str, signings: Mapping[SigningKey, Signing], faults: Faults, speed: float
    ) -> None:
        self._account_sid = account_sid
        self._signings = signings
        self._speed = speed
        self.ledger = Ledger()
        self.fault_injector = FaultInjector(faults)
        self._callback_queue = CallbackQueue(self._post, CALLBACK_THREADS)
        self._scheduler = sched.scheduler()
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run_due_steps, daemon=True)
        self._thread.start()

    def schedule(self, sid: str, scenario: Scenario, steps: Sequence[ScenarioStep]) -> None:
        """Schedule the steps, each after its own delay."""
        due_at = time.monotonic()
        self.ledger.expect(len(steps))
        for number, step in enumerate(steps, start=1):
            due_at += step.delay / self._speed
            arguments = (sid, scenario, step, self._callback_queue.put, number == len(steps))
            self._scheduler.enterabs(due_at, 0, self._run_step, arguments)
        self._changed.set()

    def run_now(self, sid: str, scenario: Scenario, steps: Iterable[ScenarioStep]) -> None:
        """Run the steps at once; blocks until their callbacks are answered."""
        for step in steps:
            self.ledger.expect(1)
            self._run_step(sid, scenario, step, self._post, is_last=False)

    def close(self, timeout: float = 2) -> None:
        """Stop within about `timeout` seconds, even if a receiver hangs."""
        self._closed.set()
        self._changed.set()
        self._thread.join(timeout)
        self._callback_queue.close(timeout)

    def _run_due_steps(self) -> None:
        while not self._closed.is_set():
            self._changed.wait(self._scheduler.run(blocking=False))
            self._changed.clear()

    def _run_step(
        self, sid: str, scenario: Scenario, step: ScenarioStep, post: PostCallback, is_last: bool
    ) -> None:
        message = self.ledger.change_status(sid, step) if step.recorded else self.ledger.get(sid)
        callbacks: list[CallbackRequest] = []
        if message is not None and message.callback is not None and step.called_back:
            callbacks += self._build_callbacks(message, scenario, step)
        if is_last:
            callbacks += self.fault_injector.release(sid)
        self.ledger.expect(len(callbacks))
        for callback in callbacks:
            post(callback)
        # Last, so that the ledger is never idle while a delayed callback waits.
        self.ledger.finish()

    def _build_callbacks(
        self, message: SimulatedMessage, scenario: Scenario, step: ScenarioStep
    ) -> list[CallbackRequest]:
        callback = build_callback(self._account_sid, message, scenario, step)
        callbacks = self.fault_injector.apply_faults(callback, scenario.copies)
        if self.fault_injector.adds_forgery():
            forged = forged_step(scenario)
            callbacks.append(build_callback(self._account_sid, message, scenario, forged))
        return callbacks

    def _post(self, callback: CallbackRequest) -> None:
        try:
            signing = self._signings[callback.signing_key]
            post_callback(callback, signing, self.ledger, self._pause)
        finally:
            self.ledger.finish()

    def _pause(self) -> bool:
        """Wait between two attempts; whether the carrier stops meanwhile."""
        return self._closed.wait(random.uniform(*RETRY_PAUSE_SECONDS) / self._speed)
