"""Failures far above their usual share, by the newest outcomes and the rollups of the insights."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, case, func, literal, select

from smstracker.alerts.finding import ENDS_BELOW, Finding, find_by_ratio
from smstracker.clock import HOUR
from smstracker.database.aggregates import sum_if
from smstracker.models import InsightFailure, InsightOutcome, Message
from smstracker.models.alerts import RuleName
from smstracker.models.insight_rollups import DAY_SECONDS, EVERYONE, QUARTER, Rollup, day_start
from smstracker.sms import status
from smstracker.sms.error_guide import explanations, is_code
from smstracker.sms.status import State

CODE_PERIOD = timedelta(hours=6)
MAX_OUTCOMES = 5_000  # the newest, of which shares are taken
BASELINE_DAYS, MIN_BASELINE_DAYS = 28, 7
MIN_USUAL = 50  # outcomes; fewer say nothing about a share
MIN_MESSAGES = 20
FACTOR, POINTS = 2, 0.10
ABSOLUTE_SHARE = 0.5
# An ordinary bad day has half as many failures again, and chance adds a few in each hour: four
# times the spread of chance is beyond both.
BAD_DAY, SPREADS = 1.5, 4
MIN_OF_CODE, CODE_FACTOR, ABSOLUTE_CODE_SHARE = 10, 5, 0.2
MIN_UNLISTED = 3
_FAILED = status.counted_statuses(State.FAILED)
_DECIDED = (*_FAILED, *status.counted_statuses(State.DELIVERED))


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Messages that failed, of `decided` that were delivered or failed."""

    failed: int
    decided: int

    @property
    def share(self) -> float:
        return self.failed / self.decided if self.decided else 0.0

    def counts(self, usual: "Outcomes | None") -> dict[str, int]:
        """The counts of an alert, with zeros for an unknown usual share."""
        usual = usual or Outcomes(0, 0)
        compared = {"usual_failed": usual.failed, "usual_decided": usual.decided}
        return {"failed": self.failed, "decided": self.decided, **compared}


def find_failures(connection: Connection, now: datetime) -> Iterator[Finding]:
    """Findings of the rules on failures, on frequent errors and on unlisted errors."""
    last_hour, decided, by_code = _read_newest(connection, now)
    if last_hour.decided >= MIN_MESSAGES * ENDS_BELOW:
        usual = _usual_outcomes(connection, now)
        yield from find_by_ratio(
            RuleName.FAILURES_HIGH, failure_ratio(last_hour, usual), last_hour.counts(usual)
        )
    frequent = {
        code: failed for code, failed in by_code.items() if failed >= MIN_UNLISTED * ENDS_BELOW
    }
    if not frequent:
        return
    usual_codes, usual_decided = _usual_codes(connection, now)
    for code, failed in frequent.items():
        of_code = Outcomes(failed, decided)
        usual_of_code = Outcomes(usual_codes[code], usual_decided) if usual_decided else None
        if code not in explanations():
            yield from find_by_ratio(
                RuleName.CODE_UNLISTED, failed / MIN_UNLISTED, {"failed": failed}, code
            )
        elif _can_act(code):
            ratio = code_ratio(of_code, usual_of_code)
            yield from find_by_ratio(
                RuleName.ERROR_CODE, ratio, of_code.counts(usual_of_code), code
            )


def failure_ratio(current: Outcomes, usual: Outcomes | None) -> float:
    """The ratio to what is far above usual: more than double, by 10 points, and not by chance."""
    limit = ABSOLUTE_SHARE
    if usual is not None:
        of_bad_day = current.decided * usual.share * BAD_DAY
        by_chance = of_bad_day + SPREADS * math.sqrt(of_bad_day)
        beyond_chance = by_chance / max(current.decided, 1)
        limit = max(FACTOR * usual.share, usual.share + POINTS, beyond_chance)
    return min(current.decided / MIN_MESSAGES, current.share / limit)


def code_ratio(current: Outcomes, usual: Outcomes | None) -> float:
    """The ratio of one error to what is far above its usual share of all outcomes."""
    limit = ABSOLUTE_CODE_SHARE if usual is None else CODE_FACTOR * usual.share
    return min(current.failed / MIN_OF_CODE, current.share / limit if limit else math.inf)


