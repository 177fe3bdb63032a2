"""How fast Twilio may be asked, by all workers together."""

import random
from datetime import timedelta

from smstracker.clock import utcnow
from smstracker.extensions import db, settings
from smstracker.models.work import Chore, Open, claim_silent

LOOKUPS = "lookups"
LONGEST_PAUSE = 60.0  # seconds


class Pace:
    """Back-off of one worker; its pauses hold for the others too, because they share a row."""

    def __init__(self) -> None:
        self._failures = 0

    def claim(self) -> list[Open]:
        """The messages to ask about in the next second; none if it is not time yet."""
        rate = settings().lookups_per_second
        with db.engine.begin() as connection:
            if Chore.claim(connection, LOOKUPS, timedelta()) is None:
                return []
            found = claim_silent(connection, rate)
            Chore.postpone(connection, LOOKUPS, utcnow() + timedelta(seconds=len(found) / rate))
        return found

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> timedelta:
        """How long to leave Twilio alone: twice as long each time, and never all at once."""
        self._failures += 1
        pause = min(2.0 ** min(self._failures, 10), LONGEST_PAUSE) * random.uniform(0.5, 1.0)
        return timedelta(seconds=pause)

    def back_off(self) -> None:
        with db.engine.begin() as connection:
            Chore.postpone(connection, LOOKUPS, utcnow() + self.failed())
