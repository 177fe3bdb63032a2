"""The pace of each sender: a token bucket, and the pauses that Twilio asks for.

The row of a sender is locked by the worker that claims its messages, so that all workers together
keep to its pace.
"""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import ColumnElement, Select, String, Update, bindparam, func, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.back_off import back_off_seconds
from smstracker.clock import has_come, is_ahead, is_within, utcnow
from smstracker.database.engine import Insert, UtcDateTime, dialect_insert
from smstracker.database.statement_time import StatementTime
from smstracker.extensions import Model, settings
from smstracker.sms.identifiers import ERROR_CODE_LENGTH
from smstracker.sms.messaging_service import is_messaging_service

NUMBER_PER_SECOND = 1
SERVICE_PER_SECOND = 10
SECOND = timedelta(seconds=1)
MAX_PAUSE = timedelta(minutes=5)
# Later, Twilio has taken messages since the last pause.
IN_ROW = timedelta(seconds=30)


def sends_per_second(sender: str) -> int:
    """The pace of a sender, which is a number or a Messaging Service SID."""
    default = SERVICE_PER_SECOND if is_messaging_service(sender) else NUMBER_PER_SECOND
    return settings().send_per_second or default


class SenderPace(Model):
    """When a sender may send next. `paused_until` and `pause_code` are of the newest pause;
    `pauses_in_row` counts those that began within IN_ROW after the one before.
    """

    __tablename__ = "sender_pace"

    sender: Mapped[str] = mapped_column(String(34), primary_key=True)
    next_at: Mapped[datetime] = mapped_column(UtcDateTime)
    paused_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    pause_code: Mapped[str | None] = mapped_column(String(ERROR_CODE_LENGTH))
    pauses_in_row: Mapped[int] = mapped_column(default=0)

    @classmethod
    def ensure_exists(cls, connection: Connection, sender: str) -> None:
        row = {"sender": sender, "next_at": utcnow(), "pauses_in_row": 0}
        connection.execute(_insert_missing(connection.dialect.name), row)

    @classmethod
    def is_paused(cls, now: datetime | StatementTime) -> ColumnElement[bool]:
        """The condition that a sender is paused; a pause of a wrong clock is over."""
        return (cls.paused_until > now) & ~is_ahead(cls.paused_until, now + MAX_PAUSE)

    @classmethod
    def is_ready(cls, now: datetime | StatementTime) -> ColumnElement[bool]:
        """The condition that a sender may send at `now`."""
        is_over = cls.paused_until.is_(None) | ~cls.is_paused(now)
        return has_come(cls.next_at, now, SECOND) & is_over

    @classmethod
    def count_paused(cls, connection: Connection, now: datetime) -> int:
        query = select(func.count()).select_from(cls).where(cls.is_paused(now))
        return connection.scalar(query) or 0

    @classmethod
    def lock_ready(cls, connection: Connection, now: datetime) -> Sequence[tuple[str, datetime]]:
        """Lock the senders that may send now and that no other worker is claiming for.

        Returns each with when it may send next.
        """
        query, time = _select_ready()
        rows = connection.execute(query, time.values(now))
        return [(row.sender, row.next_at) for row in rows]

    @classmethod
    def take(
        cls, connection: Connection, sender: str, next_at: datetime, count: int, now: datetime
    ) -> None:
        """Take `count` of the `free_slots` of a sender that may send next at `next_at`."""
        start = _first_slot(sender, next_at, now)
        new_time = start + count * SECOND / sends_per_second(sender)
        connection.execute(_update_next_at(), {"of_sender": sender, "new_time": new_time})

    @classmethod
    def pause(cls, connection: Connection, sender: str, code: str, now: datetime) -> datetime:
        """Pause a sender, longer each time in a row, with jitter; return until when.

        A pause that lasts stays: the answers of messages under way belong to it.
        """
        cls.ensure_exists(connection, sender)
        query = select(cls.paused_until, cls.pauses_in_row, cls.is_paused(now).label("is_paused"))
        row = connection.execute(query.where(cls.sender == sender).with_for_update()).one()
        if row.is_paused:
            until: datetime = row.paused_until
            return until
        was_refused_again = row.paused_until and is_within(row.paused_until, now, IN_ROW)
        count = row.pauses_in_row + 1 if was_refused_again else 1
        longest = back_off_seconds(count + 1, MAX_PAUSE.total_seconds()) * SECOND
        until = now + longest * random.uniform(0.5, 1.0)
        values = {"paused_until": until, "pause_code": code, "pauses_in_row": count}
        connection.execute(update(cls).where(cls.sender == sender).values(next_at=until, **values))
        return until


@cache
def _insert_missing(dialect_name: str) -> Insert:
    return dialect_insert(dialect_name, SenderPace).on_conflict_do_nothing()


@cache
def _select_ready() -> tuple[Select[tuple[str, datetime]], StatementTime]:
    time = StatementTime()
    query = select(SenderPace.sender, SenderPace.next_at).where(SenderPace.is_ready(time))
    return query.order_by(SenderPace.sender).with_for_update(skip_locked=True), time


@cache
def _update_next_at() -> Update:
    new_time = bindparam("new_time", type_=UtcDateTime())
    is_sender = SenderPace.sender == bindparam("of_sender")
    return update(SenderPace).where(is_sender).values(next_at=new_time)


def free_slots(sender: str, next_at: datetime, now: datetime) -> int:
    """Return how many messages a ready sender may send at `now`, at most a second's worth."""
    since = now - _first_slot(sender, next_at, now)
    return int(since * sends_per_second(sender) / SECOND) + 1


def _first_slot(sender: str, next_at: datetime, now: datetime) -> datetime:
    """The first slot that is not used: those of idle times are lost, except a second's worth."""
    unused = SECOND - SECOND / sends_per_second(sender)
    return min(max(next_at, now - unused), now)
