"""Budgets of one process, so that whoever posts rubbish fills neither the disk nor the log."""

from datetime import timedelta
from threading import Lock

from smstracker.clock import utcnow

MINUTE = timedelta(minutes=1)


class TokenBucket:
    """So many a second, and a `burst` at once after a quiet time; threads share it."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._left = burst
        self._at = utcnow()
        self._guard = Lock()

    def take(self) -> bool:
        """Whether there is enough for one more."""
        with self._guard:
            now = utcnow()
            # The clock may have been set back.
            passed = max((now - self._at).total_seconds(), 0.0)
            self._left = min(self._left + passed * self._per_second, self._burst)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


class LogThrottle:
    """A few log lines a minute, and the number of those that got none; threads share it."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._wanted = 0
        self._began = utcnow()
        self._guard = Lock()

    def take(self) -> bool:
        """Whether one more may be written."""
        with self._guard:
            self._wanted += 1
            return self._wanted <= self._per_minute

    def suppressed_count(self) -> int:
        """How many got no line in the minute that has just ended; 0 while it lasts."""
        with self._guard:
            now = utcnow()
            if abs(now - self._began) < MINUTE:
                return 0
            left_out = max(self._wanted - self._per_minute, 0)
            self._wanted, self._began = 0, now
            return left_out
