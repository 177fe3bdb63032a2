"""Outcome of the newest mail: one row that every process writes and reads."""

from datetime import datetime, timedelta

from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import is_within, utcnow
from smstracker.database.engine import UtcDateTime, reading_connection, upsert
from smstracker.extensions import Model, db
from smstracker.network_errors import is_temporary

# An older problem may have passed: no mail was tried since.
PROBLEM_LIFETIME = timedelta(hours=1)
ONLY_ROW_ID = 1


class MailHealth(Model):
    """The newest outcomes as exception names; None is success.

    `server_problem` may be shown to everyone: it is checked for every request, before the address
    is looked up. `refusal`, the server's answer to a mail for one address, may not.
    """

    __tablename__ = "mail_health"

    id: Mapped[int] = mapped_column(primary_key=True)
    server_problem: Mapped[str | None] = mapped_column(String(64))
    server_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    refusal: Mapped[str | None] = mapped_column(String(64))
    refusal_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @classmethod
    def record_server(cls, problem: str | None) -> None:
        """Store whether the server could be used, up to naming the recipient."""
        cls._record(server_problem=problem and problem[:64], server_at=utcnow())

    @classmethod
    def record_mail(cls, refusal: str | None) -> None:
        """Store whether the server accepted a mail."""
        cls._record(refusal=refusal and refusal[:64], refusal_at=utcnow())

    @classmethod
    def _record(cls, **columns: str | datetime | None) -> None:
        statement = upsert(db.engine.dialect.name, cls, ("id",), columns)
        db.session.execute(statement.values(id=ONLY_ROW_ID, **columns))

    @classmethod
    def latest(cls) -> "MailHealth":
        """Read the row without a lock: strangers see the page of a wrong code."""
        columns = (cls.server_problem, cls.server_at, cls.refusal, cls.refusal_at)
        with reading_connection(db.engine) as connection:
            row = connection.execute(select(*columns).where(cls.id == ONLY_ROW_ID)).first()
        return cls(**row._mapping) if row else cls()

    @property
    def has_server_problem(self) -> bool:
        """True if mail to anybody is likely to fail now."""
        if self.server_problem is None or self.server_at is None:
            return False
        return is_within(self.server_at, utcnow(), PROBLEM_LIFETIME)

    @property
    def asks_to_wait(self) -> bool:
        """True if mail to anybody is likely to be taken some minutes later."""
        return self.has_server_problem and is_temporary(self.server_problem or "")
