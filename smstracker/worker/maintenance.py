"""Daily purge of expired rows, never of messages or their events; diagnosis of refusals; messages
that a wrong clock keeps waiting.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

from sqlalchemy import func, select

from smstracker import models
from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db, is_sqlite, receipt_window
from smstracker.models import outbox
from smstracker.privacy.disk_traces import truncate_log
from smstracker.refused.stored_diagnosis import diagnose_pending

log = logging.getLogger(__name__)

ANALYZED_ROWS = 1000  # of each index
# There may be many of these, so they are deleted in batches between which callbacks are stored.
BATCHED_KINDS = (
    *("refused callbacks", "callbacks of other programs"),
    *("raw callbacks without a message", "hashes of deleted messages"),
)


def purge() -> dict[str, int]:
    """Delete all expired rows; the number of each kind, by its displayed name."""
    counts: Counter[str] = Counter()
    for kind, count in purge_in_steps():
        counts[kind] += count
    return dict(counts)


def purge_in_steps() -> Iterator[tuple[str, int]]:
    """Delete expired rows in batches, each committed; yield the kind and number of each."""
    now = utcnow()
    for kind, purge_batch in _purges(now).items():
        while True:
            count = purge_batch()
            db.session.commit()
            yield kind, count
            if not count or kind not in BATCHED_KINDS:
                break
    truncate_log()  # it has copies of what was deleted


def _purges(now: datetime) -> dict[str, Callable[[], int]]:
    session = db.session
    orphan_cutoff = _orphan_cutoff(now)
    session.commit()
    return {
        "refused callbacks": lambda: models.RefusedCallback.purge(now),
        "callbacks of other programs": lambda: models.StatusEvent.purge_orphans(
            session.connection(), orphan_cutoff
        ),
        "raw callbacks without a message": lambda: models.StatusEvent.blank_orphans(
            session.connection(), now
        ),
        "hashes of deleted messages": lambda: models.Tombstone.purge(session.connection(), now),
        "counts of callbacks": lambda: models.CallbackTally.purge(now),
        "entries of dead workers": lambda: models.Heartbeat.purge(session.connection()),
        "past alerts": lambda: models.Alert.purge(session.connection(), now),
        "sign-in tokens": models.SignInToken.purge,
        "searches for recipients": lambda: models.RecipientSearch.purge(now),
        "sessions": models.UserSession.purge,
        "ended tokens": lambda: models.ApiToken.purge(now),
        "audit entries": lambda: models.AuditEntry.purge(now),
        "expired rate-limit counters": lambda: models.RateLimit.purge(session.connection(), now),
    }


def _orphan_cutoff(now: datetime) -> datetime:
    """The time before which callbacks without a message are purged.

    Keeps those that may belong to a message whose SID is still being looked up.
    """
    cutoff, message = now - receipt_window(), models.Message
    is_unresolved = message.next_lookup_at.is_not(None) & message.twilio_sid.is_(None)
    oldest = db.session.scalar(select(func.min(message.created_at)).where(is_unresolved))
    return min(cutoff, oldest) if oldest else cutoff


def run_maintenance(_last_done: datetime | None) -> Iterator[tuple[str, int]]:
    """Purge as a daily job, and count what SQLite's planner has to know."""
    yield from purge_in_steps()
    refresh_statistics()


def refresh_statistics() -> None:
    """Tell SQLite how its indexes divide the rows; PostgreSQL does that by itself.

    The limit keeps this to milliseconds, however large the tables are.
    """
    if is_sqlite():
        with db.engine.begin() as connection:
            connection.exec_driver_sql(f"PRAGMA analysis_limit = {ANALYZED_ROWS}")
            connection.exec_driver_sql("ANALYZE")


def diagnose_refused(_last_done: datetime | None) -> Iterator[int]:
    """Diagnose refused callbacks in advance, so that pages show the reason at once."""
    diagnosed_count = diagnose_pending()
    db.session.commit()
    yield diagnosed_count


def redate_waiting(_last_done: datetime | None) -> Iterator[int]:
    """Send what a clock that was ahead has saved to be sent at once."""
    while True:
        now = utcnow()
        with reading_connection(db.engine) as connection:
            ids = outbox.find_misdated(connection, now)
        if not ids:
            return
        log.warning("clock_was_ahead", extra={"count": len(ids)})
        with db.engine.begin() as connection:
            outbox.redate(connection, ids, now)
        yield len(ids)