def _can_act(code: str) -> bool:
    """Whether the sender or an administrator can do something about an error."""
    actor = explanations()[code].actor
    return "you" in actor or "administrator" in actor


def _read_newest(connection: Connection, now: datetime) -> tuple[Outcomes, int, Counter[str]]:
    """The outcomes of the last hour; all of the last six hours, and the failed ones by code."""
    newest = (
        select(Message.final_at, Message.status, Message.error_code)
        .where(Message.final_at > now - CODE_PERIOD, Message.final_at <= now)
        .order_by(Message.final_at.desc())
        .limit(MAX_OUTCOMES)
        .subquery()
    )
    code = case((newest.c.status.in_(_FAILED), newest.c.error_code))
    is_failed = case((newest.c.status.in_(_FAILED), 1), else_=0)
    groups = (is_failed, code)
    last_hour = sum_if(newest.c.final_at > now - HOUR, literal(1))
    query = select(*groups, last_hour, func.count()).where(newest.c.status.in_(_DECIDED))
    hour, by_code, decided = Counter[bool](), Counter[str](), 0
    for failed, error_code, in_hour, messages in connection.execute(query.group_by(*groups)):
        hour[bool(failed)] += in_hour
        decided += messages
        # What else may stand there is no code of Twilio's.
        if is_code(error_code or ""):
            by_code[error_code] += messages
    return Outcomes(hour[True], hour.total()), decided, by_code


def _usual_outcomes(connection: Connection, now: datetime) -> Outcomes | None:
    """The outcomes of this hour on each of the past 28 days; None for less than a week of them."""
    seconds = int(now.timestamp())
    quarters = [(seconds // QUARTER - number) * QUARTER % DAY_SECONDS for number in range(4)]
    is_this_hour = (InsightOutcome.bucket % DAY_SECONDS).in_(quarters)
    sums = (
        sum_if(is_this_hour, InsightOutcome.failed),
        sum_if(is_this_hour, InsightOutcome.delivered),
    )
    query = select(func.min(InsightOutcome.bucket), *sums)
    oldest, failed, delivered = connection.execute(
        query.where(*_baseline_conditions(InsightOutcome, now))
    ).one()
    usual = Outcomes(int(failed), int(failed + delivered))
    return _known(usual, day_start(seconds) - (oldest or day_start(seconds)))


def _usual_codes(connection: Connection, now: datetime) -> tuple[Counter[str], int]:
    """The failed messages of the past 28 days by code, and all outcomes; 0 if these are too few."""
    sums = {column.name: column for column in InsightOutcome.sums()}
    query = select(func.min(InsightOutcome.bucket), sums["failed"], sums["delivered"])
    row = connection.execute(query.where(*_baseline_conditions(InsightOutcome, now))).one()
    today = day_start(int(now.timestamp()))
    oldest, failed, delivered = row[0] or today, row[1] or 0, row[2] or 0
    usual = _known(Outcomes(failed, failed + delivered), today - oldest)
    by_code_query = select(InsightFailure.error_code, func.sum(InsightFailure.messages))
    in_baseline = _baseline_conditions(InsightFailure, now)
    rows = connection.execute(by_code_query.where(*in_baseline).group_by(InsightFailure.error_code))
    by_code = Counter({code: int(messages) for code, messages in rows})
    return by_code, usual.decided if usual else 0


def _baseline_conditions(table: type[Rollup], now: datetime) -> tuple[ColumnElement[bool], ...]:
    """The rows of everyone on the past 28 whole days."""
    today = day_start(int(now.timestamp()))
    in_days = (table.bucket >= today - BASELINE_DAYS * DAY_SECONDS, table.bucket < today)
    return (table.owner_id == EVERYONE, *in_days)


def _known(usual: Outcomes, seconds: int) -> Outcomes | None:
    """The usual outcomes, if they say enough."""
    is_long = seconds > (MIN_BASELINE_DAYS - 1) * DAY_SECONDS
    return usual if is_long and usual.decided >= MIN_USUAL else None
