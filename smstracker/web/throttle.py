"""Rate limits of one process against floods on disk and log; threads share them."""

from threading import Lock

from smstracker.clock import MINUTE, utcnow

MAX_BUCKETS = 1000


class TokenBucket:
    """Allow `per_second`, and up to `burst` at once after a quiet time."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._tokens = burst
        self._refilled_at = utcnow()
        self._lock = Lock()

    def take(self) -> bool:
        """Take a token; False if none is left."""
        with self._lock:
            now = utcnow()
            # max(): the clock may have been set back.
            seconds = max((now - self._refilled_at).total_seconds(), 0.0)
            self._tokens = min(self._tokens + seconds * self._per_second, self._burst)
            self._refilled_at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


class OwnerBuckets:
    """A bucket for each user, forgotten once there are many: a new one is full."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._buckets: dict[int, TokenBucket] = {}
        self._lock = Lock()

    def take(self, owner_id: int) -> bool:
        """Take a token of a user; False if none is left."""
        with self._lock:
            if len(self._buckets) >= MAX_BUCKETS:
                self._buckets.clear()
            new_bucket = TokenBucket(self._per_second, self._burst)
            bucket = self._buckets.setdefault(owner_id, new_bucket)
        return bucket.take()


class LogThrottle:
    """Allow `per_minute` log lines and count those that it suppresses."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._requested = 0
        self._started_at = utcnow()
        self._lock = Lock()

    def take(self) -> bool:
        """Whether one more line may be written."""
        with self._lock:
            self._requested += 1
            return self._requested <= self._per_minute

    def suppressed_count(self) -> int:
        """Lines suppressed in the minute that has just ended; 0 while it lasts."""
        with self._lock:
            now = utcnow()
            if abs(now - self._started_at) < MINUTE:
                return 0
            suppressed = max(self._requested - self._per_minute, 0)
            self._requested, self._started_at = 0, now
            return suppressed
