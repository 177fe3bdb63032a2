"""What became of the messages of a range of time, counted. Reads only, never a number or a text.

Spans that were counted ahead are taken from there while nothing has changed them; the rest is
counted from the messages themselves, so that the figures are always those of a plain count.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, func, literal, literal_column, select, union_all

from smstracker.extensions import db
from smstracker.models import insight_buckets
from smstracker.models.insight_rollups import DAY, EVERYONE, HALF_HOUR, InsightBucket, InsightTally
from smstracker.models.message_totals import (
    MessageTotals,
    Range,
    count_messages,
    created_within,
    moment,
)
from smstracker.sms.status import State
from smstracker.web.time_range import TimeRange

# More than this is not counted while somebody waits.
LIVE_MOST = 20_000
RANGES_MOST = 60
END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """`count` messages of the span that began at `began_at` are in `state`."""

    began_at: datetime
    state: State
    error_code: str | None
    count: int


@dataclass(frozen=True, slots=True)
class InsightsResult:
    """The figures of a range.

    `as_of` is None if they are those of now; otherwise what was learned after it is left out, and
    so is what was sent before `complete_since`, if that is given.
    """

    outcomes: list[Outcomes]
    sums: MessageTotals
    as_of: datetime | None = None
    complete_since: datetime | None = None


# To look one up is quicker than to call State, which a page would do thousands of times.
STATES = {state.value: state for state in State}
# The outcomes and the sums of a tally, None where they are empty or counted elsewhere.
Packed = tuple[str | None, str | None]


@dataclass(slots=True)
class _CountedBuckets:
    """What was counted ahead: the spans that are still true, and those that are outdated, with
    when they began to be. A day may have only its sums here, and its outcomes by half hours.
    """

    good: dict[int, Packed] = field(default_factory=dict)
    old: dict[int, Packed] = field(default_factory=dict)
    days: dict[int, Packed] = field(default_factory=dict)
    true_until: dict[int, int] = field(default_factory=dict)


def first_made(owner_id: int | None) -> datetime | None:
    """When the first message was made, of everyone if there is no owner."""
    return insight_buckets.first_made(db.session.connection(), owner_id)


def measure(
    owner_id: int | None, period: TimeRange, now: datetime, starts: Sequence[datetime] = ()
) -> InsightsResult:
    """Of one owner, or of everyone if that is None. `starts` are where the bars begin."""
    connection = db.session.connection()
    since, until = _bounds(owner_id, period, now)
    cursor = insight_buckets.cursor(connection)
    news: set[int] | None = set()
    if cursor is not None and cursor.event_id is not None:
        news = insight_buckets.touched_messages(connection, cursor)
    begins, ends = _grid(since, until, now)
    whose = EVERYONE if owner_id is None else owner_id
    known = _CountedBuckets()
    if cursor is not None:
        known = _known(whose, begins, ends, now, news or set(), starts)
    covered = {*known.good, *_halves(known.days)}
    missing = [one for one in range(begins, ends, HALF_HOUR) if one not in covered]
    live = [(since, min(moment(begins), until)), (max(moment(ends), since), until)]
    live += [(moment(one), moment(one + HALF_HOUR)) for one in missing]
    live = insight_buckets.merged(live)
    if news is None or len(live) > RANGES_MOST or _is_too_much(live, owner_id):
        return _behind(known, covered, cursor, now)
    return _put_together(known, count_messages(connection, live, owner_id, now))


def _bounds(owner_id: int | None, period: TimeRange, now: datetime) -> Range:
    made = (first_made(owner_id) or now).timestamp()
    # A whole half hour can be taken from what was counted ahead.
    first = moment(int(made // HALF_HOUR * HALF_HOUR))
    # Beyond now, because a clock may have been put back.
    return max(period.since or first, first), period.until or END_OF_TIME


def _grid(since: datetime, until: datetime, now: datetime) -> tuple[int, int]:
    """The whole half hours of the range."""
    begins = -(-int(since.timestamp() * 1_000_000) // (HALF_HOUR * 1_000_000)) * HALF_HOUR
    ends = int(min(until, now).timestamp()) // HALF_HOUR * HALF_HOUR
    return begins, max(begins, ends)


def _known(
    whose: int, begins: int, ends: int, now: datetime, news: set[int], starts: Iterable[datetime]
) -> _CountedBuckets:
    cut = {int(at.timestamp()) // DAY * DAY for at in starts if at.timestamp() % DAY}
    with_news = {one - one % DAY for one in news}
    known = _CountedBuckets()
    for one in _tallies(whose, DAY, InsightBucket.day >= begins, InsightBucket.day + DAY <= ends):
        if insight_buckets.is_good(one, now) and one.day not in with_news:
            known.days[one.day] = (None if one.day in cut else one.outcomes, one.sums)
    apart = InsightBucket.day.in_(cut & known.days.keys())
    for one in _tallies(whose, HALF_HOUR, apart, sums=literal(None)):
        known.good[one.began] = (one.outcomes, None)
    days = range(begins // DAY * DAY, ends, DAY)
    others = InsightBucket.day.in_([day for day in days if day not in known.days])
    for one in _tallies(whose, HALF_HOUR, others):
        if begins <= one.began < ends and insight_buckets.is_true(one, now):
            is_good = insight_buckets.is_good(one, now) and one.began not in news
            (known.good if is_good else known.old)[one.began] = (one.outcomes, one.sums)
            known.true_until[one.began] = abs(one.stale_at)
    return known


def _tallies(whose: int, width: int, *where: Any, sums: Any = InsightTally.sums) -> Iterable[Any]:
    tally, span = InsightTally, InsightBucket
    same = (tally.width == span.width, tally.day == span.day, tally.began == span.began)
    found = select(*span.__table__.c, tally.outcomes, sums.label("sums"))
    found = found.outerjoin(tally, and_(tally.owner_id == whose, *same))
    return db.session.execute(found.where(span.width == width, *where))


def _halves(days: Iterable[int]) -> Iterable[int]:
    return (half for day in days for half in range(day, day + DAY, HALF_HOUR))


def _is_too_much(live: Sequence[Range], owner_id: int | None) -> bool:
    if not live:
        return False
    parts = [
        created_within(select(literal_column("1").label("one")), *one, owner_id) for one in live
    ]
    found = union_all(*parts).limit(LIVE_MOST + 1).subquery()
    return (db.session.scalar(select(func.count()).select_from(found)) or 0) > LIVE_MOST


def _behind(
    known: _CountedBuckets, covered: set[int], cursor: Any, now: datetime
) -> InsightsResult:
    """The newest spans without a gap, as they were when the first news came that is left out."""
    known.good |= known.old
    counted = {*covered, *known.old}
    if cursor is None or not counted:
        return InsightsResult([], MessageTotals(), now, now)
    begins = ends = max(counted) + HALF_HOUR
    while begins - HALF_HOUR in counted:
        begins -= HALF_HOUR
    for some in (known.good, known.days):
        for one in [one for one in some if one < begins]:
            del some[one]
    until = [at for one, at in known.true_until.items() if one >= begins]
    left_out = insight_buckets.news_began(db.session.connection(), cursor) or now
    as_of = min(left_out, now, moment(min([ends, *until])))
    found = _put_together(known, {})
    return InsightsResult(found.outcomes, found.sums, as_of, moment(begins))


def _put_together(known: _CountedBuckets, live: dict[int, MessageTotals]) -> InsightsResult:
    outcomes: list[Outcomes] = []
    sums = MessageTotals()
    for began, (packed, packed_sums) in (*known.days.items(), *known.good.items()):
        at = moment(began)
        for state, code, count in json.loads(packed or "[]"):
            outcomes.append(Outcomes(at, STATES[state], code, count))
        if packed_sums:
            sums.add_packed(packed_sums)
    for began, counts in live.items():
        for (state, code), count in counts.outcomes.items():
            outcomes.append(Outcomes(moment(began), STATES[state], code, count))
        sums.add_sums(counts)
    return InsightsResult(outcomes, sums)
