"""The hand-over of waiting messages by a worker: a bounded number of calls to Twilio at once."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Lock

from flask import Flask

from smstracker.back_off import back_off_seconds
from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.messages import last_checks
from smstracker.messages.last_checks import find_obstacles
from smstracker.messages.result_writer import SendResultWriter
from smstracker.messages.sending import submit_from_outbox
from smstracker.models import outbox
from smstracker.models.outbox import OutboxMessage
from smstracker.worker.error_log import log_error

MAX_HAND_OVERS = 24  # at once, so that a slow Twilio takes no more threads
# A claim costs more than what it hands over, so one of fewer messages waits for a moment.
GATHERED_CLAIM = 12
GATHER_SECONDS = 0.25
POLL_SECONDS = 0.5
# Until another worker has claimed for the same senders.
CONTENTION_SECONDS = 0.05


class Dispatcher:
    """Hands over what waits in the outbox until `stop`; the last calls are finished then."""

    def __init__(self) -> None:
        self._is_stopping = False
        self._wake = Event()
        self._lock = Lock()
        self._under_way = 0
        self._failures = 0
        self._claimed_at = 0.0
        self._may_have_more = False
        self._claimed: Sequence[OutboxMessage] = ()
        self._writer = SendResultWriter()

    def stop(self) -> None:
        self._is_stopping = True
        self._wake.set()

    def run(self, app: Flask) -> None:
        with ThreadPoolExecutor(MAX_HAND_OVERS, "hand-over") as pool, app.app_context():
            while not self._is_stopping:
                self._wake.wait(self._dispatch_or_wait(app, pool))
                self._wake.clear()

    def _dispatch_or_wait(self, app: Flask, pool: ThreadPoolExecutor) -> float:
        """Dispatch once; the seconds until the next time, longer after each failure."""
        try:
            seconds = self._dispatch(app, pool)
        except Exception as error:
            log_error(error)
            self._failures += 1
            return back_off_seconds(self._failures)
        self._failures = 0
        return seconds

    def _dispatch(self, app: Flask, pool: ThreadPoolExecutor) -> float:
        free = MAX_HAND_OVERS - self._under_way
        if free == 0:
            return POLL_SECONDS  # each call that ends wakes it
        since_claim = time.monotonic() - self._claimed_at
        if free < GATHERED_CLAIM and since_claim < GATHER_SECONDS:
            return GATHER_SECONDS - since_claim
        # Of a claim whose hand-over did not begin, nobody knows: else it waits for the lease's end.
        release(self._claimed)
        self._claimed = ()
        if not self._may_have_more and (wait := _seconds_until_due()):
            return wait
        self._claimed_at = time.monotonic()
        self._claimed = claim_sendable(free)
        self._may_have_more = len(self._claimed) == free
        if self._is_stopping:
            release(self._claimed)
            return 0
        submit_claimed(self._claimed, partial(self._start_call, app, pool))
        self._claimed, count = (), len(self._claimed)
        return 0 if count else CONTENTION_SECONDS

    def _start_call(self, app: Flask, pool: ThreadPoolExecutor, message: OutboxMessage) -> None:
        with self._lock:
            self._under_way += 1
        pool.submit(self._call, app, message)

    def _call(self, app: Flask, message: OutboxMessage) -> None:
        try:
            with app.app_context():
                submit_from_outbox(message, self._writer)
        except Exception as error:
            log_error(error)
        finally:
            with self._lock:
                self._under_way -= 1
            self._wake.set()


def claim_sendable(limit: int) -> list[OutboxMessage]:
    """Claim messages, and stop those that must not be sent any more; return the others."""
    now = utcnow()
    with db.engine.begin() as connection:
        messages = outbox.claim(connection, limit, now)
    obstacles = find_obstacles(messages, now) if messages else {}
    for message_id, obstacle in obstacles.items():
        with db.engine.begin() as connection:
            last_checks.stop(connection, message_id, obstacle)
    return [message for message in messages if message.id not in obstacles]


def submit_claimed(
    messages: Sequence[OutboxMessage], submit: Callable[[OutboxMessage], object]
) -> None:
    """Begin the hand-over of messages of one claim, and submit them; give back those that are not
    to be sent any more.
    """
    with db.engine.begin() as connection:
        begun = outbox.begin_hand_over(connection, messages)
    for message in begun:
        submit(message)
    # Afterwards: whatever happens here, the others are submitted.
    begun_ids = {message.id for message in begun}
    release(message for message in messages if message.id not in begun_ids)


def release(messages: Iterable[OutboxMessage]) -> None:
    # One by one, as it waits for those that somebody changes.
    for message in messages:
        with db.engine.begin() as connection:
            outbox.release(connection, message.id)


def _seconds_until_due() -> float:
    """How long to wait until a message may go; 0 if one may go now."""
    now = utcnow()
    with reading_connection(db.engine) as connection:
        due_at = outbox.next_due_at(connection, now)
    seconds = (due_at - now).total_seconds() if due_at else POLL_SECONDS
    return min(max(seconds, 0), POLL_SECONDS)
