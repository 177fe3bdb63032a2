"""The threads of the worker that check uploaded files, and that queue rows of running batches."""

from collections.abc import Callable
from threading import Event

from flask import Flask

from smstracker.batches.checking import check_waiting
from smstracker.batches.queueing import queue_waiting
from smstracker.extensions import db
from smstracker.worker.error_log import log_error

POLL_SECONDS = 0.5
RETRY_SECONDS = 10.0  # after a failure
# Each has a thread of its own: a check can take long, and nobody waits for it to be sent.
BATCH_THREADS: dict[str, Callable[[Callable[[], bool]], int]] = {
    "batch check": check_waiting,
    "batch queue": queue_waiting,
}


def run_batch_thread(name: str, stopped: Event, app: Flask) -> None:
    """Do the work of this name until the worker ends."""
    with app.app_context():
        wait = POLL_SECONDS
        while not stopped.wait(wait):
            try:
                BATCH_THREADS[name](stopped.is_set)
                wait = POLL_SECONDS
            except Exception as error:
                log_error(error)
                wait = RETRY_SECONDS
            finally:
                db.session.remove()
