"""The numbers of the page, from what was counted. Pure."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import phonenumbers

from smstracker.insights.query import Outcomes
from smstracker.models.insight_rollups import HALF_HOUR
from smstracker.sms.status import State
from smstracker.web.time_range import TimeRange

FEWEST_SAMPLES = 20
HOURS_UP_TO = timedelta(hours=49)  # two days, one of which may have 25 hours
DAYS_UP_TO = timedelta(days=93)
# What a rate is a share of: the others may still become anything.
ENDED = (State.DELIVERED, State.FAILED, State.NO_RECEIPT, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour, day or week, as the reader's zone has it."""

    label: str
    tick: str
    counts: dict[State, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class DurationStats:
    """How long deliveries took, in seconds; None below FEWEST_SAMPLES."""

    name: str
    samples: int
    percentiles: tuple[int, int, int] | None


def totals(counted: Iterable[Outcomes]) -> dict[State, int]:
    """The honest totals; each message is in one of them."""
    found = dict.fromkeys(State, 0)
    for one in counted:
        found[one.state] += one.count
    return found


def failures(counted: Iterable[Outcomes]) -> list[tuple[str | None, int]]:
    """(error code, how many failed with it), the most frequent first."""
    found: Counter[str | None] = Counter()
    for one in counted:
        if one.state is State.FAILED:
            found[one.error_code] += one.count
    return sorted(found.items(), key=lambda item: (-item[1], item[0] or ""))


def starts(period: TimeRange, first: datetime | None, now: datetime) -> tuple[str, list[datetime]]:
    """("hour", "day" or "week", where each begins); `first` is when the first message was made."""
    zone = ZoneInfo(period.zone)
    since = period.since or first or now
    until = min(period.until or now, now)
    if until - since > DAYS_UP_TO:
        since = min(max(since, first or since), until)
    length = until - since
    unit = "hour" if length <= HOURS_UP_TO else "day" if length <= DAYS_UP_TO else "week"
    return unit, _starts(unit, since, until, zone)


def bars(
    counted: Iterable[Outcomes], unit: str, starts: Sequence[datetime], zone: ZoneInfo
) -> list[Bar]:
    """What has no message is an empty bar; what begins before the first bar counts as of it."""
    found: list[Counter[State]] = [Counter() for _ in starts]
    for one in counted:
        found[max(bisect_right(starts, one.began_at) - 1, 0)][one.state] += one.count
    return [
        _bar(unit, at.astimezone(zone), counts) for at, counts in zip(starts, found, strict=True)
    ]


def _starts(unit: str, since: datetime, until: datetime, zone: ZoneInfo) -> list[datetime]:
    at = _start(unit, since, zone)
    starts = [at]
    while (at := _following(unit, at, zone)) < until:
        starts.append(at)
    return starts


def _start(unit: str, moment: datetime, zone: ZoneInfo) -> datetime:
    local = moment.astimezone(zone)
    if unit == "hour":
        # By subtraction, because the hour that is had twice must stay two.
        return moment.astimezone(UTC) - timedelta(
            minutes=local.minute, seconds=local.second, microseconds=local.microsecond
        )
    day = local.date()
    return _midnight(day - timedelta(days=day.weekday() if unit == "week" else 0), zone)


def _following(unit: str, at: datetime, zone: ZoneInfo) -> datetime:
    if unit == "hour":
        # Where the clocks move by half an hour, the hours of the day begin elsewhere from then on.
        return _start(unit, at + timedelta(hours=1), zone)
    days = timedelta(days=7 if unit == "week" else 1)
    return _midnight(at.astimezone(zone).date() + days, zone)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _bar(unit: str, local: datetime, counts: Counter[State]) -> Bar:
    label = f"{local:%-d %b %Y}"
    tick = f"{local:%-d %b}"
    if unit == "hour":
        label, tick = f"{label}, {local:%H:%M %Z}", f"{local:%H:%M}"
    if unit == "week":
        label = f"Week of {label}"
    return Bar(label, tick, {state: counts[state] for state in State})


def by_sender(found: Mapping[str | None, Counter[int]], *, readable: bool) -> list[DurationStats]:
    """For each sender; of a number its last digits alone unless it may be `readable`."""
    return _times((_sender(name, readable), took) for name, took in found.items())


def by_country(found: Mapping[str, Counter[int]]) -> list[DurationStats]:
    """For each calling code."""
    return _times((country(digits), took) for digits, took in found.items())


def _sender(sender: str | None, readable: bool) -> str:
    if sender is None:
        return "Messaging Service"
    is_number = sender.lstrip("+").isdecimal()
    return f"…{sender[-4:]}" if is_number and not readable else sender


def country(number_begins: str) -> str:
    """The calling code, and the main one of the countries that share it."""
    for digits in range(1, len(number_begins) + 1):
        code = int(number_begins[:digits])
        region = phonenumbers.region_code_for_country_code(code)
        if region != "ZZ":
            return f"+{code}" if region == "001" else f"+{code} ({region})"
    return f"+{number_begins}"


def _times(named: Iterable[tuple[str, Counter[int]]]) -> list[DurationStats]:
    groups: dict[str, Counter[int]] = {}
    for name, seconds in named:
        groups.setdefault(name, Counter()).update(seconds)
    made = [
        DurationStats(name, seconds.total(), percentiles(seconds))
        for name, seconds in groups.items()
    ]
    return sorted(made, key=lambda times: (-times.samples, times.name))


def percentiles(seconds: Counter[int]) -> tuple[int, int, int] | None:
    """p50, p90 and p99 by nearest rank; None if there are too few samples."""
    if seconds.total() < FEWEST_SAMPLES:
        return None
    p50, p90, p99 = (_percentile(seconds, share) for share in (50, 90, 99))
    return p50, p90, p99


def _percentile(seconds: Counter[int], share: int) -> int:
    rank, seen = -(-seconds.total() * share // 100), 0
    for value in sorted(seconds):
        seen += seconds[value]
        if seen >= rank:
            return value
    raise ValueError("there are no samples")


def prices(found: Mapping[str | None, tuple[int, int]]) -> list[tuple[str, Decimal, int]]:
    """(currency, sum, messages) of the known prices."""
    known = [(unit, Decimal(sums[0]) / 1_000_000, sums[1]) for unit, sums in found.items() if unit]
    return sorted(known)


def money(amount: Decimal) -> str:
    """Two decimals as is usual, more where two would hide what a few messages cost."""
    return f"{amount:,.2f}" if abs(amount) >= 1 or not amount else f"{amount.normalize():f}"


def is_cut(starts: Iterable[datetime]) -> bool:
    """Whether bars begin inside the half hours in which we count."""
    return any(at.timestamp() % HALF_HOUR for at in starts)


def axis(highest: int) -> list[int]:
    """Round numbers from 0 up to at least `highest`, five at most."""
    step = 1
    while step * 4 < highest:
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    return [step * n for n in range(-(-max(highest, 1) // step) + 1)]
