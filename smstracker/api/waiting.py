"""Requests that wait for a message to change, in a bounded number of threads."""

import time
from collections.abc import Container, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Event
from typing import cast

from flask import Flask, current_app
from sqlalchemy import select

from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.models import Message
from smstracker.web.waiting_threads import waiting_threads

EXTENSION = "api_waiters"
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5  # seconds between two looks


class TooManyWaitError(Exception):
    """As many requests wait as may."""


class Waiters:
    """The waiting requests of a process: at most a quarter of its threads, for others wait too."""

    def __init__(self, threads: int) -> None:
        self._slots = BoundedSemaphore(max(threads // 4, 1))
        self._stopped = Event()

    def stop(self) -> None:
        """Answer all at once: this process is about to end."""
        self._stopped.set()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Occupy a slot. Raises TooManyWaitError."""
        if not self._slots.acquire(blocking=False):
            raise TooManyWaitError
        threads, has_entered = waiting_threads(), False
        try:
            has_entered = threads.enter()
            if not has_entered:
                raise TooManyWaitError
            yield
        finally:
            if has_entered:
                threads.leave()
            self._slots.release()

    def pause(self, seconds: float) -> bool:
        """Wait; return whether to go on."""
        return not self._stopped.wait(seconds)


def init_app(app: Flask) -> None:
    app.extensions[EXTENSION] = Waiters(app.config["SETTINGS"].web_threads)


def wait_for_status(message_id: int, statuses: Container[str], seconds: float) -> bool:
    """Wait until the status of a message is one of `statuses`; return whether it is in time.

    No transaction is open meanwhile. Raises TooManyWaitError at once.
    """
    waiters = cast(Waiters, current_app.extensions[EXTENSION])
    ends_at, pause = time.monotonic() + seconds, FIRST_PAUSE
    query = select(Message.status).where(Message.id == message_id)
    db.session.rollback()
    with waiters.slot():
        while True:
            with reading_connection(db.engine) as connection:
                word = connection.scalar(query)
            if word is None or word in statuses:
                return word is not None
            seconds_left = ends_at - time.monotonic()
            if seconds_left <= 0 or not waiters.pause(min(pause, seconds_left)):
                return False
            pause = min(pause * 2, LONGEST_PAUSE)
