"""The figures of the page beside the bars: totals, failures, durations, prices. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import phonenumbers

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


def totals_by_state(outcomes: Iterable[dict[State, int]]) -> dict[State, int]:
    bars = list(outcomes)
    return {state: sum(counts[state] for counts in bars) for state in State}


def sort_failures(failures: Mapping[str, int]) -> list[tuple[str | None, int]]:
    """(error code, failures), most frequent first; None without a code."""
    ordered = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    return [(code or None, count) for code, count in ordered]


def durations_by_sender(
    durations: Mapping[str, Counter[int]], *, show_numbers: bool
) -> list[DurationStats]:
    """Statistics for each sender; without `show_numbers`, a number is cut to its last digits."""
    return _duration_stats(
        (_sender_name(sender, show_numbers), seconds) for sender, seconds in durations.items()
    )


def durations_by_country(durations: Mapping[str, Counter[int]]) -> list[DurationStats]:
    """Statistics for each calling code."""
    return _duration_stats(
        (describe_calling_code(code), seconds) for code, seconds in durations.items()
    )


def _sender_name(sender: str, show_numbers: bool) -> str:
    if not sender:
        return "Messaging Service"
    is_number = sender.lstrip("+").isdecimal()
    return f"…{sender[-4:]}" if is_number and not show_numbers else sender


def describe_calling_code(code: str) -> str:
    """A calling code, and the main one of its regions."""
    region = phonenumbers.region_code_for_country_code(int(code))
    return f"+{code}" if region in ("001", "ZZ") else f"+{code} ({region})"


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


def prices(spend: Mapping[str, tuple[int, int]]) -> list[tuple[str, Decimal, int]]:
    """(currency, sum, messages) of the messages whose price is known."""
    return sorted(
        (currency, Decimal(micros) / 1_000_000, count)
        for currency, (micros, count) in spend.items()
    )


def format_money(amount: Decimal) -> str:
    """Two decimals, or more where two would hide what a few messages cost."""
    return f"{amount:,.2f}" if abs(amount) >= 1 or not amount else f"{amount.normalize():f}"
