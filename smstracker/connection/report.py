"""The health of the connection in numbers: a fixed handful of statements, each on an index."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection, Row

from smstracker.connection import queries
from smstracker.connection.causes import Cause, causes_of
from smstracker.database import READS_ONLY
from smstracker.extensions import db

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
SPANS = (HOUR, DAY, WEEK)
# A worker beats every few seconds. One that is killed and started again is back before this.
WORKER_GONE_AFTER = timedelta(minutes=1)
FEW = 20


@dataclass(frozen=True, slots=True)
class Window:
    """What happened within `span`. Callbacks are counted in steps of five minutes.

    Of those accepted, `by_key` were signed with a shared key, and `unmatched` are of no message
    here: of other programs of the account. `told` messages became final by a callback; `missed`
    ones had to be asked about, because no callback told of their end. A message that cannot have a
    callback (not sent) is neither.
    """

    span: timedelta
    accepted: int
    repeated: int
    refused: int
    told: int
    missed: int
    by_key: int = 0
    unmatched: int = 0

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
class Worker:
    name: str
    started_at: datetime
    beat_at: datetime
    problem: str | None
    is_alive: bool


@dataclass(frozen=True, slots=True)
class Report:
    """The connection as it was `at` a moment.

    `unknown` messages have had an unknown outcome for ten minutes or more. `unheard` ones wait,
    were accepted by Twilio five minutes ago or more, and no callback has ever come for them. Of
    the messages that were accepted after the last callback, `waiting_since` are unheard and
    `repaired_since` had to be asked about.
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
    by_secondary: int
    causes: tuple[Cause, ...]
    workers: tuple[Worker, ...]

    @property
    def windows(self) -> tuple[Window, Window, Window]:
        return self.hour, self.day, self.week

    @property
    def live_workers(self) -> tuple[Worker, ...]:
        return tuple(worker for worker in self.workers if worker.is_alive)


def report(now: datetime) -> Report:
    """The health of the connection at `now`. Raises SQLAlchemyError."""
    # On a connection of its own: a failure here must not spoil the transaction of a request.
    with db.engine.connect().execution_options(**{READS_ONLY: True}) as connection:
        return _report(connection, now)


def _report(connection: Connection, now: datetime) -> Report:
    tally = connection.execute(queries.tally(now, SPANS)).one()
    last = connection.scalar(queries.last_callback(now - WEEK))
    hour, day, week = _windows(connection, now, tally)
    counts = connection.execute(queries.message_counts(now, last)).one()
    to_first, to_final = _delays(connection, now)
    return Report(
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
        repaired_since=connection.scalar(queries.repaired_since(last or now - WEEK)) or 0,
        by_secondary=int(tally.by_secondary),
        causes=causes_of(connection, now, SPANS),
        workers=_workers(connection, now),
    )


def _windows(connection: Connection, now: datetime, tally: Row[Any]) -> Iterator[Window]:
    told = connection.execute(queries.finals_by_callback(now, SPANS)).one()
    missed = connection.execute(queries.finals_by_lookup(now, SPANS)).one()
    for n, span in enumerate(SPANS):
        size = len(queries.TALLIED)
        counts = (int(count) for count in tuple(tally)[n * size : (n + 1) * size])
        accepted, repeated, by_key, unmatched, refused = counts
        numbers = {"by_key": by_key, "unmatched": unmatched}
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


def _workers(connection: Connection, now: datetime) -> tuple[Worker, ...]:
    return tuple(_worker(row, now) for row in connection.execute(queries.workers()))


def _worker(row: Row[tuple[str, datetime, datetime, str | None]], now: datetime) -> Worker:
    name, started_at, beat_at, problem = row
    return Worker(name, started_at, beat_at, problem, now - beat_at <= WORKER_GONE_AFTER)
