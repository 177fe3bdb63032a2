"""The threads of the worker that check uploaded files, and that queue rows of running batches."""

from collections.abc import Callable
from importlib import import_module
from threading import Event

from flask import Flask

from smstracker.batches.queueing import queue_waiting
from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.models import Batch
from smstracker.worker.error_log import log_error

POLL_SECONDS = 0.5
RETRY_SECONDS = 10.0  # after a failure


def check_waiting(is_stopping: Callable[[], bool]) -> int:
    """Check the batches that wait for it; return how many."""
    with reading_connection(db.engine) as connection:
        if connection.scalar(Batch.select_unchecked(utcnow()).limit(1)) is None:
            return 0
    # It brings the tables of all phone numbers, which the worker needs for nothing else.
    checking = import_module("smstracker.batches.checking")
    count: int = checking.check_waiting(is_stopping)
    return count


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
