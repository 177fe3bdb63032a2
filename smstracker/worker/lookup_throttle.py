"""How fast Twilio may be asked, by all workers together."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.engine import Connection

from smstracker.clock import utcnow
from smstracker.database.engine import READS_ONLY
from smstracker.extensions import db, settings
from smstracker.models.jobs import CLOCK_TOLERANCE, ScheduledJob
from smstracker.models.lookup_queue import (
    OpenMessage,
    claim_due_messages,
    is_anything_due,
    set_lookup_times,
)

LOOKUPS = "lookups"
LONGEST_PAUSE = 60.0  # seconds
RETRY_AFTER = timedelta(minutes=5)
# What is reserved further ahead than this is a pause, and no turn that is worth waiting for.
LONGEST_TURN = timedelta(seconds=5)


class LookupBatch(NamedTuple):
    """The messages to ask about, and the seconds after which the rate allows it."""

    messages: list[OpenMessage]
    wait: float


class LookupThrottle:
    """Back-off of one worker; its pauses hold for the others too, because they share a row."""

    def __init__(self) -> None:
        self._failures = 0

    def claim(self) -> LookupBatch:
        """The messages to ask about next, at most a second's worth; none during a pause.

        They take their turn among the listing's requests, which would leave no room otherwise.
        """
        rate = settings().lookups_per_second
        with db.engine.connect().execution_options(**{READS_ONLY: True}) as connection:
            if not is_anything_due(connection):
                return LookupBatch([], 0)
        with db.engine.begin() as connection:
            now = utcnow()
            turn = _next_turn(connection, now)
            if turn > now + LONGEST_TURN:
                return LookupBatch([], 0)
            messages = claim_due_messages(connection, rate)
            ScheduledJob.postpone(
                connection, LOOKUPS, turn + timedelta(seconds=len(messages) / rate)
            )
        return LookupBatch(messages, (turn - now).total_seconds())

    def reserve(self) -> float:
        """Take one request out of the rate; the seconds until it may be made."""
        with db.engine.begin() as connection:
            now = utcnow()
            turn = _next_turn(connection, now)
            rate = settings().lookups_per_second
            ScheduledJob.postpone(connection, LOOKUPS, turn + timedelta(seconds=1 / rate))
        return (turn - now).total_seconds()

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> timedelta:
        """How long to leave Twilio alone: twice as long each time, and never all at once."""
        self._failures += 1
        pause = min(2.0 ** min(self._failures, 10), LONGEST_PAUSE) * random.uniform(0.5, 1.0)
        return timedelta(seconds=pause)

    def back_off(self, unasked: Sequence[OpenMessage]) -> None:
        """Let everybody pause. What was claimed and not asked about is due right after."""
        with db.engine.begin() as connection:
            now = utcnow()
            # The longer pause of another worker stays.
            until = max(_next_turn(connection, now), now + self.failed())
            ScheduledJob.postpone(connection, LOOKUPS, until)
            set_lookup_times(connection, {one.id: until for one in unasked})


def _next_turn(connection: Connection, now: datetime) -> datetime:
    """When the rate allows the next request; nobody else takes it until the transaction ends.

    A time further away than any pause was set by a clock that was ahead, and counts as now.
    """
    due_at = ScheduledJob.lock(connection, LOOKUPS)
    was_ahead = due_at > now + timedelta(seconds=LONGEST_PAUSE) + CLOCK_TOLERANCE
    return now if was_ahead else max(due_at, now)


def postpone(one: OpenMessage) -> None:
    """Ask about it later, so that one that cannot be asked about does not stand before others.

    The longer it has been open the later, and not for ever.
    """
    now = utcnow()
    age: timedelta = now - one.created_at
    is_hopeless = age > timedelta(hours=settings().receipt_window_hours)
    later = None if is_hopeless else now + max(RETRY_AFTER, age / 2)
    with db.engine.begin() as connection:
        set_lookup_times(connection, {one.id: later})
