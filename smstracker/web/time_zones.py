"""The names of time zones, and those that people type instead. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

# Files among the time zones that are none, or the server's own.
NOT_ZONES = frozenset({"localtime", "posixrules", "Factory"})
# The others repeat zones under an older name.
REGIONS = (
    *("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe"),
    *("Indian", "Pacific"),
)
MAX_ZONE_LENGTH = 64
UNNAMED_ZONE = "Etc/Unknown"  # the name that browsers use
# Named first of those with the same clock.
_FAMILIAR = (
    *("Europe/London", "Europe/Berlin", "Europe/Athens", "Europe/Istanbul", "Europe/Moscow"),
    *("Africa/Lagos", "Africa/Johannesburg", "Africa/Nairobi", "Asia/Dubai", "Asia/Kolkata"),
    *("Asia/Dhaka", "Asia/Bangkok", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney"),
    *("Pacific/Auckland", "America/New_York", "America/Chicago", "America/Denver"),
    *("America/Los_Angeles", "America/Anchorage", "America/Halifax", "America/Sao_Paulo"),
    *("America/Bogota", "America/Mexico_City", "America/Panama", "America/Phoenix"),
)
MAX_NAMED = 3
_OFFSET = re.compile(r"(?:utc|gmt)? ?([+−-]) ?(\d{1,2})(?::?(\d\d))?")


class UnknownZoneError(ValueError):
    """A text that means no zone, or several; the message names some, for who typed it."""


@cache
def zones_by_lower_name() -> dict[str, str]:
    """All names of zones, by their small letters."""
    # Cached: listing opens hundreds of files, which takes longer than a page of the log.
    return {name.lower(): name for name in available_timezones() if name not in NOT_ZONES}


@cache
def place_names() -> Sequence[str]:
    """The zones of places, the familiar ones first, then by name."""
    names = (name for name in zones_by_lower_name().values() if name.partition("/")[0] in REGIONS)
    return sorted(names, key=lambda name: (name not in _FAMILIAR, name))


def find_zone(text: str, year: int) -> str:
    """The one zone that a text means: its name, its place, or its abbreviation or offset.

    The letters may be small, and without accents. Several zones whose clocks agree in all of
    `year` count as one. Raises UnknownZoneError.
    """
    typed = printable_zone(" ".join(text.split()))
    name = _fold(typed)
    exact = zones_by_lower_name().get(name)
    if exact and not (_is_abbreviation(exact, year) or _OFFSET.fullmatch(name)):
        return exact
    zones = _zones_of_place(name) or _zones_of_time(name, year)
    by_clock: dict[object, str] = {}
    for zone in zones:
        by_clock.setdefault(_offsets(zone, year), zone)
    if len(by_clock) == 1:
        return zones[0]
    if by_clock:
        examples = _join(by_clock.values())
        raise UnknownZoneError(f"“{typed}” can be several zones. Type a place, such as {examples}.")
    near = _join(_near_names(name))
    advice = f"Did you mean {near}?" if near else f"Type a place, such as {_join(_FAMILIAR)}."
    raise UnknownZoneError(f"No time zone is called “{typed}”. {advice}")


def read_zone(text: str, year: int) -> str:
    """The zone of a name in any case as a browser reports it, also EST, or that a text means.

    Raises UnknownZoneError.
    """
    return zones_by_lower_name().get(text.lower()) or find_zone(text, year)


def printable_zone(text: str) -> str:
    """A text as it can be shown as the name of a zone."""
    return "".join(c for c in text if c.isprintable())[:MAX_ZONE_LENGTH] or UNNAMED_ZONE


def _fold(text: str) -> str:
    """The small letters of a name without accents, with _ for blanks as in the names of zones."""
    letters = unicodedata.normalize("NFKD", text.lower())
    return "".join(c for c in letters if not unicodedata.combining(c)).replace(" ", "_")


def _zones_of_place(name: str) -> Sequence[str]:
    return [zone for zone in place_names() if zone.lower().endswith(f"/{name}")]


def _zones_of_time(name: str, year: int) -> Sequence[str]:
    """The zones that have this abbreviation at some time of the year, or this offset in winter."""
    match = _OFFSET.fullmatch(name.replace("_", " "))
    if not match:
        return [zone for zone in place_names() if name.upper() in _abbreviations(zone, year)]
    sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    offset = offset if sign == "+" else -offset
    return [zone for zone in place_names() if min(_offsets(zone, year)) == offset]


def _is_abbreviation(zone: str, year: int) -> bool:
    """Whether a zone is called as its time, such as EST: it may not be the zone that is meant."""
    return zone != "UTC" and zone in _abbreviations(zone, year)


def _months(zone: str, year: int) -> Sequence[datetime]:
    in_zone = ZoneInfo(zone)
    return [datetime(year, month, 1, tzinfo=UTC).astimezone(in_zone) for month in range(1, 13)]


@cache
def _offsets(zone: str, year: int) -> Sequence[timedelta]:
    """The offset in each month."""
    return tuple(month.utcoffset() or timedelta() for month in _months(zone, year))


@cache
def _abbreviations(zone: str, year: int) -> frozenset[str]:
    return frozenset(month.tzname() or "" for month in _months(zone, year))


def _near_names(name: str) -> Iterable[str]:
    """The names of zones and places that are spelled like this, each zone once."""
    places = {zone.lower().rpartition("/")[2]: zone for zone in place_names()}
    candidates = places | {zone.lower(): zone for zone in place_names()}
    near = get_close_matches(name, candidates, MAX_NAMED, cutoff=0.7)
    return dict.fromkeys(candidates[match] for match in near)


def _join(names: Iterable[str]) -> str:
    """Some of the names: "A", "A or B", "A, B or C"."""
    *all_but_last, last = [*names][:MAX_NAMED] or [""]
    return f"{', '.join(all_but_last)} or {last}" if all_but_last else last
