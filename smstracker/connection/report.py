"""Health of the connection in numbers: a fixed number of queries, each on an index."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from smstracker.clock import WEEK
from smstracker.connection import queries
from smstracker.connection.queries import PERIODS
from smstracker.connection.refusal_causes import RefusalCause, refusal_causes
from smstracker.connection.storage_probe import find_storage_problem
from smstracker.connection.token_rotation import Rotation, read_rotation
from smstracker.database.engine import reading_connection
from smstracker.database.problems import DatabaseProblem
from smstracker.extensions import db
from smstracker.health_facts import WorkerStatus, read_workers
from smstracker.models import SenderPace, outbox
from smstracker.models.callback_counts import COUNTERS
from smstracker.models.outbox import OutboxCounts
from smstracker.refused.replay import ReplayForecast, forecast
from smstracker.webhooks.writer import current_writer

MIN_RELIABLE_SAMPLE = 20


@dataclass(frozen=True, slots=True)
class Window:
    """Counts within `period`; callbacks are counted in buckets of five minutes.

    `accepted` includes `repeated`, `by_key` (signed with a shared key) and `unmatched` (of other
    programs of the account). `not_stored` callbacks were answered with 503, so that Twilio repeats
    them. `by_callback` and `by_lookup` count messages by what made them final; for `final_refused`
    of the latter a final callback was refused. Messages that get no callback (not sent) count in
    neither.
    """

    period: timedelta
    accepted: int
    repeated: int
    refused: int
    by_callback: int
    by_lookup: int
    by_key: int = 0
    unmatched: int = 0
    not_stored: int = 0
    final_refused: int = 0

    @property
    def outcomes(self) -> int:
        """Messages that became final."""
        return self.by_callback + self.by_lookup


@dataclass(frozen=True, slots=True)
class Delay:
    """Time from the acceptance by Twilio to a callback, over `sample_size` messages."""

    median: timedelta | None
    p95: timedelta | None
    sample_size: int

    @property
    def is_few(self) -> bool:
        return self.sample_size < MIN_RELIABLE_SAMPLE


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """State of the connection `at` a moment.

    `unknown` counts messages of unknown outcome for UNKNOWN_AFTER at least, `without_callback`
    those that wait, were accepted by Twilio at least CALLBACK_OVERDUE_AFTER ago and never got a
    callback.
    `waiting_since_last_callback` and `looked_up_since_last_callback` count messages accepted after
    the last callback: without a callback, or made final by a look-up. `credentials_refused_at` is
    when Twilio refused the newest send that it answered, if it did so for its credentials.
    `stuck_since` is since when a message could be handed over that no worker takes.
    `storage_problem` is looked for only when something hints at it.
    """

    at: datetime
    last_callback_at: datetime | None
    hour: Window
    day: Window
    week: Window
    to_first: Delay
    to_final: Delay
    sent_in_day: int
    oldest_message_at: datetime | None
    unknown: int
    without_callback: int
    waiting_since_last_callback: int
    looked_up_since_last_callback: int
    rotation: Rotation
    replay: ReplayForecast
    causes: tuple[RefusalCause, ...]
    workers: tuple[WorkerStatus, ...]
    backlog: OutboxCounts = OutboxCounts(0, 0, None)
    stuck_since: datetime | None = None
    paused_senders: int = 0
    credentials_refused_at: datetime | None = None
    storage_problem: DatabaseProblem | None = None

    @property
    def has_full_history(self) -> bool:
        """Whether the report covers the whole life of this installation."""
        return self.oldest_message_at is None or self.at - self.oldest_message_at < WEEK

    @property
    def has_met_callbacks(self) -> bool:
        """Whether a callback for our account came in a week, though none may be accepted."""
        return self.week.not_stored > 0 or any(cause.is_plausible for cause in self.causes)

    @property
    def windows(self) -> tuple[Window, Window, Window]:
        return self.hour, self.day, self.week

    @property
    def live_workers(self) -> tuple[WorkerStatus, ...]:
        return tuple(worker for worker in self.workers if worker.is_alive)


def build_report(now: datetime) -> ConnectionReport:
    """Read the report in a transaction of its own. Raises SQLAlchemyError."""
    # A failure here must not spoil the transaction of a request.
    with reading_connection(db.engine) as connection:
        report = _read_report(connection, now)
    # A trial write is costly: only where it would explain something, as a worker that cannot store
    # its heartbeat looks dead. What /readyz knows is cheap, and shows a full disk in time.
    is_suspect = current_writer().not_stored or (report.workers and not report.live_workers)
    return replace(report, storage_problem=find_storage_problem(now, bool(is_suspect)))


def _read_report(connection: Connection, now: datetime) -> ConnectionReport:
    last_callback_at = connection.scalar(queries.last_callback_at(now))
    replay = forecast(connection)
    hour, day, week = _windows(connection, now)
    counts = connection.execute(queries.count_messages(now, last_callback_at)).one()
    looked_up = queries.count_looked_up(now, last_callback_at or now - WEEK)
    to_first, to_final = _delays(connection, now)
    return ConnectionReport(
        now,
        last_callback_at,
        hour,
        day,
        week,
        to_first,
        to_final,
        sent_in_day=int(counts.sent or 0),
        oldest_message_at=counts.oldest_at,
        unknown=int(counts.unknown or 0),
        without_callback=int(counts.without_callback or 0),
        waiting_since_last_callback=int(counts.waiting or 0),
        looked_up_since_last_callback=connection.scalar(looked_up) or 0,
        rotation=read_rotation(connection, now),
        replay=replay,
        causes=refusal_causes(connection, now, replay.applicable_ids),
        credentials_refused_at=counts.credentials_refused_at,
        workers=read_workers(connection, now),
        backlog=outbox.read_backlog(connection, now),
        stuck_since=outbox.find_stuck_time(connection, now),
        paused_senders=SenderPace.count_paused(connection, now),
    )


def _windows(connection: Connection, now: datetime) -> Iterator[Window]:
    callback_counts = connection.execute(queries.sum_callback_counts(now)).one()
    by_callback = connection.execute(queries.count_final_by_callback(now)).one()
    by_lookup = connection.execute(queries.count_final_by_lookup(now)).one()
    width = len(COUNTERS)
    for index, period in enumerate(PERIODS):
        sums = map(int, callback_counts[index * width : (index + 1) * width])
        counts = dict(zip(COUNTERS, sums, strict=True))
        # What this process could not store is not in the database yet.
        counts["not_stored"] += current_writer().not_stored
        yield Window(
            period,
            by_callback=by_callback[index],
            by_lookup=by_lookup[index],
            final_refused=by_lookup[len(PERIODS) + index],
            **counts,
        )


def _delays(connection: Connection, now: datetime) -> tuple[Delay, Delay]:
    rows = connection.execute(queries.callback_times(now)).all()
    return (
        _delay([row.first_at - row.accepted_at for row in rows if row.first_at]),
        _delay([row.final_at - row.accepted_at for row in rows if row.final_at]),
    )


def _delay(delays: list[timedelta]) -> Delay:
    if not delays:
        return Delay(None, None, 0)
    # A callback may overtake Twilio's answer to the send request.
    ordered = sorted(max(delay, timedelta(0)) for delay in delays)
    median = statistics.median(delay.total_seconds() for delay in ordered)
    # Nearest rank: a delay that was measured.
    return Delay(timedelta(seconds=median), ordered[-(-len(ordered) * 95 // 100) - 1], len(delays))
