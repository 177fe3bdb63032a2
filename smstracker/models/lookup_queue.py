"""What the workers agree on: which of them live, which chores are due, and who asks about what."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, String, Text, bindparam, delete, or_, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql import ColumnElement

from smstracker.clock import utcnow
from smstracker.database.engine import UtcDateTime, affected_rows, dialect_insert
from smstracker.extensions import Model, settings
from smstracker.models.messages import Message
from smstracker.sms import lookup_schedule, status

PUT_OFF = 500  # messages that are looked through for one claim beside those that are claimed
A_LITTLE = timedelta(minutes=5)
FORGOTTEN_AFTER = timedelta(days=1)


class Heartbeat(Model):
    """One running worker. `problem` is what keeps it from asking Twilio, in words."""

    __tablename__ = "heartbeat"

    worker: Mapped[str] = mapped_column(String(64), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    beat_at: Mapped[datetime] = mapped_column(UtcDateTime)
    problem: Mapped[str | None] = mapped_column(Text)

    @classmethod
    def beat(
        cls, connection: Connection, worker: str, started_at: datetime, problem: str | None
    ) -> None:
        """Say that this worker lives."""
        news = {"beat_at": utcnow(), "problem": problem}
        first = dialect_insert(connection.engine, cls).values(
            worker=worker, started_at=started_at, **news
        )
        connection.execute(first.on_conflict_do_update(index_elements=["worker"], set_=news))

    @classmethod
    def end(cls, connection: Connection, worker: str) -> None:
        connection.execute(delete(cls).where(cls.worker == worker))

    @classmethod
    def purge(cls, connection: Connection) -> int:
        """Forget the workers that were killed."""
        dead = delete(cls).where(cls.beat_at < utcnow() - FORGOTTEN_AFTER)
        return affected_rows(connection.execute(dead))


class ScheduledJob(Model):
    """Something that one worker at a time does; `due_at` doubles as the end of a lease."""

    __tablename__ = "chore"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    done_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @classmethod
    def claim(cls, connection: Connection, name: str, lease: timedelta, every: timedelta) -> bool:
        """Whether it is due and nobody else has it; then nobody else gets it for `lease`.

        A time further away than `every` was set by a clock that went wrong, and counts as due.
        """
        now = utcnow()
        first = dialect_insert(connection.engine, cls).values(name=name, due_at=now)
        connection.execute(first.on_conflict_do_nothing())
        is_due = or_(cls.due_at <= now, cls.due_at > now + max(every, lease) + A_LITTLE)
        free = select(cls.name).where(cls.name == name, is_due).with_for_update(skip_locked=True)
        if connection.scalar(free) is None:
            return False
        cls.postpone(connection, name, now + lease)
        return True

    @classmethod
    def lock(cls, connection: Connection, name: str) -> datetime:
        """When it is due; until the transaction ends nobody else changes that."""
        first = dialect_insert(connection.engine, cls).values(name=name, due_at=utcnow())
        connection.execute(first.on_conflict_do_nothing())
        due_at = select(cls.due_at).where(cls.name == name).with_for_update()
        return connection.execute(due_at).scalar_one()

    @classmethod
    def postpone(cls, connection: Connection, name: str, until: datetime) -> None:
        """Not before `until`."""
        connection.execute(update(cls).where(cls.name == name).values(due_at=until))

    @classmethod
    def done(cls, connection: Connection, name: str, began_at: datetime, every: timedelta) -> None:
        """It was done for everything up to `began_at`."""
        done = update(cls).where(cls.name == name)
        connection.execute(done.values(done_at=began_at, due_at=began_at + every))

    @classmethod
    def last_done(cls, connection: Connection, name: str) -> datetime | None:
        return connection.scalar(select(cls.done_at).where(cls.name == name))


# What is needed to ask about a message, and to know it in Twilio's list.
OPEN_COLUMNS = (
    *(Message.id, Message.public_id, Message.account_sid, Message.twilio_sid),
    *(Message.status, Message.status_at, Message.created_at),
    *(Message.recipient, Message.sender, Message.messaging_service_sid),
    *(Message.body, Message.media_urls),
)
OpenMessage = Row[Any]


def is_askable() -> ColumnElement[bool]:
    """What the simulated carrier had must not be asked of Twilio, nor the other way round."""
    return Message.simulated == settings().demo


def claim_silent(connection: Connection, limit: int) -> list[OpenMessage]:
    """The messages to ask about now, at most `limit`, each to one worker alone for the lease.

    Those about which there was news in the meantime are put off instead.
    """
    now = utcnow()
    due = select(*OPEN_COLUMNS).where(Message.next_lookup_at <= now, is_askable())
    # Not FOR UPDATE: that would wait for, and hold up, every new event of these messages.
    free = due.with_for_update(skip_locked=True, key_share=True)
    found = connection.execute(free.order_by(Message.next_lookup_at).limit(limit + PUT_OFF)).all()
    silent = [one for one in found if _not_before(one) <= now][:limit]
    plan_lookups(connection, {one.id: now + lookup_schedule.LEASE for one in silent})
    plan_lookups(connection, {one.id: _not_before(one) for one in found if _not_before(one) > now})
    return silent


def _not_before(one: OpenMessage) -> datetime:
    """The earliest time to ask: a message that was just saved or just moved is not silent."""
    if one.status not in status.OUTCOME_OPEN:
        moved_at: datetime = one.status_at
        return moved_at + lookup_schedule.SILENT_AFTER[0]
    saved_at: datetime = one.created_at
    in_flight = status.PENDING_IS_UNKNOWN_AFTER if one.status == "pending" else timedelta()
    return saved_at + max(in_flight, lookup_schedule.TRACED_AFTER[0])


def is_anything_due(connection: Connection) -> bool:
    """A look that costs nothing, so that an idle worker writes nothing."""
    due = select(Message.id).where(Message.next_lookup_at <= utcnow(), is_askable())
    return connection.scalar(due.limit(1)) is not None


def unsettled(message_id: int | None = None, *, only_due: bool = False) -> Select[Any]:
    """The messages that are not final: all, that one, or those that are due."""
    found = select(*OPEN_COLUMNS).where(Message.final_at.is_(None), is_askable())
    if message_id is not None:
        found = found.where(Message.id == message_id)
    if only_due:
        found = found.where(Message.next_lookup_at <= utcnow())
    return found.order_by(Message.id)


def lease(connection: Connection, one: OpenMessage) -> bool:
    """Keep the workers from asking about it at the same time; False if it is settled by now."""
    mine = update(Message).where(Message.id == one.id, Message.final_at.is_(None))
    return (
        affected_rows(
            connection.execute(mine.values(next_lookup_at=utcnow() + lookup_schedule.LEASE))
        )
        == 1
    )


def reschedule(connection: Connection, message_id: int, within: timedelta | None = None) -> None:
    """Plan the next look-up of a message that has just been asked about, `within` a time."""
    which = (Message.status, Message.status_at, Message.created_at)
    found = select(*which).where(Message.id == message_id)
    # Not FOR UPDATE: that and a callback that has just stored its event would wait for each other.
    row = connection.execute(found.with_for_update(key_share=True)).one()
    since = row.created_at if row.status in status.OUTCOME_OPEN else row.status_at
    window = timedelta(hours=settings().receipt_window_hours)
    now = utcnow()
    following = lookup_schedule.next_lookup(row.status, since, now=now, receipt_window=window)
    if within is not None and (following is None or following > now + within):
        following = now + within
    plan_lookups(connection, {message_id: following})


def plan_lookups(connection: Connection, until: Mapping[int, datetime | None]) -> None:
    """Set when each message is asked about next; one that has become final stays settled."""
    if not until:
        return
    still_open = or_(Message.next_lookup_at.is_not(None), Message.final_at.is_(None))
    put_off = update(Message).where(Message.id == bindparam("of"), still_open)
    rows = [{"of": message_id, "at": at} for message_id, at in until.items()]
    at = bindparam("at", type_=UtcDateTime())
    connection.execute(put_off.values(next_lookup_at=at), rows)
