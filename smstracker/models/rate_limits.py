"""Rate limits of the sign-in, counted for all processes together."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Index, String, case, or_, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import CLOCK_TOLERANCE, utcnow
from smstracker.database.engine import delete_unlocked, upsert
from smstracker.extensions import Model

WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RateLimitRule:
    """At most `max_hits` of `key` in a window that begins with the first hit."""

    key: str
    max_hits: int


class RateLimit(Model):
    """Hits of one key in the window that ends at `expires_at`, seconds since 1970.

    One that ends later than a window from now was begun by a wrong clock, and is over.
    """

    __tablename__ = "rate_limit"
    __table_args__ = (Index(None, "expires_at"),)

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    hits: Mapped[int]
    expires_at: Mapped[float]

    @classmethod
    def retry_after(
        cls, connection: Connection, rules: Collection[RateLimitRule], own_hits: int = 0
    ) -> timedelta | None:
        """Return the time until no limit is reached, not counting `own_hits`; None for now."""
        now = utcnow().timestamp()
        max_hits = {rule.key: rule.max_hits for rule in rules}
        live = select(cls.key, cls.hits, cls.expires_at).where(cls.key.in_(max_hits))
        ends = [
            row.expires_at
            for row in connection.execute(live.where(~cls._is_over(now)))
            if row.hits - own_hits >= max_hits[row.key]
        ]
        return timedelta(seconds=int(max(ends) - now) + 1) if ends else None

    @classmethod
    def hit(cls, connection: Connection, rules: Collection[RateLimitRule]) -> None:
        """Count one hit for each rule, sorted by key: two clients must not deadlock."""
        now = utcnow().timestamp()
        expires_at, is_over = now + WINDOW.total_seconds(), cls._is_over(now)
        changes = {
            "hits": case((is_over, 1), else_=cls.hits + 1),
            "expires_at": case((is_over, expires_at), else_=cls.expires_at),
        }
        statement = upsert(connection.dialect.name, cls, ("key",), changes)
        for key in sorted(rule.key for rule in rules):
            connection.execute(statement.values(key=key, hits=1, expires_at=expires_at))

    @classmethod
    def purge(cls, connection: Connection, now: datetime) -> int:
        """Delete the windows that have ended; return how many."""
        expired = select(cls.key).where(cls._is_over(now.timestamp()))
        return delete_unlocked(connection, cls, expired)

    @classmethod
    def _is_over(cls, now: float) -> ColumnElement[bool]:
        latest = now + (WINDOW + CLOCK_TOLERANCE).total_seconds()
        return or_(cls.expires_at <= now, cls.expires_at > latest)
