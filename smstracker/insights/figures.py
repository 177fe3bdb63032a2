"""The figures of the page beside the bars: totals, failures, durations, prices. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import phonenumbers

from smstracker.insights.query import OutcomeCount
from smstracker.sms.status import State

MIN_SAMPLES = 20  # for percentiles
# The states of which a rate is a share; a message in another one may still reach any state.
RATE_STATES = (State.DELIVERED, State.FAILED, State.NO_RECEIPT, State.CANCELLED)


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
