"""Forget what is past its time: never a message, never a status event."""

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import RateLimit, SignInToken, UserSession
from smstracker.models.work import Heartbeat


def purge() -> dict[str, int]:
    """Delete what nobody needs any more; how much of each kind, by its name for people."""
    connection = db.session.connection()
    counted = {
        "killed workers": Heartbeat.purge(connection),
        "sign-in tokens": SignInToken.purge(),
        "sessions": UserSession.end_stale(),
        "limits": RateLimit.purge(connection, utcnow()),
    }
    db.session.commit()
    return counted
