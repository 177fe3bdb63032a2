"""What became of the newest mail: one row that every process writes and reads."""

from datetime import datetime, timedelta

from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import utcnow
from smstracker.database.engine import READS_ONLY, UtcDateTime, dialect_insert
from smstracker.extensions import Model, db

# Nobody has asked for a mail for so long that the trouble may have passed.
OUTDATED_AFTER = timedelta(hours=1)
ONLY_ROW = 1


class MailHealth(Model):
    """The newest outcomes, as names of exceptions: None is success.

    `server_problem` is found out for every request alike, before it is looked up whether the
    address may sign in, so it may be shown to everyone; `refusal`, what the server made of a mail
    to one address, may not.
    """

    __tablename__ = "mail_health"

    id: Mapped[int] = mapped_column(primary_key=True)
    server_problem: Mapped[str | None] = mapped_column(String(64))
    server_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    refusal: Mapped[str | None] = mapped_column(String(64))
    refusal_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @classmethod
    def record_server(cls, problem: str | None) -> None:
        """The server could be used up to the recipient, or could not."""
        cls._record(server_problem=problem and problem[:64], server_at=utcnow())

    @classmethod
    def record_mail(cls, refusal: str | None) -> None:
        """The server took a mail, or refused it."""
        cls._record(refusal=refusal and refusal[:64], refusal_at=utcnow())

    @classmethod
    def _record(cls, **news: str | datetime | None) -> None:
        first = dialect_insert(db.engine, cls).values(id=ONLY_ROW, **news)
        db.session.execute(first.on_conflict_do_update(index_elements=["id"], set_=news))

    @classmethod
    def latest(cls) -> "MailHealth":
        """Read without a lock, because the page of a wrong code is shown to strangers."""
        columns = (cls.server_problem, cls.server_at, cls.refusal, cls.refusal_at)
        with db.engine.connect().execution_options(**{READS_ONLY: True}) as connection:
            row = connection.execute(select(*columns).where(cls.id == ONLY_ROW)).first()
        return cls(**row._mapping) if row else cls()

    @property
    def has_server_problem(self) -> bool:
        """Whether no mail to anybody can be sent at the moment, as far as is known."""
        is_recent = self.server_at is not None and self.server_at > utcnow() - OUTDATED_AFTER
        return self.server_problem is not None and is_recent
