"""Forget what is past its time: never a message, never a status event of a message."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import func, select

from smstracker.clock import utcnow
from smstracker.extensions import db, settings
from smstracker.models import (
    CallbackTally,
    Message,
    RateLimit,
    RecipientSearch,
    RefusedCallback,
    SignInToken,
    StatusEvent,
    UserSession,
)
from smstracker.models.work import Heartbeat
from smstracker.webhooks.diagnosis import diagnose_pending


def purge() -> dict[str, int]:
    """Delete what nobody needs any more; how much of each kind, by its name for people."""
    now = utcnow()
    refused, orphans = _purge_refused(now), _purge_orphans(now)
    connection = db.session.connection()
    counted = {
        "refused callbacks": refused,
        "callbacks of other programs": orphans,
        "counts of callbacks": CallbackTally.purge(now),
        "entries of dead workers": Heartbeat.purge(connection),
        "sign-in tokens": SignInToken.purge(),
        "searches for recipients": RecipientSearch.purge(now),
        "sessions": UserSession.end_stale(),
        "expired rate-limit counters": RateLimit.purge(connection, now),
    }
    db.session.commit()
    return counted


def _purge_refused(now: datetime) -> int:
    """A few at a time: they are large, and callbacks want to be stored meanwhile."""
    purged = 0
    while batch := RefusedCallback.purge(now):
        purged += batch
        db.session.commit()
    db.session.commit()
    return purged


def _purge_orphans(now: datetime) -> int:
    """Callbacks that no message has claimed within the receipt window, a few at a time.

    Those stay that may belong to a message whose SID is still being looked for.
    """
    before = now - timedelta(hours=settings().receipt_window_hours)
    oldest = db.session.scalar(
        select(func.min(Message.created_at)).where(
            Message.next_lookup_at.is_not(None), Message.twilio_sid.is_(None)
        )
    )
    before = min(before, oldest) if oldest else before
    purged = 0
    while batch := StatusEvent.purge_orphans(db.session.connection(), before):
        purged += batch
        db.session.commit()
    db.session.commit()
    return purged


def upkeep(_last_done: datetime | None) -> Iterator[dict[str, int]]:
    """The daily chore of it."""
    yield purge()


def explain_refused(_last_done: datetime | None) -> Iterator[int]:
    """Say why callbacks were refused, so that whoever looks need not wait for it."""
    explained = diagnose_pending()
    db.session.commit()
    yield explained
