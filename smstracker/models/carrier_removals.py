"""Messages that are to be redacted or deleted at Twilio too, kept until that is done."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, Index, String, Text, delete, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import has_come
from smstracker.database.engine import UtcDateTime, excluded, upsert
from smstracker.extensions import Model, settings

MAX_RETRY_DELAY = timedelta(days=1)
FAILING_TRIES = 5  # they take an hour


class CarrierAction(StrEnum):
    """What Twilio is asked to do; a message that is deleted need not be redacted before."""

    REDACT = "redact"
    CLEAR = "clear"  # redact, and delete the pictures
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class RemovedMessage:
    """What it takes to find a message at Twilio once it is deleted here."""

    twilio_sid: str
    account_sid: str | None
    simulated: bool
    action: CarrierAction
    receipt: str | None = None


class CarrierRemoval(Model):
    """One message at Twilio. `next_try_at` is None once it has failed for good, by `problem`.

    `receipt` is of the erasure that asks for it, if one does.
    """

    __tablename__ = "carrier_removal"
    __table_args__ = (Index(None, "next_try_at"), Index(None, "receipt"))

    twilio_sid: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_sid: Mapped[str | None] = mapped_column(String(34))
    simulated: Mapped[bool]
    action: Mapped[str] = mapped_column(String(8))
    tries: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    problem: Mapped[str | None] = mapped_column(Text)
    receipt: Mapped[str | None] = mapped_column(String(16))

    @classmethod
    def request(
        cls,
        connection: Connection,
        messages: Iterable[RemovedMessage],
        now: datetime,
    ) -> None:
        """Store messages to be redacted or deleted at Twilio, now at the earliest."""
        rows = [
            {
                "twilio_sid": message.twilio_sid,
                "account_sid": message.account_sid,
                "simulated": message.simulated,
                "action": message.action,
                "tries": 0,
                "next_try_at": now,
                "receipt": message.receipt,
            }
            for message in messages
        ]
        if rows:
            names = ("action", "tries", "next_try_at", "receipt")
            changes = {name: excluded(name) for name in names} | {"problem": None}
            statement = upsert(connection.dialect.name, cls, ("twilio_sid",), changes)
            connection.execute(statement, rows)

    @classmethod
    def read_due(cls, connection: Connection, now: datetime) -> "CarrierRemoval | None":
        """Return the next one that the carrier in use can be asked for."""
        columns = (cls.twilio_sid, cls.account_sid, cls.action, cls.tries)
        is_due = (has_come(cls.next_try_at, now, MAX_RETRY_DELAY), cls.simulated == settings().demo)
        query = select(*columns).where(*is_due).order_by(cls.next_try_at)
        row = connection.execute(query.limit(1)).first()
        return cls(**row._mapping) if row else None

    @classmethod
    def keeps_failing(cls) -> ColumnElement[bool]:
        """Match what has failed for good, or for about an hour."""
        return cls.next_try_at.is_(None) | (cls.tries >= FAILING_TRIES)

    def finish(self, connection: Connection) -> str | None:
        """Forget the message: it is done, unless more was asked for meanwhile.

        Returns the receipt of its erasure.
        """
        cls = CarrierRemoval
        is_same = (cls.twilio_sid == self.twilio_sid, cls.action == self.action)
        return connection.scalar(delete(cls).where(*is_same).returning(cls.receipt))

    def postpone(self, connection: Connection, until: datetime | None, problem: str) -> None:
        """Store why it failed and when it is tried again, None for never.

        What was asked for meanwhile stays due.
        """
        cls = CarrierRemoval
        is_same = (cls.twilio_sid == self.twilio_sid) & (cls.action == self.action)
        is_same &= cls.tries == self.tries
        changes = {"tries": self.tries + 1, "next_try_at": until, "problem": problem}
        connection.execute(update(cls).where(is_same).values(changes))
