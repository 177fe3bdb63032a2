"""What /metrics counts. Each query reads an index or a small table, however many messages exist."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, func, select

from smstracker.clock import is_ahead
from smstracker.insights.outcomes import read_outcomes
from smstracker.insights.rollup_job import read_valid_coverage
from smstracker.insights.scope import Scope
from smstracker.models import (
    CallbackTally,
    InsightFailure,
    Message,
    MetricTotal,
    outbox,
)
from smstracker.models.callback_counts import COUNTERS, DETAILS, bucket_start
from smstracker.models.creation_time import (
    BEGINNING,
    END_OF_TIME,
    Range,
    created_within,
    from_epoch,
    has_more_messages,
)
from smstracker.models.insight_rollups import EVERYONE, day_start
from smstracker.models.metric_totals import CALLBACKS
from smstracker.sms import status
from smstracker.sms.status import State

MAX_UNCOVERED_MESSAGES = 30_000  # that no rollup covers yet; more would keep the scrape waiting
MAX_DUE = 10_000  # look-ups that are counted
OLDER_LIFETIME = timedelta(minutes=10)  # of what a process remembers
CLOSED_AFTER = timedelta(hours=1)  # clocks of machines may differ
SETTLED_AFTER = timedelta(days=40)


@dataclass(frozen=True, slots=True)
class MessageCounts:
    """Messages by state, and failed ones by error code (empty without one), created `as_of`."""

    states: Mapping[State, int]
    error_codes: Mapping[str, int]
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many wait, and the seconds for which the oldest has waited; 0 if none does. Those that a
    restore holds are not among them.
    """

    messages: int
    oldest_seconds: float
    held: int = 0


class OlderCounts:
    """What a process keeps of its scrapes: counts that no longer change, or seldom.

    They are read anew every OLDER_LIFETIME: of ten million messages that takes 200 ms.
    """

    def __init__(self) -> None:
        self._read_at: datetime | None = None
        self._callbacks: Counter[str] = Counter()
        self._states: Counter[State] = Counter()
        self._error_codes: Counter[str] = Counter()

    def read(self, connection: Connection, now: datetime) -> tuple[Counter[str], MessageCounts]:
        """Return all callbacks ever by column of the tally, and the messages."""
        if self._read_at is None or abs(now - self._read_at) >= OLDER_LIFETIME:
            self._read_at = now
            closed = CallbackTally.bucket_at < self._closed_at
            self._callbacks = _sum_tallies(connection, closed) + read_totals(connection, CALLBACKS)
            older = _read_rollups(connection, now, (BEGINNING, self._settled_at), Counter())
            self._states, self._error_codes = older
        callbacks = _sum_tallies(connection, CallbackTally.bucket_at >= self._closed_at)
        period = (from_epoch(read_valid_coverage(connection, now).stop), END_OF_TIME)
        is_live = not has_more_messages(connection, MAX_UNCOVERED_MESSAGES, [period])
        live, codes = _count_live(connection, period) if is_live else (Counter(), Counter())
        recent = (self._settled_at, END_OF_TIME)
        states, error_codes = _read_rollups(connection, now, recent, live)
        messages = MessageCounts(
            self._states + states,
            self._error_codes + error_codes + codes,
            now if is_live else period[0],
        )
        return self._callbacks + callbacks, messages

    @property
    def _closed_at(self) -> datetime:
        """The time before which no tally changes."""
        return bucket_start((self._read_at or BEGINNING) - CLOSED_AFTER)

    @property
    def _settled_at(self) -> datetime:
        """The day before which few messages change."""
        day = day_start(int((self._read_at or BEGINNING).timestamp()))
        return from_epoch(day) - SETTLED_AFTER


def _sum_tallies(connection: Connection, condition: ColumnElement[bool]) -> Counter[str]:
    names = (*COUNTERS, *DETAILS)
    columns = [func.coalesce(func.sum(CallbackTally.__table__.c[name]), 0) for name in names]
    row = connection.execute(select(*columns).where(condition)).one()
    return Counter({name: int(value) for name, value in zip(names, row, strict=True)})


def read_totals(connection: Connection, prefix: str) -> Counter[str]:
    """Return the totals whose names begin so, by the rest of their names."""
    query = select(MetricTotal.name, MetricTotal.value).where(MetricTotal.name.startswith(prefix))
    return Counter({name.removeprefix(prefix): value for name, value in connection.execute(query)})


def last_accepted_at(connection: Connection, now: datetime) -> datetime | None:
    """When the newest callback was accepted, as far as the tallies reach back."""
    is_past = ~is_ahead(CallbackTally.last_accepted_at, now)
    newest = select(func.max(CallbackTally.last_accepted_at)).where(is_past)
    moment: datetime | None = connection.scalar(newest)
    return moment


def _read_rollups(
    connection: Connection, now: datetime, period: Range, live: Counter[str]
) -> tuple[Counter[State], Counter[str]]:
    """Count the messages of whole days by state, with `live` ones, and failures by error code."""
    coverage = read_valid_coverage(connection, now)
    scope = Scope(connection, now, EVERYONE, *period, coverage, set())
    failures = select(InsightFailure.error_code, func.sum(InsightFailure.messages))
    failures = failures.where(scope.from_rollups(InsightFailure))
    rows = connection.execute(failures.group_by(InsightFailure.error_code))
    error_codes = Counter({code: int(messages) for code, messages in rows})
    [outcomes] = read_outcomes(scope, [period[0]], {(EVERYONE, 0): live})
    return Counter(outcomes), error_codes


def _count_live(connection: Connection, period: Range) -> tuple[Counter[str], Counter[str]]:
    """Count messages by column of InsightOutcome, and failed ones by error code."""
    states: Counter[str] = Counter()
    # With the statuses, an index covers the query.
    has_known_status = Message.status.in_(status.RANK)
    query = select(Message.status, func.count()).where(has_known_status).group_by(Message.status)
    for word, messages in connection.execute(created_within(query, [period])):
        states[status.state_after_silence(word).name.lower()] += messages
    failed = Message.status.in_(status.counted_statuses(State.FAILED))
    codes = select(Message.error_code, func.count()).where(failed).group_by(Message.error_code)
    rows = connection.execute(created_within(codes, [period]))
    return states, Counter({code or "": messages for code, messages in rows})


def count_outbox(connection: Connection, now: datetime) -> Backlog:
    """The messages that wait to be handed to Twilio; the age of one begins at its time."""
    backlog = outbox.read_backlog(connection, now)
    return Backlog(backlog.waiting, _elapsed_seconds(backlog.oldest_at, now), backlog.held)


def count_due_lookups(connection: Connection, now: datetime) -> Backlog:
    """The messages that Twilio should have been asked about; at most MAX_DUE are counted."""
    due = select(Message.next_lookup_at).where(Message.next_lookup_at <= now)
    due = due.order_by(Message.next_lookup_at).limit(MAX_DUE)
    rows = connection.scalars(due).all()
    return Backlog(len(rows), _elapsed_seconds(rows[0] if rows else None, now))


def _elapsed_seconds(moment: datetime | None, now: datetime) -> float:
    return 0.0 if moment is None else max((now - moment).total_seconds(), 0.0)
