"""Everything that the page shows, in a number of statements that does not depend on the data."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from smstracker.insights import charts
from smstracker.insights.charts import Bar, DurationStats
from smstracker.insights.query import first_made, measure
from smstracker.messages.search_filters import NO_CODE
from smstracker.sms.error_guide import explain_code
from smstracker.sms.status import State
from smstracker.web.time_range import TimeRange


@dataclass(frozen=True, slots=True)
class Failure:
    """`filter` is what the log calls those with this code."""

    code: str | None
    reason: str
    count: int
    share: str

    @property
    def filter(self) -> str:
        return self.code or NO_CODE


@dataclass(frozen=True, slots=True)
class Insights:
    """`ended` is what the rates are a share of."""

    period: TimeRange
    everyone: bool
    totals: dict[State, int]
    ended: int
    since: datetime
    unit: str
    bars: list[Bar]
    axis: list[int]
    failures: list[Failure]
    by_sender: list[DurationStats]
    by_country: list[DurationStats]
    is_cut: bool
    prices: list[tuple[str, Decimal, int]]
    as_of: datetime | None
    complete_since: datetime | None

    @property
    def count(self) -> int:
        return sum(self.totals.values())

    def share(self, state: State) -> str:
        """Of those that have ended, as people read it."""
        return percent(self.totals[state], self.ended)


def insights(owner_id: int | None, period: TimeRange, now: datetime) -> Insights:
    """Of one owner, or of everyone if that is None."""
    unit, starts = charts.starts(period, first_made(owner_id), now)
    found = measure(owner_id, period, now, starts)
    totals = charts.totals(found.outcomes)
    bars = charts.bars(found.outcomes, unit, starts, ZoneInfo(period.zone))
    return Insights(
        period=period,
        everyone=owner_id is None,
        totals=totals,
        ended=sum(totals[state] for state in charts.ENDED),
        since=starts[0],
        unit=unit,
        bars=bars,
        axis=charts.axis(max(bar.total for bar in bars)),
        failures=[
            _failure(code, count, totals[State.FAILED])
            for code, count in charts.failures(found.outcomes)
        ],
        by_sender=charts.by_sender(found.sums.by_sender, readable=owner_id is not None),
        by_country=charts.by_country(found.sums.by_code),
        is_cut=charts.is_cut(starts),
        prices=charts.prices(found.sums.spend),
        as_of=found.as_of,
        complete_since=found.complete_since,
    )


def percent(part: int, whole: int) -> str:
    """A share; what is little is not shown as nothing, nor what is much as all."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "under 0.1 %"
    if 99.9 < share < 100:
        return "over 99.9 %"
    return f"{share:.1f} %"


def _failure(code: str | None, count: int, failed: int) -> Failure:
    # Among these are some that never reached Twilio, so there was nobody to give a reason.
    reason = explain_code(code)
    short = reason.short if reason else "Without an error code"
    return Failure(code, short, count, percent(count, failed))
