"""Quiet hours: a daily window, by the clock of a zone, in which nothing of a batch goes. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` to `end`, in minutes after midnight; over midnight if the end is smaller."""

    start: int
    end: int
    zone: str

    def holds(self, now: datetime) -> bool:
        """Whether the clock of the zone is within the window."""
        clock = now.astimezone(ZoneInfo(self.zone))
        minute = clock.hour * 60 + clock.minute
        if self.start <= self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def ends_after(self, now: datetime) -> datetime:
        """Return the first end of the window after `now`, in UTC."""
        zone = ZoneInfo(self.zone)
        day = now.astimezone(zone).date()
        at = time(self.end // 60 % 24, self.end % 60)
        # On a day whose clocks skip that time, the hour after it.
        ends = (datetime.combine(day + timedelta(days=d), at, zone).astimezone(UTC) for d in (0, 1))
        return next((end for end in ends if end > now), now + timedelta(days=1))

    @property
    def words(self) -> str:
        """The window as people write it: "21:00 to 08:00 (Europe/Berlin)"."""
        return f"{format_minute(self.start)} to {format_minute(self.end)} ({self.zone})"


def format_minute(minute: int) -> str:
    return f"{minute // 60 % 24:02}:{minute % 60:02}"


def read_minute(text: str) -> int | None:
    """Read a time of day as "21:00"; None if it is none."""
    try:
        at = time.fromisoformat(text)
    except ValueError:
        return None
    return at.hour * 60 + at.minute
