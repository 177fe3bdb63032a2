"""Requests that wait for a message to change, in a bounded number of threads."""

import re
import time
from collections.abc import Callable
from threading import BoundedSemaphore
from typing import cast

from flask import Flask, current_app
from sqlalchemy import select

from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.models import Message
from smstracker.web.waiting_threads import waiting_threads

SLOTS = "smstracker_api_waiting"
MAX_SECONDS = 30
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5  # seconds between two looks
WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=$|[,;])", re.IGNORECASE)


class TooManyWaitError(Exception):
    """As many requests wait as may."""


def init_app(app: Flask) -> None:
    # A quarter of the threads: others wait as well, for Twilio and for slow readers.
    app.extensions[SLOTS] = BoundedSemaphore(max(app.config["SETTINGS"].web_threads // 4, 1))


def preferred_seconds(prefer: str) -> int:
    """The seconds that the header Prefer asks to wait, at most MAX_SECONDS; 0 if it does not."""
    match = WAIT.search(prefer)
    return min(int(match[1]), MAX_SECONDS) if match else 0


def wait_for_status(message_id: int, is_awaited: Callable[[str], bool], seconds: int) -> None:
    """Return once the status of a message is one that is awaited, or after some seconds.

    Raises TooManyWaitError at once. No transaction is open while it waits.
    """
    db.session.rollback()
    slots, threads = cast(BoundedSemaphore, current_app.extensions[SLOTS]), waiting_threads()
    if not slots.acquire(blocking=False):
        raise TooManyWaitError
    try:
        if not threads.enter():
            raise TooManyWaitError
        try:
            _poll(message_id, is_awaited, time.monotonic() + seconds)
        finally:
            threads.leave()
    finally:
        slots.release()


def _poll(message_id: int, is_awaited: Callable[[str], bool], ends_at: float) -> None:
    query, pause = select(Message.status).where(Message.id == message_id), FIRST_PAUSE
    while True:
        with reading_connection(db.engine) as connection:
            word = connection.scalar(query)
        seconds_left = ends_at - time.monotonic()
        if word is None or is_awaited(word) or seconds_left <= 0:
            return
        time.sleep(min(pause, seconds_left))
        pause = min(pause * 2, LONGEST_PAUSE)
