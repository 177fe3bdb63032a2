"""The worker job that counts messages for /insights ahead.

Each step reads first and writes in one short transaction. It writes nothing if another worker has
written since the read. So the rollups and the cursor always fit each other, and counting a bucket
again changes nothing.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

from sqlalchemy import Connection, delete, insert, literal, select, union_all

from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.database.row_sets import Rows
from smstracker.extensions import db
from smstracker.models import InsightOutcome, InsightRecount, creation_time, event_feed
from smstracker.models.creation_time import bucket_start, created_within, from_epoch
from smstracker.models.event_feed import CursorPosition, EventTail, read_cursor
from smstracker.models.events import StatusEvent
from smstracker.models.insight_counts import ROLLUPS, count, rollup_rows
from smstracker.models.insight_coverage import NAME, Coverage, read_coverage, store_coverage
from smstracker.models.insight_rollups import DAY, EVERYONE, QUARTER, EpochRange, Rollup
from smstracker.models.messages import Message
from smstracker.models.users import User

# Newer messages change too often, and more of them are created.
MIN_AGE = timedelta(hours=1)
MAX_EVENTS = 1_000  # in one step
MAX_QUARTERS = 24  # in one step
MAX_EXTRA_READS = 2  # to see whether a missing event was rolled back
MAX_RUN_SECONDS = 5.0  # because silent messages wait for the same worker
# The rows of each table, and the ranges that were counted.
Counts = list[tuple[type[Rollup], list[EpochRange], Rows]]


def roll_up(_last_done: datetime | None) -> Iterator[int]:
    """Count new and changed buckets, newest first; yields the amount of work of each step."""
    ends_at = monotonic() + MAX_RUN_SECONDS
    for step in (start, recount_changed, count_newest, count_older):
        while done := step(utcnow()):
            yield done
            if monotonic() > ends_at:
                return


def newest_end(now: datetime) -> int:
    """The end of the newest quarter that is old enough to be counted."""
    return InsightOutcome.floor(int((now - MIN_AGE).timestamp()))


def start(now: datetime) -> int:
    """Create the cursor, and cover nothing yet; 0 if that is done."""
    with reading_connection(db.engine) as connection:
        if read_cursor(connection, NAME) is not None:
            return 0
        # No bucket is counted yet that earlier events could change.
        position = event_feed.settled_position(connection)
    yesterday = Rollup.floor(int(now.timestamp())) - DAY
    with db.engine.begin() as connection:
        if event_feed.create_cursor(connection, NAME, position):
            store_coverage(connection, Coverage(yesterday, yesterday))
    return 1


def recount_changed(_now: datetime) -> int:
    """Count the buckets again in which something has changed; the number of changes."""
    with reading_connection(db.engine) as connection:
        cursor, coverage = _read_state(connection)
        position, quarters = _read_events(connection, cursor, coverage)
        requested = select(InsightRecount.quarter).distinct().limit(MAX_QUARTERS)
        quarters |= set(connection.scalars(requested))
        requests = select(InsightRecount.id).where(InsightRecount.quarter.in_(quarters))
        request_ids = connection.scalars(requests.limit(MAX_EVENTS)).all()
        counts = _count(connection, lambda table: coverage.changed_buckets(table, quarters))
    done = position - cursor.position + len(request_ids)
    if done:
        with db.engine.begin() as connection:
            if cursor.advance(connection, position):
                is_done = InsightRecount.id.in_(request_ids)
                connection.execute(delete(InsightRecount).where(is_done))
                _replace(connection, counts)
    return done


def _read_events(
    connection: Connection, cursor: CursorPosition, coverage: Coverage
) -> tuple[int, set[int]]:
    """The next position, and the counted quarters with events before it."""
    quarter = bucket_start()
    query = select(StatusEvent.id, quarter).outerjoin(Message, Message.id == StatusEvent.message_id)
    tail = EventTail(cursor.position)
    rows = [*tail.read(connection, query, MAX_EVENTS)]
    for _ in range(MAX_EXTRA_READS if tail.has_gaps else 0):
        rows += tail.read(connection, query, MAX_EVENTS)
    quarters: set[int] = set()
    for event_id, changed in sorted(rows, key=lambda row: row[0]):
        if event_id > tail.position:
            break
        if changed is not None and coverage.since <= changed < coverage.until:
            if changed not in quarters and len(quarters) == MAX_QUARTERS:
                return event_id - 1, quarters
            quarters.add(changed)
    return tail.position, quarters


def count_newest(now: datetime) -> int:
    """Count the next hours up to MIN_AGE ago, or fewer than before if the clock was put back."""
    with reading_connection(db.engine) as connection:
        cursor, coverage = _read_state(connection)
        until = min(newest_end(now), coverage.until + MAX_QUARTERS * QUARTER)
        if until == coverage.until:
            return 0
        counts = _count(connection, lambda t: [(t.floor(coverage.until), t.floor(until))])
    since = min(coverage.since, Rollup.floor(until))
    return _store(cursor, Coverage(since, until), counts)


def count_older(_now: datetime) -> int:
    """Count the newest day before those that are counted."""
    with reading_connection(db.engine) as connection:
        cursor, coverage = _read_state(connection)
        first_at = connection.scalar(creation_time.first_message_query(EVERYONE))
        if first_at is None or coverage.since <= first_at.timestamp():
            return 0
        since = coverage.since - DAY
        counts = _count(connection, lambda _table: [(since, coverage.since)])
    return _store(cursor, Coverage(since, coverage.until), counts)


def _read_state(connection: Connection) -> tuple[CursorPosition, Coverage]:
    cursor = read_cursor(connection, NAME)
    return cursor or CursorPosition(NAME, 0, 0), read_coverage(connection)


def _count(connection: Connection, ranges_of: Callable[[type[Rollup]], list[EpochRange]]) -> Counts:
    counts: Counts = []
    for table in ROLLUPS:
        ranges = [(start, end) for start, end in ranges_of(table) if start < end]
        if ranges:
            times = [(from_epoch(start), from_epoch(end)) for start, end in ranges]
            totals = count(connection, table, partial(created_within, ranges=times))
            counts.append((table, ranges, rollup_rows(table, totals, is_deleted=False)))
    return counts


def _store(cursor: CursorPosition, coverage: Coverage, counts: Counts) -> int:
    with db.engine.begin() as connection:
        if cursor.advance(connection):
            store_coverage(connection, coverage)
            _replace(connection, counts)
    return 1


def _replace(connection: Connection, counts: Counts) -> None:
    # With the owners, the keys of the tables are used.
    owners = union_all(select(User.id), select(literal(EVERYONE)))
    for table, ranges, rows in counts:
        for start, end in ranges:
            is_counted = (~table.is_deleted, table.owner_id.in_(owners))
            in_range = (table.bucket >= start, table.bucket < end)
            connection.execute(delete(table).where(*is_counted, *in_range))
        if rows:
            connection.execute(insert(table), rows)
