"""Daily purge of expired rows, never of messages or their events; diagnosis of refusals."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

from sqlalchemy import func, select

from smstracker import models
from smstracker.clock import utcnow
from smstracker.extensions import db, receipt_window
from smstracker.refused.stored_diagnosis import diagnose_pending

# There may be many of these, so they are deleted in batches between which callbacks are stored.
BATCHED_KINDS = ("refused callbacks", "callbacks of other programs")


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


def _purges(now: datetime) -> dict[str, Callable[[], int]]:
    session = db.session
    orphan_cutoff = _orphan_cutoff(now)
    session.commit()
    return {
        "refused callbacks": lambda: models.RefusedCallback.purge(now),
        "callbacks of other programs": lambda: models.StatusEvent.purge_orphans(
            session.connection(), orphan_cutoff
        ),
        "counts of callbacks": lambda: models.CallbackTally.purge(now),
        "entries of dead workers": lambda: models.Heartbeat.purge(session.connection()),
        "sign-in tokens": models.SignInToken.purge,
        "searches for recipients": lambda: models.RecipientSearch.purge(now),
        "sessions": models.UserSession.purge,
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
    """Purge as a daily job."""
    return purge_in_steps()


def diagnose_refused(_last_done: datetime | None) -> Iterator[int]:
    """Diagnose refused callbacks in advance, so that pages show the reason at once."""
    diagnosed_count = diagnose_pending()
    db.session.commit()
    yield diagnosed_count
