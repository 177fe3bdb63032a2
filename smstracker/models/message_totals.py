"""Figures of a set of messages for /insights, and the packed form in which they are stored."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

NEVER = 2**62
EXACT_BELOW = 40  # seconds; a longer bin spans at most a twentieth of its durations
KeyT = TypeVar("KeyT")
Durations = defaultdict[KeyT, Counter[int]]


@dataclass(slots=True)
class MessageTotals:
    """Figures of a set of messages; they can be added up.

    `outcomes` counts messages by (state, error code). `by_sender` and `by_prefix` count deliveries
    by their seconds, for each sender and for the first digits of the recipient. `spend` is (micros,
    messages) by currency. From `stale_at` (epoch seconds) on, silence alone changes the outcomes.
    """

    outcomes: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    by_sender: Durations[str | None] = field(default_factory=lambda: defaultdict(Counter))
    by_prefix: Durations[str] = field(default_factory=lambda: defaultdict(Counter))
    spend: dict[str | None, tuple[int, int]] = field(default_factory=dict)
    stale_at: int = NEVER

    def add(self, other: "MessageTotals") -> None:
        self.outcomes.update(other.outcomes)
        self.add_sums(other)
        self.stale_at = min(self.stale_at, other.stale_at)

    def add_sums(self, other: "MessageTotals") -> None:
        """Add all but the outcomes, which the page shows by hour or day."""
        for sender, durations in other.by_sender.items():
            self.by_sender[sender].update(durations)
        for prefix, durations in other.by_prefix.items():
            self.by_prefix[prefix].update(durations)
        for currency, (micros, count) in other.spend.items():
            self.add_spend(currency, micros, count)

    def add_spend(self, currency: str | None, micros: int, count: int) -> None:
        total_micros, total_count = self.spend.get(currency, (0, 0))
        self.spend[currency] = (total_micros + micros, total_count + count)

    def packed_columns(self) -> dict[str, str]:
        """The columns `outcomes` and `sums` of a rollup, as JSON."""
        outcomes = [[*key, count] for key, count in self.outcomes.items()]
        spend = [[currency, *sums] for currency, sums in self.spend.items()]
        sums = [_flatten(self.by_sender), _flatten(self.by_prefix), spend]
        columns = {"outcomes": outcomes, "sums": sums}
        return {name: json.dumps(value, separators=(",", ":")) for name, value in columns.items()}

    @classmethod
    def unpack(cls, outcomes: str, sums: str) -> "MessageTotals":
        totals = cls(Counter({(state, code): count for state, code, count in json.loads(outcomes)}))
        totals.add_packed_sums(sums)
        return totals

    def add_packed_sums(self, sums: str) -> None:
        """Add the sums of a rollup without objects between: a page adds up hundreds."""
        by_sender, by_prefix, spend = json.loads(sums)
        for sender, *flat in by_sender:
            _add_flat(self.by_sender[sender], flat)
        for prefix, *flat in by_prefix:
            _add_flat(self.by_prefix[prefix], flat)
        for currency, micros, count in spend:
            self.add_spend(currency, micros, count)


def _flatten(by_key: Durations[Any]) -> list[list[Any]]:
    """A list [key, seconds, count, seconds, count …] for each key."""
    return [[key, *chain.from_iterable(counter.items())] for key, counter in by_key.items()]


def _add_flat(counter: Counter[int], flat: list[int]) -> None:
    for seconds, count in zip(flat[::2], flat[1::2], strict=True):
        counter[seconds] += count


def duration_bin(seconds: int) -> int:
    """The longest duration that is counted as equal to this one."""
    step = 1
    while seconds >= EXACT_BELOW * step:
        step *= 2
    return max(seconds, 0) // step * step + step - 1
