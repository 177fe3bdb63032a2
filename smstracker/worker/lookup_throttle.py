"""Rate limit of the requests of all workers to Twilio, and back-off after failures."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.engine import Connection

from smstracker.back_off import back_off_seconds
from smstracker.clock import has_come, utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db, receipt_window, settings
from smstracker.models import lookup_queue
from smstracker.models.jobs import JobName, ScheduledJob
from smstracker.models.lookup_queue import OpenMessage, set_lookup_times
from smstracker.sms.lookup_schedule import LONGEST_WAIT

MAX_PAUSE_SECONDS = 60.0
MIN_RETRY_DELAY = timedelta(minutes=5)
# A slot further ahead than this is a pause, which a worker does not wait for.
MAX_SLOT_WAIT = timedelta(seconds=5)


class LookupBatch(NamedTuple):
    """Messages to look up, and the seconds until the rate allows it."""

    messages: list[OpenMessage]
    wait: float


class LookupThrottle:
    """Claims messages at the shared rate; a pause of one worker holds for all, by a shared row."""

    def __init__(self) -> None:
        self._failures = 0

    def claim(self) -> LookupBatch:
        """Claim the next messages, at most a second's worth; none during a pause.

        They reserve slots between the requests of a listing, which would take all slots otherwise.
        """
        rate = settings().lookups_per_second
        with reading_connection(db.engine) as connection:
            if not lookup_queue.is_anything_due(connection):
                return LookupBatch([], 0)
        with db.engine.begin() as connection:
            now = utcnow()
            slot_at = _lock_next_slot(connection, now)
            if slot_at > now + MAX_SLOT_WAIT:
                return LookupBatch([], 0)
            messages = lookup_queue.claim_due_messages(connection, rate)
            next_slot_at = slot_at + timedelta(seconds=len(messages) / rate)
            ScheduledJob.postpone(connection, JobName.LOOKUPS, next_slot_at)
        return LookupBatch(messages, (slot_at - now).total_seconds())

    def reserve(self) -> float:
        """Reserve a slot for one request; the seconds until it."""
        with db.engine.begin() as connection:
            now = utcnow()
            slot_at = _lock_next_slot(connection, now)
            rate = settings().lookups_per_second
            ScheduledJob.postpone(
                connection, JobName.LOOKUPS, slot_at + timedelta(seconds=1 / rate)
            )
        return (slot_at - now).total_seconds()

    def reset_failures(self) -> None:
        self._failures = 0

    def next_pause(self) -> timedelta:
        """The next back-off: doubles with each failure, with jitter."""
        self._failures += 1
        pause = back_off_seconds(self._failures, MAX_PAUSE_SECONDS)
        return timedelta(seconds=pause * random.uniform(0.5, 1.0))

    def back_off(self, remaining: Sequence[OpenMessage]) -> None:
        """Pause all workers; the claimed messages that remain are due right after."""
        with db.engine.begin() as connection:
            now = utcnow()
            # Keep a longer pause of another worker.
            paused_until = max(_lock_next_slot(connection, now), now + self.next_pause())
            ScheduledJob.postpone(connection, JobName.LOOKUPS, paused_until)
            set_lookup_times(connection, {message.id: paused_until for message in remaining})


def _lock_next_slot(connection: Connection, now: datetime) -> datetime:
    """The time of the next free slot, locked until the transaction ends."""
    due_at = ScheduledJob.lock(connection, JobName.LOOKUPS)
    return now if has_come(due_at, now, timedelta(seconds=MAX_PAUSE_SECONDS)) else due_at


def postpone_lookup(message: OpenMessage) -> None:
    """Postpone the next look-up after a failure, so that other messages come first.

    The delay grows with the message's age, up to LONGEST_WAIT; after the receipt window look-ups
    end.
    """
    now = utcnow()
    age = now - message.submitted_at
    is_expired = age > receipt_window()
    delay = min(max(MIN_RETRY_DELAY, age / 2), LONGEST_WAIT)
    next_lookup_at = None if is_expired else now + delay
    with db.engine.begin() as connection:
        set_lookup_times(connection, {message.id: next_lookup_at})
