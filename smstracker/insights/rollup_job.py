"""Count ahead for /insights what does not change every minute.

Reads come first, then one short transaction writes; it writes nothing if another worker wrote
meanwhile, so that what is kept is never older than the cursor says.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from time import monotonic

from sqlalchemy import Connection

from smstracker.clock import utcnow
from smstracker.database.engine import READS_ONLY
from smstracker.extensions import db
from smstracker.models import insight_buckets
from smstracker.models.insight_rollups import DAY, HALF_HOUR
from smstracker.models.message_totals import count_by_owner, moment

# The newest change too often, and new messages may still come into them.
KEPT_LIVE = timedelta(hours=1)
SPANS_AT_ONCE = 24
DAYS_AT_ONCE = 2
BUDGET = 5.0  # seconds of one run, because silent messages wait for the same worker


def roll_up(_last_done: datetime | None) -> Iterator[int]:
    """Count what is new or has changed, the newest first; of each step, how many spans."""
    ends_at = monotonic() + BUDGET
    for step in (follow, count_spans, add_up_days):
        while done := step(utcnow()):
            yield done
            if monotonic() > ends_at:
                return


def follow(now: datetime) -> int:
    """Count the spans anew about whose messages there was news; how much was followed."""
    with _reading() as connection:
        cursor = insight_buckets.cursor(connection)
        ahead = insight_buckets.events_ahead(connection, cursor, now)
        touched = insight_buckets.touched(connection, cursor, ahead) if cursor and ahead else set()
        came = insight_buckets.news_began(connection, cursor) if touched and cursor else None
    if ahead is None:
        return 0
    with db.engine.begin() as connection:
        if cursor is None:
            insight_buckets.begin(connection, ahead)
        elif insight_buckets.advance(connection, cursor, ahead):
            insight_buckets.outdate(connection, touched, ahead, came or now)
    return insight_buckets.followed(cursor, ahead)


def count_spans(now: datetime) -> int:
    """Count a few half hours that are not counted, or of which silence has changed something."""
    with _reading() as connection:
        cursor = insight_buckets.cursor(connection)
        if cursor is None or cursor.event_id is None:
            return 0
        wanted = insight_buckets.uncounted(connection, now, now - KEPT_LIVE)[:SPANS_AT_ONCE]
        ranges = [(moment(began), moment(began + HALF_HOUR)) for began in wanted]
        counted = count_by_owner(connection, insight_buckets.merged(ranges), now)
    made = [insight_buckets.CountedBucket(began, HALF_HOUR) for began in wanted]
    for (owner_id, began), counts in counted.items():
        made[wanted.index(began)].put(owner_id, counts)
    return _write(cursor, made, now)


def add_up_days(now: datetime) -> int:
    """Add up the half hours of a few days that are counted as a whole."""
    with _reading() as connection:
        cursor = insight_buckets.cursor(connection)
        if cursor is None or cursor.event_id is None:
            return 0
        wanted = insight_buckets.days_to_add_up(connection, now)[:DAYS_AT_ONCE]
        made = [insight_buckets.CountedBucket(day, DAY, stale_at) for day, stale_at in wanted]
        for one in made:
            for owner_id, counts in insight_buckets.day_rollups(connection, one.began):
                one.put(owner_id, counts)
    return _write(cursor, made, now)


def _write(
    cursor: insight_buckets.Cursor, made: Sequence[insight_buckets.CountedBucket], now: datetime
) -> int:
    if not made:
        return 0
    with db.engine.begin() as connection:
        if insight_buckets.advance(connection, cursor):
            insight_buckets.keep(connection, made, now)
    return len(made)


def _reading() -> Connection:
    return db.engine.connect().execution_options(**{READS_ONLY: True})
