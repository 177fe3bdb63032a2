"""Counters of the sign-in limits, shared by every process."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Index, String, case, delete, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import utcnow
from smstracker.database.engine import affected_rows, dialect_insert
from smstracker.extensions import Model

WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RateLimitRule:
    """At most `most` hits of `key` in a window, which begins with the first of them."""

    key: str
    most: int


class RateLimit(Model):
    """Hits of one key in the window that ends at `expires_at`, in seconds since 1970."""

    __tablename__ = "rate_limit"
    __table_args__ = (Index(None, "expires_at"),)

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    hits: Mapped[int]
    expires_at: Mapped[float]

    @classmethod
    def wait(
        cls, connection: Connection, limits: Collection[RateLimitRule], own: int = 0
    ) -> timedelta | None:
        """How long until the last of the reached limits ends; `own` hits count for nothing."""
        now = utcnow().timestamp()
        most = {limit.key: limit.most for limit in limits}
        live = select(cls.key, cls.hits, cls.expires_at).where(cls.key.in_(most))
        ends = [
            row.expires_at
            for row in connection.execute(live.where(cls.expires_at > now))
            if row.hits - own >= most[row.key]
        ]
        return timedelta(seconds=int(max(ends) - now) + 1) if ends else None

    @classmethod
    def hit(cls, connection: Connection, limits: Collection[RateLimitRule]) -> None:
        """Count one hit against each, in one order: two clients must not wait for each other."""
        now = utcnow().timestamp()
        ends, is_over = now + WINDOW.total_seconds(), cls.expires_at <= now
        news = {
            "hits": case((is_over, 1), else_=cls.hits + 1),
            "expires_at": case((is_over, ends), else_=cls.expires_at),
        }
        for key in sorted(limit.key for limit in limits):
            first = dialect_insert(connection.engine, cls).values(key=key, hits=1, expires_at=ends)
            connection.execute(first.on_conflict_do_update(index_elements=[cls.key], set_=news))

    @classmethod
    def purge(cls, connection: Connection, now: datetime) -> int:
        """Forget the windows that have ended; how many.

        What another client is just counting is left alone: waiting for it could deadlock.
        """
        stale = select(cls.key).where(cls.expires_at <= now.timestamp())
        free = stale.with_for_update(skip_locked=True)
        return affected_rows(connection.execute(delete(cls).where(cls.key.in_(free))))
