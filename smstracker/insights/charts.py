"""The bars of the page, by hour, day or week of the reader's zone. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from smstracker.sms.status import State
from smstracker.web.time_range import TimeRange, midnight

MAX_HOURLY_RANGE = timedelta(hours=49)  # two days, one of which may have 25 hours
MAX_DAILY_RANGE = timedelta(days=93)


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour, day or week in the reader's zone."""

    label: str
    tick: str
    counts: dict[State, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def bar_starts(
    period: TimeRange, first_at: datetime | None, now: datetime
) -> tuple[str, list[datetime]]:
    """The unit ("hour", "day" or "week") and the start of each bar.

    `first_at` is when the first message was created.
    """
    zone = ZoneInfo(period.zone)
    since = period.since or first_at or now
    until = min(period.until or now, now)
    if until - since > MAX_DAILY_RANGE:
        since = min(max(since, first_at or since), until)
    length = until - since
    unit = "hour" if length <= MAX_HOURLY_RANGE else "day" if length <= MAX_DAILY_RANGE else "week"
    start = _unit_start(unit, since, zone)
    starts = [start]
    while (start := _next_start(unit, start, zone)) < until:
        starts.append(start)
    return unit, starts


def bars(
    outcomes: Iterable[dict[State, int]], unit: str, starts: Iterable[datetime], zone: ZoneInfo
) -> list[Bar]:
    """A bar for each start, with its outcomes."""
    pairs = zip(starts, outcomes, strict=True)
    return [_bar(unit, start.astimezone(zone), counts) for start, counts in pairs]


def _unit_start(unit: str, moment: datetime, zone: ZoneInfo) -> datetime:
    local = moment.astimezone(zone)
    if unit == "hour":
        # Subtract in UTC: the hour that the clock repeats must stay two hours.
        return moment.astimezone(UTC) - timedelta(
            minutes=local.minute, seconds=local.second, microseconds=local.microsecond
        )
    day = local.date()
    return midnight(day - timedelta(days=day.weekday() if unit == "week" else 0), zone)


def _next_start(unit: str, start: datetime, zone: ZoneInfo) -> datetime:
    if unit == "hour":
        # After a change of half an hour, local hours begin at another minute of UTC.
        return _unit_start(unit, start + timedelta(hours=1), zone)
    days = timedelta(days=7 if unit == "week" else 1)
    return midnight(start.astimezone(zone).date() + days, zone)


def _bar(unit: str, local: datetime, counts: dict[State, int]) -> Bar:
    label, tick = f"{local:%-d %b %Y}", f"{local:%-d %b}"
    if unit == "hour":
        label, tick = f"{label}, {local:%H:%M %Z}", f"{local:%H:%M}"
    if unit == "week":
        label = f"Week of {label}"
    return Bar(label, tick, counts)


def axis(highest: int) -> list[int]:
    """Round numbers from 0 up to at least `highest`, five at most."""
    step = 1
    while step * 4 < highest:
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    return [step * n for n in range(-(-max(highest, 1) // step) + 1)]
