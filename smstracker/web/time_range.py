"""A range of time as people choose it, in their own time zone. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

# The name in the URL, its length and its words.
PERIODS = {
    "24h": (timedelta(hours=24), "Last 24 hours"),
    "7d": (timedelta(days=7), "Last 7 days"),
    "30d": (timedelta(days=30), "Last 30 days"),
}
CUSTOM = "custom"
# The names of the arguments of a URL.
ARGUMENTS = ("period", "from", "to", "zone")
# Files beside the zones: the server's own zone, and what stands for none.
NO_ZONES = frozenset({"localtime", "posixrules", "Factory"})
LONGEST_ZONE = 64
UNNAMED_ZONE = "Etc/Unknown"  # as browsers say it
# Beyond these, a zone's offset would leave what a datetime can hold.
EARLIEST, LATEST = date(1900, 1, 1), date(9000, 1, 1)


class TimeRangeError(ValueError):
    """What was asked for is no range of time; says so in the reader's words."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From `since`, inclusive, to `until`, exclusive; both in UTC, None without a bound.

    `name` is one of PERIODS, CUSTOM, or None for all time; `first` and `last` are the days of a
    custom one, both inclusive, in `zone` (an IANA name). `unknown_zone` is the name that was given
    if it is none here; then `zone` is UTC.
    """

    name: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    zone: str = "UTC"
    first: date | None = None
    last: date | None = None
    unknown_zone: str = ""

    @property
    def zone_note(self) -> str:
        """What to say of a zone that is not known; empty if it is."""
        if not self.unknown_zone:
            return ""
        return f"The time zone “{self.unknown_zone}” is not known here, so the days are UTC days."

    @property
    def arguments(self) -> dict[str, str]:
        """What stands for it in a URL."""
        if self.name is None:
            return {}
        days = {"from": self.first, "to": self.last} if self.name == CUSTOM else {}
        given = {name: day.isoformat() for name, day in days.items() if day}
        return {"period": self.name, **given, "zone": self.unknown_zone or self.zone}

    @property
    def words(self) -> str:
        """The range for people; a custom one with its zone."""
        if self.name is None:
            return "All time"
        if self.name in PERIODS:
            return PERIODS[self.name][1]
        first, last = (f"{day:%-d %b %Y}" if day else "" for day in (self.first, self.last))
        if first == last:
            return f"{first} ({self.zone})"
        if not (first and last):
            return f"since {first} ({self.zone})" if first else f"until {last} ({self.zone})"
        return f"{first} to {last} ({self.zone})"


def read_period(
    arguments: Mapping[str, str], now: datetime, default: str | None = None
) -> TimeRange:
    """The range that the arguments of a URL ask for. Raises TimeRangeError.

    Days alone mean a custom range, so that a form works without naming it.
    """
    zone, unknown_zone = _zone(arguments.get("zone", ""))
    days = [arguments.get(end, "").strip() for end in ("from", "to")]
    name = arguments.get("period") or (CUSTOM if any(days) else default)
    if name in PERIODS:
        since = now - PERIODS[name][0]
        return TimeRange(name, since=since, zone=zone, unknown_zone=unknown_zone)
    if name != CUSTOM:
        if name in (None, "all"):
            return TimeRange(zone=zone, unknown_zone=unknown_zone)
        raise TimeRangeError(
            "There is no such range of time. Choose one of those that are offered."
        )
    first, last = (_day(day) for day in days)
    if first is None and last is None:
        raise TimeRangeError("Choose the first or the last day of the range.")
    if first and last and first > last:
        raise TimeRangeError("The range ends before it begins.")
    return TimeRange(
        CUSTOM,
        since=_midnight(first, zone) if first else None,
        until=_midnight(last + timedelta(days=1), zone) if last else None,
        zone=zone,
        first=first,
        last=last,
        unknown_zone=unknown_zone,
    )


def _zone(given: str) -> tuple[str, str]:
    """The zone of that name in any case, or UTC and the name: a browser may report any."""
    name = given.strip()
    if not name:
        return "UTC", ""
    zone = _zones().get(name.lower())
    if zone:
        return zone, ""
    return "UTC", "".join(c for c in name if c.isprintable())[:LONGEST_ZONE] or UNNAMED_ZONE


@cache
def _zones() -> dict[str, str]:
    # Listed once: that opens hundreds of files, which would cost more than a page of the log.
    return {name.lower(): name for name in available_timezones() if name not in NO_ZONES}


def _day(typed: str) -> date | None:
    if not typed:
        return None
    try:
        day = date.fromisoformat(typed)
    except ValueError:
        day = None
    if day is None or not EARLIEST <= day <= LATEST:
        raise TimeRangeError("Type each day like 2026-05-03.")
    return day


def _midnight(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)
