"""Everything that the page shows, in a number of statements that does not depend on the data."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from smstracker.insights import charts, figures
from smstracker.insights.charts import Bar
from smstracker.insights.figures import DurationStats
from smstracker.insights.query import first_counted_at, measure
from smstracker.messages.describe import short_code_reason
from smstracker.messages.filter_conditions import NO_CODE
from smstracker.percentages import format_share
from smstracker.sms.status import State
from smstracker.web.time_range import TimeRange


@dataclass(frozen=True, slots=True)
class FailureRow:
    """Failures with one error code, or NO_CODE as the log's filter names it."""

    code: str
    reason: str
    count: int
    share: str


@dataclass(frozen=True, slots=True)
class Insights:
    """The page. Rates are shares of `rate_base`, the messages in RATE_STATES."""

    period: TimeRange
    everyone: bool
    totals: dict[State, int]
    rate_base: int
    since: datetime
    unit: str
    bars: list[Bar]
    axis: list[int]
    failures: list[FailureRow]
    by_sender: list[DurationStats]
    by_country: list[DurationStats]
    prices: list[tuple[str, Decimal, int]]
    as_of: datetime | None
    complete_since: datetime | None

    @property
    def count(self) -> int:
        return sum(self.totals.values())

    def share(self, state: State) -> str:
        if self.rate_base and not self.totals[state]:
            return "none"
        return format_share(self.totals[state], self.rate_base)


def build_insights(owner_id: int | None, period: TimeRange, now: datetime) -> Insights:
    """The page of one owner, or of all if `owner_id` is None."""
    unit, starts = charts.bar_starts(period, first_counted_at(owner_id), now)
    result = measure(owner_id, period, now, starts)
    totals = figures.totals_by_state(result.outcomes)
    bars = charts.bars(result.outcomes, unit, starts, ZoneInfo(period.zone))
    show_numbers = owner_id is not None
    return Insights(
        period=period,
        everyone=owner_id is None,
        totals=totals,
        rate_base=sum(totals[state] for state in figures.RATE_STATES),
        since=starts[0],
        unit=unit,
        bars=bars,
        axis=charts.axis(max(bar.total for bar in bars)),
        failures=_failure_rows(result.failures, totals[State.FAILED]),
        by_sender=figures.durations_by_sender(result.by_sender, show_numbers=show_numbers),
        by_country=figures.durations_by_country(result.by_calling_code),
        prices=figures.prices(result.spend),
        as_of=result.as_of,
        complete_since=result.complete_since,
    )


def _failure_rows(failures: Mapping[str, int], failed: int) -> list[FailureRow]:
    """Most frequent first."""
    rows = []
    for code, count in sorted(failures.items(), key=lambda item: (-item[1], item[0])):
        # A message that never reached Twilio has no code, because nobody gave a reason.
        reason = short_code_reason(code) or "Without an error code"
        rows.append(FailureRow(code or NO_CODE, reason, count, format_share(count, failed)))
    return rows
