"""Searches for a recipient: URLs carry a handle instead of the digits."""

import secrets
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, String, UniqueConstraint, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import utcnow
from smstracker.database.engine import UtcDateTime, affected_rows, excluded, upsert
from smstracker.extensions import Model, db
from smstracker.models.keep_settings import KeepSetting, days_in_force

# A bookmarked search works for this long after it was last typed.
RETENTION = timedelta(days=90)


class RecipientSearch(Model):
    """`digits` are a whole number without its + if `is_full`, else the last digits of one."""

    __tablename__ = "recipient_search"
    __table_args__ = (UniqueConstraint("owner_id", "digits", "is_full"),)

    handle: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    digits: Mapped[str] = mapped_column(String(16))
    is_full: Mapped[bool]
    used_at: Mapped[datetime] = mapped_column(UtcDateTime)

    @classmethod
    def get_or_create(cls, owner_id: int, digits: str, is_full: bool) -> "RecipientSearch":
        """Return the owner's search for these digits, the same one each time."""
        # One statement: a form that is sent twice at once must not fail.
        key = ("owner_id", "digits", "is_full")
        changes = {"used_at": excluded("used_at")}
        statement = upsert(db.engine.dialect.name, cls, key, changes).values(
            handle=secrets.token_urlsafe(12),
            owner_id=owner_id,
            digits=digits,
            is_full=is_full,
            used_at=utcnow(),
        )
        options = {"populate_existing": True}
        return db.session.scalars(statement.returning(cls), execution_options=options).one()

    @classmethod
    def find_by_handle(cls, owner_id: int, handle: str) -> "RecipientSearch | None":
        """Return the owner's search, None for another's."""
        if "\0" in handle:  # PostgreSQL refuses it in a text
            return None
        return db.session.scalar(select(cls).where(cls.owner_id == owner_id, cls.handle == handle))

    @classmethod
    def purge(cls, now: datetime) -> int:
        """Delete searches not typed again for RETENTION or KEEP_MESSAGE_DAYS; return how many."""
        connection = db.session.connection()
        days = days_in_force(connection, KeepSetting.MESSAGES)
        kept_for = min(RETENTION, timedelta(days=days)) if days else RETENTION
        return affected_rows(db.session.execute(delete(cls).where(cls.used_at < now - kept_for)))
