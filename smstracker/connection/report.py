"""The health of the connection in numbers: a fixed handful of statements, each on an index."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection, Row

from smstracker.carrier.token_marks import token_marks
from smstracker.connection import queries
from smstracker.connection.refusal_causes import RefusalCause, refusal_causes
from smstracker.connection.storage_probe import no_room, storage_problem
from smstracker.connection.token_rotation import (
    Rotation,
    SignedCallback,
    newest_callbacks,
    rotation,
)
from smstracker.database.engine import READS_ONLY
from smstracker.database.problems import DatabaseProblem
from smstracker.extensions import db, settings
from smstracker.webhooks.writer import current_writer

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
SPANS = (HOUR, DAY, WEEK)
# A worker beats every few seconds. One that is killed and started again is back before this.
WORKER_GONE_AFTER = timedelta(minutes=1)
FEW = 20


@dataclass(frozen=True, slots=True)
class Window:
    """What happened within `span`. Callbacks are counted in steps of five minutes.

    Of those accepted, `by_key` were signed with a shared key, and `unmatched` are of no message
    here: of other programs of the account. Those `not_stored` were answered with 503, so that
    Twilio sent them again. `told` messages became final by a callback; `missed` ones had to be
    asked about, because no valid callback told of their end in time: for `refused_finals` of these
    one was refused. A message that cannot have a callback (not sent) is neither.
    """

    span: timedelta
    accepted: int
    repeated: int
    refused: int
    told: int
    missed: int
    by_key: int = 0
    unmatched: int = 0
    not_stored: int = 0
    refused_finals: int = 0

    @property
    def expected(self) -> int:
        return self.told + self.missed

    @property
    def repaired_share(self) -> float | None:
        """The share of outcomes that are known by asking alone; None if there were none."""
        return self.missed / self.expected if self.expected else None


@dataclass(frozen=True, slots=True)
class Delay:
    """How long after its acceptance by Twilio a message heard of something."""

    median: timedelta | None
    p95: timedelta | None
    sample: int

    @property
    def is_few(self) -> bool:
        return self.sample < FEW


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    name: str
    started_at: datetime
    beat_at: datetime
    problem: str | None
    is_alive: bool


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """The connection as it was `at` a moment.

    `unknown` messages have had an unknown outcome for ten minutes or more. `unheard` ones wait,
    were accepted by Twilio five minutes ago or more, and no callback has ever come for them. Of
    the messages that were accepted after the last callback, `waiting_since` are unheard and
    `repaired_since` had to be asked about. `storage` is what keeps the database from storing
    anything, as far as anything hints at it.
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
    unheard: int
    waiting_since: int
    repaired_since: int
    rotation: Rotation
    causes: tuple[RefusalCause, ...]
    workers: tuple[WorkerStatus, ...]
    storage: DatabaseProblem | None = None

    @property
    def is_young(self) -> bool:
        """Whether the last callback would be known, however long ago it was."""
        oldest = self.oldest_message_at
        return oldest is None or self.at - oldest < WEEK

    @property
    def windows(self) -> tuple[Window, Window, Window]:
        return self.hour, self.day, self.week

    @property
    def live_workers(self) -> tuple[WorkerStatus, ...]:
        return tuple(worker for worker in self.workers if worker.is_alive)


def build_report(now: datetime) -> ConnectionReport:
    """The health of the connection at `now`. Raises SQLAlchemyError."""
    # On a connection of its own: a failure here must not spoil the transaction of a request.
    with db.engine.connect().execution_options(**{READS_ONLY: True}) as connection:
        numbers = _report(connection, now)
    # To write costs more than to read, so it is tried only where it would explain something: a
    # worker that cannot store its beat looks like one that does not run. What /readyz looks at
    # costs little, and tells of a full disk before a callback is lost to it.
    is_doubtful = current_writer().not_stored or (numbers.workers and not numbers.live_workers)
    return replace(numbers, storage=storage_problem(now) if is_doubtful else no_room())


def _report(connection: Connection, now: datetime) -> ConnectionReport:
    tally = connection.execute(queries.tally(now, SPANS)).one()
    last = connection.scalar(queries.last_callback(now - WEEK))
    hour, day, week = _windows(connection, now, tally)
    counts = connection.execute(queries.message_counts(now, last)).one()
    to_first, to_final = _delays(connection, now)
    return ConnectionReport(
        now,
        last,
        hour,
        day,
        week,
        to_first,
        to_final,
        sent_in_day=int(counts.sent or 0),
        oldest_message_at=connection.scalar(queries.oldest_message()),
        unknown=int(counts.unknown or 0),
        unheard=int(counts.unheard or 0),
        waiting_since=int(counts.waiting_since or 0),
        repaired_since=connection.scalar(queries.count_repaired(last or now - WEEK)) or 0,
        rotation=_rotation(connection, now),
        causes=refusal_causes(connection, now, SPANS),
        workers=_workers(connection, now),
    )


def _rotation(connection: Connection, now: datetime) -> Rotation:
    if settings().demo:  # its carrier signs with a secondary token as a story
        return Rotation.NONE
    marks = token_marks(settings())
    newest = connection.execute(newest_callbacks(marks)).all()
    return rotation(marks, [SignedCallback(*row) for row in newest], now)


def _windows(connection: Connection, now: datetime, tally: Row[Any]) -> Iterator[Window]:
    told = connection.execute(queries.finals_by_callback(now, SPANS)).one()
    missed = connection.execute(queries.finals_by_lookup(now, SPANS)).one()
    # Nobody could count yet what this process could not store.
    pending, width = current_writer().not_stored, len(queries.TALLIED)
    for n, span in enumerate(SPANS):
        counts = (int(count) for count in tuple(tally)[n * width : (n + 1) * width])
        accepted, repeated, by_key, unmatched, refused, not_stored = counts
        numbers = {"by_key": by_key, "unmatched": unmatched, "not_stored": not_stored + pending}
        numbers |= {"refused_finals": missed[len(SPANS) + n]}
        yield Window(span, accepted, repeated, refused, told[n], missed[n], **numbers)


def _delays(connection: Connection, now: datetime) -> tuple[Delay, Delay]:
    rows = connection.execute(queries.callback_moments(now - WEEK)).all()
    return (
        _delay([row.first_at - row.accepted_at for row in rows if row.first_at]),
        _delay([row.end_at - row.accepted_at for row in rows if row.end_at]),
    )


def _delay(found: list[timedelta]) -> Delay:
    if not found:
        return Delay(None, None, 0)
    # A callback may overtake Twilio's answer to the send request.
    ordered = sorted(max(one, timedelta(0)) for one in found)
    median = statistics.median(one.total_seconds() for one in ordered)
    # The nearest rank: a delay that there really was.
    return Delay(timedelta(seconds=median), ordered[-(-len(ordered) * 95 // 100) - 1], len(found))


def _workers(connection: Connection, now: datetime) -> tuple[WorkerStatus, ...]:
    return tuple(_worker(row, now) for row in connection.execute(queries.workers()))


def _worker(row: Row[tuple[str, datetime, datetime, str | None]], now: datetime) -> WorkerStatus:
    name, started_at, beat_at, problem = row
    return WorkerStatus(name, started_at, beat_at, problem, now - beat_at <= WORKER_GONE_AFTER)
