"""A worker that runs once, at a time that the test chooses."""

from datetime import timedelta
from threading import Event
from threading import enumerate as enumerate_threads

import time_machine
from flask import Flask

from smstracker.clock import utcnow
from smstracker.worker.loop import THREADED, Worker

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def in_minutes(minutes: int) -> time_machine.travel:
    """A clock that stands still, `minutes` from now."""
    return time_machine.travel(utcnow() + minutes * MINUTE, tick=False)


class InstantEvent(Event):
    def wait(self, _timeout: float | None = None) -> bool:
        return self.is_set()


class InstantWorker(Worker):
    """Waits for no turn: where the clock stands still, its turn would not come any nearer."""

    def __init__(self) -> None:
        super().__init__()
        self._stopped = InstantEvent()

    def _sleep(self, seconds: float) -> None:
        pass


def work(app: Flask) -> None:
    """Run a worker once."""
    with app.app_context():
        worker = InstantWorker()
        worker.work()
        worker.join_threads()


def look_up(app: Flask) -> None:
    """Run a worker once for its look-ups alone, which costs a third."""
    with app.app_context():
        worker = InstantWorker()
        worker._jobs_checked_at = utcnow()
        worker.work()


def end_job_threads() -> None:
    """Wait for the jobs that a worker began: they would fail, and log it, in the next test."""
    for thread in enumerate_threads():
        if thread.name in THREADED:
            thread.join(30)
            assert not thread.is_alive(), f"the job {thread.name} does not end"
