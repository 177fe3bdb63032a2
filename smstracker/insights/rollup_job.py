"""The worker job that counts messages for /insights ahead, by whole days.

Each step reads first and writes in one short transaction. It writes nothing if another worker has
written since the read. So the rollups and the cursor always fit each other, and counting a day
again changes nothing.
"""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

from sqlalchemy import Connection, delete, insert, literal, select, union_all

from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.models import InsightRecount
from smstracker.models.creation_time import (
    created_within,
    creation_bucket,
    first_message_query,
    from_epoch,
)
from smstracker.models.event_feed import CursorPosition, EventTail, read_cursor
from smstracker.models.events import StatusEvent
from smstracker.models.insight_counts import ROLLUPS, Totals, count_totals, rollup_rows
from smstracker.models.insight_coverage import NAME, read_coverage, store_coverage
from smstracker.models.insight_rollups import DAY_SECONDS, EVERYONE, day_start
from smstracker.models.messages import Message
from smstracker.models.users import User

# Newer messages change too often, and more of them are created.
MIN_AGE = timedelta(hours=1)
MAX_EVENTS = 1_000  # in one step
MAX_DAYS = 3  # that have changed, in one step
MAX_EXTRA_READS = 2  # to see whether a missing event was rolled back
MAX_RUN_SECONDS = 5.0  # because silent messages wait for the same worker


def roll_up(_last_done: datetime | None) -> Iterator[int]:
    """Count changed days and new ones, newest first; yields the changes or days of each step."""
    ends_at = monotonic() + MAX_RUN_SECONDS
    while done := _count_days(utcnow()):
        yield done
        if monotonic() > ends_at:
            return


def newest_end(now: datetime) -> int:
    """The end of the newest day that is old enough to be counted."""
    return day_start(int((now - MIN_AGE).timestamp()))


def read_valid_coverage(connection: Connection, now: datetime) -> range:
    """The days that are counted and over; a clock may have been put back since."""
    coverage = read_coverage(connection)
    return range(coverage.start, min(coverage.stop, newest_end(now)), DAY_SECONDS)


def _count_days(now: datetime) -> int:
    """Count the days again in which something has changed, and one more."""
    with reading_connection(db.engine) as connection:
        cursor, coverage = read_cursor(connection, NAME), read_coverage(connection)
        position, changed = _read_events(connection, cursor, coverage)
        changed |= set(connection.scalars(select(InsightRecount.day).distinct().limit(MAX_DAYS)))
        requests = select(InsightRecount.id).where(InsightRecount.day.in_(changed))
        request_ids = connection.scalars(requests.limit(MAX_EVENTS)).all()
        done = position - cursor.position + len(request_ids)
        extended = _extend(connection, coverage, now)
        if not done and extended == coverage:
            return 0
        days = changed.intersection(coverage) | set(extended).difference(coverage)
        ranges = [(from_epoch(day), from_epoch(day + DAY_SECONDS)) for day in days]
        totals = count_totals(connection, partial(created_within, ranges=ranges))
    with db.engine.begin() as connection:
        if cursor.advance(connection, position):
            store_coverage(connection, extended)
            connection.execute(delete(InsightRecount).where(InsightRecount.id.in_(request_ids)))
            _replace(connection, days, totals)
    return done or 1


def _read_events(
    connection: Connection, cursor: CursorPosition, coverage: range
) -> tuple[int, set[int]]:
    """The next position, and the counted days with events before it."""
    day = creation_bucket(DAY_SECONDS)
    query = select(StatusEvent.id, day).outerjoin(Message, Message.id == StatusEvent.message_id)
    tail = EventTail(cursor.position)
    rows = [*tail.read(connection, query, MAX_EVENTS)]
    for _ in range(MAX_EXTRA_READS if tail.has_gaps else 0):
        rows += tail.read(connection, query, MAX_EVENTS)
    days: set[int] = set()
    for event_id, changed in sorted(rows, key=lambda row: row[0]):
        if event_id > tail.position:
            break
        if changed in coverage:
            if changed not in days and len(days) == MAX_DAYS:
                return event_id - 1, days
            days.add(changed)
    return tail.position, days


def _extend(connection: Connection, coverage: range, now: datetime) -> range:
    """Add the next day, or else the newest before the counted ones, if there is any."""
    end = newest_end(now)
    since, until = (coverage.start, coverage.stop) if coverage else (end, end)
    if until > end:  # the clock was put back
        return range(min(since, end), end, DAY_SECONDS)
    if until < end:
        return range(since, until + DAY_SECONDS, DAY_SECONDS)
    first_at = connection.scalar(first_message_query(EVERYONE))
    is_complete = first_at is None or since <= first_at.timestamp()
    return range(since if is_complete else since - DAY_SECONDS, until, DAY_SECONDS)


def _replace(connection: Connection, days: Collection[int], totals: Totals) -> None:
    # With the owners, the keys of the tables are used.
    owners = union_all(select(User.id), select(literal(EVERYONE)))
    for table in ROLLUPS:
        for day in days:
            is_counted = (~table.is_deleted, table.owner_id.in_(owners))
            in_day = (table.bucket >= day, table.bucket < day + DAY_SECONDS)
            connection.execute(delete(table).where(*is_counted, *in_day))
        if rows := rollup_rows(table, totals, is_deleted=False):
            connection.execute(insert(table), rows)
