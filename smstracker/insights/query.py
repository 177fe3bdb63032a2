"""The figures of /insights for a range of time. Reads no phone number and no text.

Takes counted buckets from their rollups and counts the rest of the range from the messages, so that
the figures always equal a plain count.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import func, select, true

from smstracker.extensions import db
from smstracker.insights.outcomes import read_outcomes
from smstracker.insights.rollup_job import newest_end
from smstracker.insights.scope import Scope, by_column, count_live, sum_columns
from smstracker.models import InsightDelivery, InsightFailure, InsightSpend, insight_coverage
from smstracker.models.creation_time import created_within, first_message_query, from_epoch
from smstracker.models.event_feed import read_cursor
from smstracker.models.insight_counts import CALLING_CODE, SENDER, Totals, bin_size
from smstracker.models.insight_rollups import BIN_NAMES, EVERYONE, QUARTER, InsightOutcome, Rollup
from smstracker.sms.status import State
from smstracker.web.time_range import TimeRange

# Counting more than this would keep the reader waiting.
MAX_LIVE_MESSAGES = 100_000
MAX_LIVE_RANGES = 100
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class InsightsResult:
    """The figures of a range.

    `outcomes` has the messages of each bar by state, `failures` those by error code, `spend` the
    (micros, messages) by currency; the other two count deliveries by their seconds.

    `as_of` is None if they are current; otherwise changes after it are missing, and so are
    messages created before `complete_since`.
    """

    outcomes: list[dict[State, int]]
    failures: dict[str, int]
    spend: dict[str, tuple[int, int]]
    by_sender: dict[str, Counter[int]]
    by_calling_code: dict[str, Counter[int]]
    as_of: datetime | None = None
    complete_since: datetime | None = None


def first_counted_at(owner_id: int | None) -> datetime | None:
    """When the first message was created, of all owners if `owner_id` is None."""
    connection, owner = db.session.connection(), EVERYONE if owner_id is None else owner_id
    first_at = connection.scalar(first_message_query(owner))
    query = select(func.min(InsightOutcome.bucket)).where(InsightOutcome.owner_id == owner)
    bucket = connection.scalar(query)
    if bucket is not None and (not first_at or from_epoch(bucket + QUARTER) <= first_at):
        return from_epoch(bucket)  # of deleted messages
    return first_at


def measure(
    owner_id: int | None, period: TimeRange, now: datetime, bar_starts: Sequence[datetime] = ()
) -> InsightsResult:
    """The figures of one owner, or of all if `owner_id` is None, for bars from `bar_starts`."""
    connection = db.session.connection()
    cursor = read_cursor(connection, insight_coverage.NAME)
    coverage = insight_coverage.read_coverage(connection)
    # A clock may have been put back since.
    coverage = replace(coverage, until=min(coverage.until, newest_end(now)))
    changed = insight_coverage.changed_quarters(connection, cursor.position) if cursor else set()
    since, until = period.since or BEGINNING, period.until or END_OF_TIME
    owner = EVERYONE if owner_id is None else owner_id
    scope = Scope(connection, now, owner, since, until, coverage, changed or set())
    if changed is not None and not _has_too_many(scope):
        return _read(scope, bar_starts)
    # Whole days, so that all figures are of the same messages.
    coverage = replace(coverage, until=max(Rollup.floor(coverage.until), coverage.since))
    scope = replace(scope, coverage=coverage, changed=set(), is_stale=True)
    changed_at = insight_coverage.first_change_at(connection, cursor.position) if cursor else None
    is_counted = coverage.since < coverage.until
    until = from_epoch(coverage.until) if is_counted else now
    return replace(
        _read(scope, bar_starts),
        as_of=min(changed_at or now, now, until),
        complete_since=from_epoch(coverage.since) if is_counted else now,
    )


def _has_too_many(scope: Scope) -> bool:
    # The other tables need no other messages than this one, but outcomes have shorter ranges.
    ranges = scope.from_messages(InsightFailure)
    if not ranges or len(scope.from_messages(InsightOutcome)) > MAX_LIVE_RANGES:
        return bool(ranges)
    messages = created_within(select(true().label("message")), ranges, scope.owner_id)
    one_more = messages.offset(MAX_LIVE_MESSAGES).limit(1)
    return scope.connection.scalar(one_more) is not None


def _read(scope: Scope, bar_starts: Sequence[datetime]) -> InsightsResult:
    failures = _read_totals(scope, InsightFailure)
    spend = _read_totals(scope, InsightSpend)
    times: defaultdict[str, defaultdict[str, Counter[int]]]
    times = defaultdict(lambda: defaultdict(Counter))
    for (name_of, name, first_second), sums in _read_totals(scope, InsightDelivery).items():
        size = bin_size(first_second)
        for number, messages in enumerate(sums[bin_name] for bin_name in BIN_NAMES):
            if messages:
                times[name_of][name][first_second + (number + 1) * size - 1] += messages
    return InsightsResult(
        outcomes=read_outcomes(scope, bar_starts or [scope.since]),
        failures={code: sums["messages"] for (code,), sums in failures.items()},
        spend={unit: (sums["micros"], sums["messages"]) for (unit,), sums in spend.items()},
        by_sender=times[SENDER],
        by_calling_code=times[CALLING_CODE],
    )


def _read_totals(scope: Scope, table: type[Rollup]) -> Totals:
    """The sums of a table by its key, over all buckets."""
    key = [table.__table__.c[name] for name in table.key()]
    query = select(*key, *sum_columns(table)).where(scope.from_rollups(table)).group_by(*key)
    totals: Totals = defaultdict(Counter)
    for row in scope.connection.execute(query):
        totals[tuple(row[: len(key)])].update(by_column(table, row[len(key) :]))
    for (_, _, *values_of_key), sums in count_live(scope, table).items():
        totals[tuple(values_of_key)].update(sums)
    return totals
