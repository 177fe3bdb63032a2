"""Figures as the page shows them: bars, failures, durations, prices. Pure."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import phonenumbers

from smstracker.insights.query import OutcomeCount
from smstracker.models.insight_rollups import HALF_HOUR
from smstracker.sms.status import State
from smstracker.web.time_range import TimeRange

MIN_SAMPLES = 20  # for percentiles
MAX_HOURLY_RANGE = timedelta(hours=49)  # two days, one of which may have 25 hours
MAX_DAILY_RANGE = timedelta(days=93)
# The states of which a rate is a share; a message in another one may still reach any state.
RATE_STATES = (State.DELIVERED, State.FAILED, State.NO_RECEIPT, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour, day or week in the reader's zone."""

    label: str
    tick: str
    counts: dict[State, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class DurationStats:
    """Seconds from accept to delivery: p50, p90, p99, or None below MIN_SAMPLES."""

    name: str
    samples: int
    percentiles: tuple[int, int, int] | None


def totals_by_state(outcomes: Iterable[OutcomeCount]) -> dict[State, int]:
    totals = dict.fromkeys(State, 0)
    for outcome in outcomes:
        totals[outcome.state] += outcome.count
    return totals


def failures_by_code(outcomes: Iterable[OutcomeCount]) -> list[tuple[str | None, int]]:
    """(error code, failures), most frequent first."""
    counts: Counter[str | None] = Counter()
    for outcome in outcomes:
        if outcome.state is State.FAILED:
            counts[outcome.error_code] += outcome.count
    return sorted(counts.items(), key=lambda item: (-item[1], item[0] or ""))


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
    outcomes: Iterable[OutcomeCount], unit: str, starts: Sequence[datetime], zone: ZoneInfo
) -> list[Bar]:
    """A bar for each start; an outcome from before the first counts in the first."""
    counters: list[Counter[State]] = [Counter() for _ in starts]
    for outcome in outcomes:
        index = max(bisect_right(starts, outcome.bucket_start) - 1, 0)
        counters[index][outcome.state] += outcome.count
    return [
        _bar(unit, start.astimezone(zone), counts)
        for start, counts in zip(starts, counters, strict=True)
    ]


def _unit_start(unit: str, moment: datetime, zone: ZoneInfo) -> datetime:
    local = moment.astimezone(zone)
    if unit == "hour":
        # Subtract in UTC: the hour that the clock repeats must stay two hours.
        return moment.astimezone(UTC) - timedelta(
            minutes=local.minute, seconds=local.second, microseconds=local.microsecond
        )
    day = local.date()
    return _midnight(day - timedelta(days=day.weekday() if unit == "week" else 0), zone)


def _next_start(unit: str, start: datetime, zone: ZoneInfo) -> datetime:
    if unit == "hour":
        # After a change of half an hour, local hours begin at another minute of UTC.
        return _unit_start(unit, start + timedelta(hours=1), zone)
    days = timedelta(days=7 if unit == "week" else 1)
    return _midnight(start.astimezone(zone).date() + days, zone)


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


def durations_by_sender(
    durations: Mapping[str | None, Counter[int]], *, show_numbers: bool
) -> list[DurationStats]:
    """Statistics for each sender; without `show_numbers`, a number is cut to its last digits."""
    return _duration_stats(
        (_sender_name(sender, show_numbers), seconds) for sender, seconds in durations.items()
    )


def durations_by_country(durations: Mapping[str, Counter[int]]) -> list[DurationStats]:
    """Statistics for each calling code."""
    return _duration_stats(
        (describe_calling_code(prefix), seconds) for prefix, seconds in durations.items()
    )


def _sender_name(sender: str | None, show_numbers: bool) -> str:
    if sender is None:
        return "Messaging Service"
    is_number = sender.lstrip("+").isdecimal()
    return f"…{sender[-4:]}" if is_number and not show_numbers else sender


def describe_calling_code(number_prefix: str) -> str:
    """The calling code that a number begins with, and the main one of its regions."""
    for length in range(1, len(number_prefix) + 1):
        code = int(number_prefix[:length])
        region = phonenumbers.region_code_for_country_code(code)
        if region != "ZZ":
            return f"+{code}" if region == "001" else f"+{code} ({region})"
    return f"+{number_prefix}"


def _duration_stats(durations: Iterable[tuple[str, Counter[int]]]) -> list[DurationStats]:
    groups: dict[str, Counter[int]] = {}
    for name, seconds in durations:
        groups.setdefault(name, Counter()).update(seconds)
    rows = [
        DurationStats(name, seconds.total(), percentiles(seconds))
        for name, seconds in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row.samples, row.name))


def percentiles(seconds: Counter[int]) -> tuple[int, int, int] | None:
    """p50, p90 and p99 by nearest rank; None below MIN_SAMPLES."""
    if seconds.total() < MIN_SAMPLES:
        return None
    p50, p90, p99 = (_percentile(seconds, percent) for percent in (50, 90, 99))
    return p50, p90, p99


def _percentile(seconds: Counter[int], percent: int) -> int:
    rank, cumulative = -(-seconds.total() * percent // 100), 0
    for value in sorted(seconds):
        cumulative += seconds[value]
        if cumulative >= rank:
            return value
    raise ValueError("there are no samples")


def prices(spend: Mapping[str | None, tuple[int, int]]) -> list[tuple[str, Decimal, int]]:
    """(currency, sum, messages) of the messages whose price is known."""
    return sorted(
        (currency, Decimal(micros) / 1_000_000, count)
        for currency, (micros, count) in spend.items()
        if currency
    )


def format_money(amount: Decimal) -> str:
    """Two decimals, or more where two would hide what a few messages cost."""
    return f"{amount:,.2f}" if abs(amount) >= 1 or not amount else f"{amount.normalize():f}"


def splits_half_hours(starts: Iterable[datetime]) -> bool:
    """Whether bars start inside a counted half hour."""
    return any(start.timestamp() % HALF_HOUR for start in starts)


def axis(highest: int) -> list[int]:
    """Round numbers from 0 up to at least `highest`, five at most."""
    step = 1
    while step * 4 < highest:
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    return [step * n for n in range(-(-max(highest, 1) // step) + 1)]
