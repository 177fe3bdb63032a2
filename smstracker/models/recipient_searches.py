"""Recipients that somebody has searched for: a handle stands for the digits in URLs."""

import secrets
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, String, UniqueConstraint, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import utcnow
from smstracker.database.engine import UtcDateTime, affected_rows, dialect_insert
from smstracker.extensions import Model, db

# A bookmark of a search lives as long as it was typed again within this time.
KEPT = timedelta(days=90)


class RecipientSearch(Model):
    """`digits` is a whole number without its +, or, unless `is_full`, the last digits of one."""

    __tablename__ = "recipient_search"
    __table_args__ = (UniqueConstraint("owner_id", "digits", "is_full"),)

    handle: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    digits: Mapped[str] = mapped_column(String(16))
    is_full: Mapped[bool]
    used_at: Mapped[datetime] = mapped_column(UtcDateTime)

    @classmethod
    def remember(cls, owner_id: int, digits: str, is_full: bool) -> "RecipientSearch":
        """The search for these digits, the same one each time."""
        fresh = dialect_insert(db.engine, cls).values(
            handle=secrets.token_urlsafe(12),
            owner_id=owner_id,
            digits=digits,
            is_full=is_full,
            used_at=utcnow(),
        )
        # In one statement: a form that is sent twice at once must not fail for its second.
        same = fresh.on_conflict_do_update(
            index_elements=("owner_id", "digits", "is_full"),
            set_={"used_at": fresh.excluded.used_at},
        ).returning(cls)
        fetched = db.session.scalars(same, execution_options={"populate_existing": True})
        return fetched.one()

    @classmethod
    def find_by_handle(cls, owner_id: int, handle: str) -> "RecipientSearch | None":
        """One's own search, None for another's."""
        if "\0" in handle:  # PostgreSQL has no such text
            return None
        return db.session.scalar(select(cls).where(cls.owner_id == owner_id, cls.handle == handle))

    @classmethod
    def purge(cls, now: datetime) -> int:
        return affected_rows(db.session.execute(delete(cls).where(cls.used_at < now - KEPT)))
