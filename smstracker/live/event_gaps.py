"""Event ids that are not visible yet because their transactions commit late."""

# Transactions end sooner (see TIME_LIMITS in `database.engine`): an id missing for longer was
# rolled back.
MISSING_TIMEOUT = 15.0  # seconds
MAX_MISSING = 500


class EventGaps:
    """Follows the ids of events that were read; times are those of `time.monotonic`."""

    def __init__(self, position: int) -> None:
        self.newest_id = position
        self._missing: dict[int, float] = {}  # id: when to give it up

    @property
    def missing_ids(self) -> list[int]:
        return list(self._missing)

    @property
    def position(self) -> int:
        """The highest id at or below which none is missing."""
        return min(self._missing, default=self.newest_id + 1) - 1

    def add(self, event_id: int, now: float) -> None:
        """Note that an event was read, and that those skipped before it are missing."""
        if self._missing.pop(event_id, None) is None and event_id > self.newest_id:
            first = max(self.newest_id + 1, event_id - MAX_MISSING)
            self._missing |= dict.fromkeys(range(first, event_id), now + MISSING_TIMEOUT)
            self.newest_id = event_id

    def expire(self, now: float) -> None:
        """Give up ids missing for too long, and all but the newest MAX_MISSING."""
        pending = sorted(number for number, until in self._missing.items() if until > now)
        self._missing = {number: self._missing[number] for number in pending[-MAX_MISSING:]}
