"""How fast Twilio may be asked, by all workers together."""

import random
from collections.abc import Sequence
from datetime import timedelta

from smstracker.clock import utcnow
from smstracker.database import READS_ONLY
from smstracker.extensions import db, settings
from smstracker.models.work import Chore, Open, claim_silent, is_anything_due, plan_lookups

LOOKUPS = "lookups"
LONGEST_PAUSE = 60.0  # seconds
RETRY_AFTER = timedelta(minutes=5)


class Pace:
    """Back-off of one worker; its pauses hold for the others too, because they share a row."""

    def __init__(self) -> None:
        self._failures = 0

    def claim(self) -> list[Open]:
        """The messages to ask about in the next second; none if it is not time yet."""
        rate = settings().lookups_per_second
        pause = timedelta(seconds=LONGEST_PAUSE)
        with db.engine.connect().execution_options(**{READS_ONLY: True}) as connection:
            if not is_anything_due(connection):
                return []
        with db.engine.begin() as connection:
            if not Chore.claim(connection, LOOKUPS, timedelta(), every=pause):
                return []
            found = claim_silent(connection, rate)
            Chore.put_off(connection, LOOKUPS, utcnow() + timedelta(seconds=len(found) / rate))
        return found

    def reserve(self) -> float:
        """Take one request out of the rate; the seconds until it may be made."""
        now, pause = utcnow(), timedelta(seconds=LONGEST_PAUSE)
        with db.engine.begin() as connection:
            due_at = Chore.lock(connection, LOOKUPS)
            at = now if due_at > now + pause else max(due_at, now)
            rate = settings().lookups_per_second
            Chore.put_off(connection, LOOKUPS, at + timedelta(seconds=1 / rate))
        return (at - now).total_seconds()

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> timedelta:
        """How long to leave Twilio alone: twice as long each time, and never all at once."""
        self._failures += 1
        pause = min(2.0 ** min(self._failures, 10), LONGEST_PAUSE) * random.uniform(0.5, 1.0)
        return timedelta(seconds=pause)

    def back_off(self, unasked: Sequence[Open]) -> None:
        """Let everybody pause. What was claimed and not asked about is due right after."""
        until = utcnow() + self.failed()
        with db.engine.begin() as connection:
            Chore.put_off(connection, LOOKUPS, until)
            plan_lookups(connection, {one.id: until for one in unasked})


def set_aside(one: Open) -> None:
    """Ask about it later, so that one that cannot be asked about does not stand before others.

    The longer it has been open the later, and not for ever.
    """
    now = utcnow()
    age: timedelta = now - one.created_at
    is_hopeless = age > timedelta(hours=settings().receipt_window_hours)
    later = None if is_hopeless else now + max(RETRY_AFTER, age / 2)
    with db.engine.begin() as connection:
        plan_lookups(connection, {one.id: later})
