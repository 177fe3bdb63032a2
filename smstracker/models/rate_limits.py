"""Rate limits of the sign-in and of tokens, counted for all processes together."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter

from sqlalchemy import ColumnElement, Index, String, case, or_, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import CLOCK_TOLERANCE, utcnow
from smstracker.database.engine import delete_unlocked, upsert
from smstracker.extensions import Model

WINDOW = timedelta(hours=1)
LONGEST_WINDOW = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RateLimitRule:
    """At most `max_hits` of `key` in a window that begins with the first hit."""

    key: str
    max_hits: int
    window: timedelta = WINDOW


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
        rules_by_key = {rule.key: rule for rule in rules}
        live = or_(*((cls.key == rule.key) & ~cls._is_over(now, rule.window) for rule in rules))
        ends = [
            row.expires_at
            for row in connection.execute(select(cls.key, cls.hits, cls.expires_at).where(live))
            if row.hits - own_hits >= rules_by_key[row.key].max_hits
        ]
        return timedelta(seconds=int(max(ends) - now) + 1) if ends else None

    @classmethod
    def hit(cls, connection: Connection, rules: Collection[RateLimitRule]) -> None:
        """Count one hit for each rule, sorted by key: two clients must not deadlock."""
        now = utcnow().timestamp()
        for rule in sorted(rules, key=attrgetter("key")):
            expires_at = now + rule.window.total_seconds()
            is_over = cls._is_over(now, rule.window)
            changes = {
                "hits": case((is_over, 1), else_=cls.hits + 1),
                "expires_at": case((is_over, expires_at), else_=cls.expires_at),
            }
            statement = upsert(connection.dialect.name, cls, ("key",), changes)
            connection.execute(statement.values(key=rule.key, hits=1, expires_at=expires_at))

    @classmethod
    def purge(cls, connection: Connection, now: datetime) -> int:
        """Delete the windows that have ended; return how many."""
        expired = select(cls.key).where(cls._is_over(now.timestamp(), LONGEST_WINDOW))
        return delete_unlocked(connection, cls, expired)

    @classmethod
    def _is_over(cls, now: float, window: timedelta) -> ColumnElement[bool]:
        latest = now + (window + CLOCK_TOLERANCE).total_seconds()
        return or_(cls.expires_at <= now, cls.expires_at > latest)
