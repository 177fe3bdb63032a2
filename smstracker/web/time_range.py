"""A range of time that people choose, in their own time zone. Pure."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from smstracker.web.time_zones import UnknownZoneError, printable_zone, read_zone

# The name in the URL, the length and the label.
PERIODS = {
    "24h": (timedelta(hours=24), "Last 24 hours"),
    "7d": (timedelta(days=7), "Last 7 days"),
    "30d": (timedelta(days=30), "Last 30 days"),
}
CUSTOM = "custom"
# The names of the arguments of a URL.
ARGUMENTS = ("period", "from", "to", "zone")
# Beyond these, the offset of a zone could exceed the range of datetime.
EARLIEST, LATEST = date(1900, 1, 1), date(9000, 1, 1)


class TimeRangeError(ValueError):
    """Arguments that are no range of time; the text says why, to the reader."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From `since`, inclusive, to `until`, exclusive; both in UTC, None without a bound.

    `name` is one of PERIODS, CUSTOM, or None for all time; `first` and `last` are the days of a
    custom one, both inclusive, in `zone` (an IANA name). `unknown_zone` is a name that is no zone
    here; then `zone` is UTC.
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
        """The notice about an unknown zone; empty if it is known."""
        if not self.unknown_zone:
            return ""
        return f"The time zone “{self.unknown_zone}” is not known here, so the days are UTC days."

    @property
    def arguments(self) -> dict[str, str]:
        """The arguments of a URL for this range."""
        if self.name is None:
            return {}
        days = {"from": self.first, "to": self.last} if self.name == CUSTOM else {}
        day_arguments = {name: day.isoformat() for name, day in days.items() if day}
        return {"period": self.name, **day_arguments, "zone": self.unknown_zone or self.zone}

    @property
    def words(self) -> str:
        """The label of the range; a custom one names its zone."""
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


def read_period(args: Mapping[str, str], now: datetime, default: str | None = None) -> TimeRange:
    """The range in the arguments of a URL. Raises TimeRangeError.

    Days alone mean a custom range, so that a form works without naming it.
    """
    zone, unknown_zone = _parse_zone(args.get("zone", ""), now.year)
    in_zone = partial(TimeRange, zone=zone, unknown_zone=unknown_zone)
    days = [args.get(end, "").strip() for end in ("from", "to")]
    name = args.get("period") or (CUSTOM if any(days) else default)
    if name in PERIODS:
        return in_zone(name, since=now - PERIODS[name][0])
    if name in (None, "all"):
        return in_zone()
    if name != CUSTOM:
        raise TimeRangeError("There is no such range of time. Choose one of those shown.")
    first, last = (_parse_day(day) for day in days)
    if first is None and last is None:
        raise TimeRangeError("Choose the first or the last day of the range.")
    if first and last and first > last:
        raise TimeRangeError("The range ends before it begins.")
    since = midnight(first, ZoneInfo(zone)) if first else None
    until = midnight(last + timedelta(days=1), ZoneInfo(zone)) if last else None
    return in_zone(CUSTOM, since, until, first=first, last=last)


def _parse_zone(name: str, year: int) -> tuple[str, str]:
    """The zone of a name in any case, or UTC and the name: a browser may report any, also EST."""
    name = name.strip()
    if not name:
        return "UTC", ""
    try:
        return read_zone(name, year), ""
    except UnknownZoneError:
        return "UTC", printable_zone(name)


def _parse_day(text: str) -> date | None:
    if not text:
        return None
    with suppress(ValueError):
        day = date.fromisoformat(text)
        if EARLIEST <= day <= LATEST:
            return day
    raise TimeRangeError("Type each day like 2026-05-03.")


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a day of a time zone begins."""
    return datetime.combine(day, time(), zone).astimezone(UTC)
