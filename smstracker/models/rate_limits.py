"""Counters of the sign-in limits, shared by every process."""

from datetime import datetime

from sqlalchemy import Index, String, delete, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.database import rows
from smstracker.extensions import Model


class RateLimit(Model):
    """Hits of one key in the window that ends at `expires_at`, in seconds since 1970."""

    __tablename__ = "rate_limit"
    __table_args__ = (Index(None, "expires_at"),)

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    hits: Mapped[int]
    expires_at: Mapped[float]

    @classmethod
    def purge(cls, connection: Connection, now: datetime) -> int:
        """Forget the windows that have ended; how many.

        What another client is just counting is left alone: waiting for it could deadlock.
        """
        stale = select(cls.key).where(cls.expires_at <= now.timestamp())
        free = stale.with_for_update(skip_locked=True)
        return rows(connection.execute(delete(cls).where(cls.key.in_(free))))
