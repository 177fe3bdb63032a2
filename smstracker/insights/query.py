"""The figures of /insights for a range of time. Reads no phone number and no text.

Takes counted days from their rollups and counts the rest of the range from the messages, so that
the figures always equal a plain count.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from sqlalchemy import func, select

from smstracker.extensions import db
from smstracker.insights.outcomes import read_outcomes
from smstracker.insights.rollup_job import read_valid_coverage
from smstracker.insights.scope import Scope
from smstracker.models import InsightDelivery, InsightFailure, InsightSpend, insight_coverage
from smstracker.models.creation_time import (
    BEGINNING,
    END_OF_TIME,
    created_within,
    first_message_query,
    from_epoch,
    has_more_messages,
)
from smstracker.models.event_feed import read_cursor
from smstracker.models.insight_counts import (
    CALLING_CODE,
    SENDER,
    Key,
    Totals,
    bin_size,
    count_totals,
)
from smstracker.models.insight_rollups import (
    BIN_NAMES,
    EVERYONE,
    InsightOutcome,
    Rollup,
)
from smstracker.sms.status import State
from smstracker.web.time_range import TimeRange

# Counting more than this would keep the reader waiting.
MAX_LIVE_MESSAGES = 100_000
MAX_LIVE_RANGES = 100


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
    """When the first message was created, of all owners if `owner_id` is None; maybe deleted."""
    connection, owner = db.session.connection(), EVERYONE if owner_id is None else owner_id
    query = select(func.min(InsightOutcome.bucket)).where(InsightOutcome.owner_id == owner)
    first_at, bucket = connection.scalar(first_message_query(owner)), connection.scalar(query)
    times = (first_at, from_epoch(bucket) if bucket else None)
    return min((at for at in times if at), default=None)


def measure(
    owner_id: int | None, period: TimeRange, now: datetime, bar_starts: Sequence[datetime] = ()
) -> InsightsResult:
    """The figures of one owner, or of all if `owner_id` is None, for bars from `bar_starts`."""
    connection = db.session.connection()
    position = read_cursor(connection, insight_coverage.NAME).position
    coverage = read_valid_coverage(connection, now)
    changed = insight_coverage.changed_days(connection, position)
    since, until = period.since or BEGINNING, period.until or END_OF_TIME
    owner = EVERYONE if owner_id is None else owner_id
    scope = Scope(connection, now, owner, since, until, coverage, changed or set())
    if changed is not None and not _has_too_many(scope):
        return _read(scope, bar_starts)
    days = scope.counted_days()
    counted = replace(
        scope, since=from_epoch(days.start), until=from_epoch(days.stop), changed=set()
    )
    changed_at = insight_coverage.first_change_at(connection, position)
    return replace(
        _read(counted, bar_starts),
        as_of=min(changed_at or now, now, from_epoch(coverage.stop) if coverage else now),
        complete_since=counted.since if coverage else now,
    )


def _has_too_many(scope: Scope) -> bool:
    ranges = scope.from_messages()
    if len(ranges) > MAX_LIVE_RANGES:
        return True
    return has_more_messages(scope.connection, MAX_LIVE_MESSAGES, ranges, scope.owner_id)


def _read(scope: Scope, bar_starts: Sequence[datetime]) -> InsightsResult:
    limit = partial(created_within, ranges=scope.from_messages(), owner_id=scope.owner_id)
    live = count_totals(scope.connection, limit, owner_id=scope.owner_id)
    failures = _read_totals(scope, InsightFailure, live)
    spend = _read_totals(scope, InsightSpend, live)
    times: defaultdict[str, defaultdict[str, Counter[int]]]
    times = defaultdict(lambda: defaultdict(Counter))
    for (name_of, name, first_second), sums in _read_totals(scope, InsightDelivery, live).items():
        size = bin_size(first_second)
        for number, messages in enumerate(sums[bin_name] for bin_name in BIN_NAMES):
            if messages:
                times[name_of][name][first_second + (number + 1) * size - 1] += messages
    return InsightsResult(
        outcomes=read_outcomes(scope, bar_starts or [scope.since], live[InsightOutcome]),
        failures={code: sums["messages"] for (code,), sums in failures.items()},
        spend={unit: (sums["micros"], sums["messages"]) for (unit,), sums in spend.items()},
        by_sender=times[SENDER],
        by_calling_code=times[CALLING_CODE],
    )


def _read_totals(scope: Scope, table: type[Rollup], live: Totals) -> dict[Key, Counter[str]]:
    """The sums of a table by its key, over all buckets."""
    key, names = table.key(), table.counts()
    columns = [table.__table__.c[name] for name in key]
    query = select(*columns, *table.sums()).where(scope.from_rollups(table)).group_by(*columns)
    totals: defaultdict[Key, Counter[str]] = defaultdict(Counter)
    for row in scope.connection.execute(query).mappings():
        totals[tuple(row[name] for name in key)].update({name: row[name] for name in names})
    for (_, _, *values_of_key), sums in live[table].items():
        totals[tuple(values_of_key)].update(sums)
    return totals
