"""The worker job that rolls up for /insights what does not change every minute.

Each step reads first and writes in one short transaction; it writes nothing if another worker has
written since the read, so that no rollup is older than the cursor says.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from time import monotonic

from sqlalchemy import Connection

from smstracker.clock import utcnow
from smstracker.database.engine import READS_ONLY
from smstracker.extensions import db
from smstracker.models import insight_buckets, insight_cursor
from smstracker.models.insight_buckets import CountedBucket
from smstracker.models.insight_cursor import RollupCursor
from smstracker.models.insight_rollups import DAY, HALF_HOUR
from smstracker.models.totals_query import count_by_owner, from_epoch, merge_ranges

# Newer messages change too often, and more of them are created.
MIN_AGE = timedelta(hours=1)
MAX_HALF_HOURS = 24  # in one step
MAX_DAYS = 2  # in one step
MAX_RUN_SECONDS = 5.0  # because silent messages wait for the same worker


def roll_up(_last_done: datetime | None) -> Iterator[int]:
    """Count new and changed buckets, newest first; yields the amount of work of each step."""
    ends_at = monotonic() + MAX_RUN_SECONDS
    for step in (follow_changes, count_half_hours, roll_up_days):
        while done := step(utcnow()):
            yield done
            if monotonic() > ends_at:
                return


def follow_changes(now: datetime) -> int:
    """Mark the buckets that events have changed; the number of events and changes followed."""
    changed: set[int] = set()
    changed_at = None
    with _reading() as connection:
        before = insight_cursor.read_cursor(connection)
        after = insight_cursor.next_cursor(connection, before, now)
        if before and after:
            changed = insight_cursor.changed_buckets(connection, before, after)
            if changed:
                changed_at = insight_cursor.first_unfollowed_at(connection, before)
    if after is None:
        return 0
    with db.engine.begin() as connection:
        if before is None:
            insight_cursor.create_cursor(connection, after)
        elif insight_cursor.advance(connection, before, after):
            insight_cursor.delete_followed_changes(connection, after)
            insight_buckets.mark_changed(connection, changed, changed_at or now)
    return insight_cursor.count_followed(before, after)


def count_half_hours(now: datetime) -> int:
    """Count the newest half hours without current counts; their number."""
    with _reading() as connection:
        cursor = insight_cursor.read_cursor(connection)
        if cursor is None or not cursor.is_started:
            return 0
        starts = insight_buckets.uncounted_half_hours(connection, now, now - MIN_AGE)
        starts = starts[:MAX_HALF_HOURS]
        ranges = [(from_epoch(start), from_epoch(start + HALF_HOUR)) for start in starts]
        totals_by_key = count_by_owner(connection, merge_ranges(ranges), now)
    buckets = {start: CountedBucket(start, HALF_HOUR) for start in starts}
    for (owner_id, start), totals in totals_by_key.items():
        buckets[start].add(owner_id, totals)
    return _store(cursor, list(buckets.values()), now)


def roll_up_days(now: datetime) -> int:
    """Roll up the newest days whose half hours are all counted; their number."""
    with _reading() as connection:
        cursor = insight_cursor.read_cursor(connection)
        if cursor is None or not cursor.is_started:
            return 0
        days = insight_buckets.days_to_roll_up(connection, now)[:MAX_DAYS]
        buckets = [CountedBucket(day, DAY, stale_at) for day, stale_at in days]
        for bucket in buckets:
            for owner_id, totals in insight_buckets.half_hour_rollups(connection, bucket.start):
                bucket.add(owner_id, totals)
    return _store(cursor, buckets, now)


def _store(cursor: RollupCursor, buckets: Sequence[CountedBucket], now: datetime) -> int:
    if not buckets:
        return 0
    with db.engine.begin() as connection:
        if insight_cursor.advance(connection, cursor):
            insight_buckets.store_buckets(connection, buckets, now)
    return len(buckets)


def _reading() -> Connection:
    return db.engine.connect().execution_options(**{READS_ONLY: True})
