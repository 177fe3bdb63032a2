"""Forget what is past its time: never a message, never a status event of a message."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

from sqlalchemy import func, select

from smstracker.clock import utcnow
from smstracker.extensions import db, receipt_window
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
from smstracker.models.jobs import Heartbeat
from smstracker.refused.stored_diagnosis import diagnose_pending

# These are deleted a few at a time: there may be many, and callbacks want to be stored meanwhile.
LARGE = ("refused callbacks", "callbacks of other programs")


def purge() -> dict[str, int]:
    """Delete what nobody needs any more; how much of each kind, by its name for people."""
    counts: Counter[str] = Counter()
    for kind, count in purge_in_steps():
        counts[kind] += count
    return dict(counts)


def purge_in_steps() -> Iterator[tuple[str, int]]:
    """The same a batch at a time, each committed before the next: its kind and how much it was."""
    now = utcnow()
    for kind, purge_batch in _purges(now).items():
        while True:
            count = purge_batch()
            db.session.commit()
            yield kind, count
            if not count or kind not in LARGE:
                break


def _purges(now: datetime) -> dict[str, Callable[[], int]]:
    session = db.session
    orphaned_before = _orphaned_before(now)
    session.commit()
    return {
        "refused callbacks": lambda: RefusedCallback.purge(now),
        "callbacks of other programs": lambda: StatusEvent.purge_orphans(
            session.connection(), orphaned_before
        ),
        "counts of callbacks": lambda: CallbackTally.purge(now),
        "entries of dead workers": lambda: Heartbeat.purge(session.connection()),
        "sign-in tokens": SignInToken.purge,
        "searches for recipients": lambda: RecipientSearch.purge(now),
        "sessions": UserSession.purge,
        "expired rate-limit counters": lambda: RateLimit.purge(session.connection(), now),
    }


def _orphaned_before(now: datetime) -> datetime:
    """Callbacks from before that, which no message has claimed, nobody claims any more.

    Those stay that may belong to a message whose SID is still being looked for.
    """
    before = now - receipt_window()
    oldest = db.session.scalar(
        select(func.min(Message.created_at)).where(
            Message.next_lookup_at.is_not(None), Message.twilio_sid.is_(None)
        )
    )
    return min(before, oldest) if oldest else before


def upkeep(_last_done: datetime | None) -> Iterator[tuple[str, int]]:
    """The daily chore of it."""
    return purge_in_steps()


def explain_refused(_last_done: datetime | None) -> Iterator[int]:
    """Say why callbacks were refused, so that whoever looks need not wait for it."""
    explained = diagnose_pending()
    db.session.commit()
    yield explained
