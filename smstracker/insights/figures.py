"""The figures of the page beside the bars: totals, failures, durations, prices. Pure."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import accumulate

import phonenumbers

from smstracker.sms.status import State

MIN_SAMPLES = 20  # for percentiles
# The states of which a rate is a share. A cancelled message was never to arrive; one in any other
# state may still reach any.
RATE_STATES = (State.DELIVERED, State.FAILED, State.NO_RECEIPT)


@dataclass(frozen=True, slots=True)
class DurationStats:
    """Seconds from accept to delivery: p50, p90, p99, or None below MIN_SAMPLES."""

    name: str
    samples: int
    percentiles: tuple[int, int, int] | None


def totals_by_state(outcomes: Iterable[dict[State, int]]) -> dict[State, int]:
    bars = list(outcomes)
    return {state: sum(counts[state] for counts in bars) for state in State}


def durations_by_sender(
    durations: Mapping[str, Counter[int]], *, show_numbers: bool
) -> list[DurationStats]:
    """Statistics for each sender; without `show_numbers`, a number is cut to its last digits."""
    return _duration_stats(durations, partial(_sender_name, show_numbers=show_numbers))


def durations_by_country(durations: Mapping[str, Counter[int]]) -> list[DurationStats]:
    """Statistics for each calling code."""
    return _duration_stats(durations, _describe_calling_code)


def _sender_name(sender: str, show_numbers: bool) -> str:
    if not sender:
        return "Messaging Service"
    is_number = sender.lstrip("+").isdecimal()
    return f"…{sender[-4:]}" if is_number and not show_numbers else sender


def _describe_calling_code(code: str) -> str:
    """A calling code, and the main one of its regions."""
    region = phonenumbers.region_code_for_country_code(int(code))
    return f"+{code}" if region in ("001", "ZZ") else f"+{code} ({region})"


def _duration_stats(
    durations: Mapping[str, Counter[int]], describe: Callable[[str], str]
) -> list[DurationStats]:
    groups: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for key, seconds in durations.items():
        groups[describe(key)].update(seconds)
    rows = (DurationStats(name, s.total(), percentiles(s)) for name, s in groups.items())
    return sorted(rows, key=lambda row: (-row.samples, row.name))


def percentiles(seconds: Counter[int]) -> tuple[int, int, int] | None:
    """p50, p90 and p99 by nearest rank; None below MIN_SAMPLES."""
    if seconds.total() < MIN_SAMPLES:
        return None
    values = sorted(seconds)
    ranks = list(accumulate(seconds[value] for value in values))
    p50, p90, p99 = (values[bisect_left(ranks, ranks[-1] * share / 100)] for share in (50, 90, 99))
    return p50, p90, p99


def prices(spend: Mapping[str, tuple[int, int]]) -> list[tuple[str, Decimal, int]]:
    """(currency, sum, messages) of the messages whose price is known."""
    return sorted(
        (currency, Decimal(micros) / 1_000_000, count)
        for currency, (micros, count) in spend.items()
    )


def format_money(amount: Decimal) -> str:
    """Two decimals, or more where two would hide what a few messages cost."""
    return f"{amount:,.2f}" if abs(amount) >= 1 or not amount else f"{amount.normalize():f}"
