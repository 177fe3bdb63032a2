"""Count ahead for /insights what does not change every minute.

Reads come first, then one short transaction writes; it writes nothing if another worker wrote
meanwhile, so that what is kept is never older than the cursor says.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from time import monotonic

from sqlalchemy import Connection

from smstracker.clock import utcnow
from smstracker.database import READS_ONLY
from smstracker.extensions import db
from smstracker.models import spans
from smstracker.models.counting import count_by_owner, moment
from smstracker.models.insight_tallies import DAY, HALF_HOUR

# The newest change too often, and new messages may still come into them.
KEPT_LIVE = timedelta(hours=1)
SPANS_AT_ONCE = 24
DAYS_AT_ONCE = 2
BUDGET = 5.0  # seconds of one run, because silent messages wait for the same worker


def count_ahead(_last_done: datetime | None) -> Iterator[int]:
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
        cursor = spans.cursor(connection)
        ahead = spans.ahead_of(connection, cursor, now)
        touched = spans.touched(connection, cursor, ahead) if cursor and ahead else set()
        came = spans.news_began(connection, cursor) if touched and cursor else None
    if ahead is None:
        return 0
    with db.engine.begin() as connection:
        if cursor is None:
            spans.begin(connection, ahead)
        elif spans.advance(connection, cursor, ahead):
            spans.outdate(connection, touched, ahead, came or now)
    return spans.followed(cursor, ahead)


def count_spans(now: datetime) -> int:
    """Count a few half hours that are not counted, or of which silence has changed something."""
    with _reading() as connection:
        cursor = spans.cursor(connection)
        if cursor is None or cursor.event_id is None:
            return 0
        wanted = spans.uncounted(connection, now, now - KEPT_LIVE)[:SPANS_AT_ONCE]
        ranges = [(moment(began), moment(began + HALF_HOUR)) for began in wanted]
        counted = count_by_owner(connection, spans.merged(ranges), now)
    made = [spans.Made(began, HALF_HOUR) for began in wanted]
    for (owner_id, began), counts in counted.items():
        made[wanted.index(began)].put(owner_id, counts)
    return _write(cursor, made, now)


def add_up_days(now: datetime) -> int:
    """Add up the half hours of a few days that are counted as a whole."""
    with _reading() as connection:
        cursor = spans.cursor(connection)
        if cursor is None or cursor.event_id is None:
            return 0
        wanted = spans.days_to_add_up(connection, now)[:DAYS_AT_ONCE]
        made = [spans.Made(day, DAY, stale_at) for day, stale_at in wanted]
        for one in made:
            for owner_id, counts in spans.tallies_of(connection, one.began):
                one.put(owner_id, counts)
    return _write(cursor, made, now)


def _write(cursor: spans.Cursor, made: Sequence[spans.Made], now: datetime) -> int:
    if not made:
        return 0
    with db.engine.begin() as connection:
        if spans.advance(connection, cursor):
            spans.keep(connection, made, now)
    return len(made)


def _reading() -> Connection:
    return db.engine.connect().execution_options(**{READS_ONLY: True})
