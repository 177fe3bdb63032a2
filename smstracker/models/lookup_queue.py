"""Which message Twilio is asked about next, and by which worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, func, or_, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from smstracker.clock import has_come, is_ahead, utcnow
from smstracker.database.engine import UtcDateTime, affected_rows
from smstracker.extensions import receipt_window, settings
from smstracker.models.messages import Message
from smstracker.sms import lookup_schedule, status
from smstracker.sms.lookup_schedule import SILENCE_AGES

# Due messages that one claim may postpone, beside those that it returns.
MAX_POSTPONED_PER_CLAIM = 500


@dataclass(frozen=True, slots=True)
class OpenMessage:
    """What it takes to ask about a message, and to recognise it in Twilio's list."""

    id: int
    account_sid: str | None
    twilio_sid: str | None
    status: str
    status_at: datetime
    created_at: datetime
    handed_over_at: datetime | None
    recipient: str = field(repr=False)
    sender: str | None = field(repr=False)
    messaging_service_sid: str | None
    body: str = field(repr=False)
    media_urls: list[str] = field(repr=False)

    @property
    def submitted_at(self) -> datetime:
        """When the hand-over to Twilio began; of one that never waited here, when it was saved."""
        return self.handed_over_at or self.created_at


SUBMITTED_AT = func.coalesce(Message.handed_over_at, Message.created_at).label("submitted_at")
_OPEN_COLUMNS = tuple(getattr(Message, column.name) for column in fields(OpenMessage))


def matches_carrier() -> ColumnElement[bool]:
    """Select messages of the carrier in use: Twilio, or in a demo the simulated one."""
    return Message.simulated == settings().demo


def can_be_asked_about() -> ColumnElement[bool]:
    return and_(matches_carrier(), Message.status != status.OUTBOX)


def claim_due_messages(connection: Connection, limit: int) -> list[OpenMessage]:
    """Lease at most `limit` due messages to one worker; postpone those with a recent update."""
    now = utcnow()
    query = select(*_OPEN_COLUMNS).where(can_be_asked_about()).order_by(Message.next_lookup_at)
    # Not FOR UPDATE: that would wait for, and hold up, every new event of these messages.
    query = query.with_for_update(skip_locked=True, key_share=True)
    query = query.limit(limit + MAX_POSTPONED_PER_CLAIM)
    rows = [row for is_due in _due_ranges(now) for row in connection.execute(query.where(is_due))]
    messages = [OpenMessage(*row) for row in rows]
    earliest = {message.id: _earliest_lookup(message) for message in messages}
    due_ids = {key for key, at in earliest.items() if has_come(at, now, SILENCE_AGES[0])}
    silent = [message for message in messages if message.id in due_ids][:limit]
    postponed = {key: at for key, at in earliest.items() if key not in due_ids}
    leased = {message.id: now + lookup_schedule.LEASE for message in silent}
    set_lookup_times(connection, postponed | leased)
    return silent


def _due_ranges(now: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Match messages whose look-up is due, as `has_come` does: two ranges of the index.

    As one condition they might have a database read the whole index, each second.
    """
    lookup_at = Message.next_lookup_at
    return lookup_at <= now, is_ahead(lookup_at, now + lookup_schedule.LONGEST_WAIT)


def _earliest_lookup(message: OpenMessage) -> datetime:
    """Return when to ask at the earliest: a message just saved or updated is not silent."""
    if message.status not in status.OUTCOME_OPEN:
        return message.status_at + SILENCE_AGES[0]
    in_flight = status.PENDING_IS_UNKNOWN_AFTER if message.status == status.PENDING else timedelta()
    return message.submitted_at + max(in_flight, lookup_schedule.SEARCH_AGES[0])


def is_anything_due(connection: Connection) -> bool:
    """Check without a lock, so that an idle worker writes nothing."""
    query = select(Message.id).where(can_be_asked_about()).limit(1)
    queries = (query.where(is_due) for is_due in _due_ranges(utcnow()))
    return any(connection.scalar(query) is not None for query in queries)


def read_open(
    connection: Connection, message_id: int | None = None, *, only_due: bool = False
) -> list[OpenMessage]:
    """Read the messages at Twilio without a final status: all, one, or those that are due."""
    query = select(*_OPEN_COLUMNS).where(Message.final_at.is_(None), can_be_asked_about())
    if message_id is not None:
        query = query.where(Message.id == message_id)
    if only_due:
        query = query.where(or_(*_due_ranges(utcnow())))
    return [OpenMessage(*row) for row in connection.execute(query.order_by(Message.id))]


def lease_lookup(connection: Connection, message: OpenMessage) -> bool:
    """Keep the workers from asking about it too; False if it has a final status by now."""
    is_open = (Message.id == message.id) & Message.final_at.is_(None)
    lease = update(Message).where(is_open)
    lease_end = utcnow() + lookup_schedule.LEASE
    return affected_rows(connection.execute(lease.values(next_lookup_at=lease_end))) == 1


def schedule_next_lookup(
    connection: Connection, message_id: int, within: timedelta | None = None
) -> None:
    """Set the next look-up of a message that was just asked about, at the latest `within`."""
    columns = (Message.status, Message.status_at, SUBMITTED_AT)
    query = select(*columns).where(Message.id == message_id)
    # Not FOR UPDATE: that and a callback that has just stored its event would wait for each other.
    row = connection.execute(query.with_for_update(key_share=True)).first()
    if row is None:  # deleted while Twilio was asked
        return
    since = row.submitted_at if row.status in status.OUTCOME_OPEN else row.status_at
    now = utcnow()
    lookup_at = lookup_schedule.next_lookup(
        row.status, since, now=now, receipt_window=receipt_window()
    )
    if within is not None and (lookup_at is None or lookup_at > now + within):
        lookup_at = now + within
    set_lookup_times(connection, {message_id: lookup_at})


def set_lookup_times(connection: Connection, lookup_times: Mapping[int, datetime | None]) -> None:
    """Set the next look-up by message id; skips messages whose final status has cleared it."""
    if not lookup_times:
        return
    is_open = or_(Message.next_lookup_at.is_not(None), Message.final_at.is_(None))
    statement = update(Message).where(Message.id == bindparam("message_id"), is_open)
    lookup_at = bindparam("lookup_at", type_=UtcDateTime())
    rows = [{"message_id": key, "lookup_at": value} for key, value in lookup_times.items()]
    connection.execute(statement.values(next_lookup_at=lookup_at), rows)
