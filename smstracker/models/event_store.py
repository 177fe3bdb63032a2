"""Storage of what sends and look-ups tell: append the event, then move the message.

An event whose message has no SID yet binds the two, under a lock on the SID.
"""

import logging
import zlib

from sqlalchemy import and_, bindparam, func, insert, or_, select, update
from sqlalchemy.engine import Connection

from smstracker.models.events import SendResult, StatusEvent, StatusUpdate
from smstracker.models.insight_coverage import request_recount
from smstracker.models.messages import Message
from smstracker.models.status_transitions import (
    apply_transition,
    transition_columns,
    transition_parameters,
)
from smstracker.sms.status import Source

log = logging.getLogger(__name__)

# Columns that insights count, but that no event records.
COUNTED_COLUMNS = frozenset({"price_micros", "price_unit", "sender"})


def append_event(connection: Connection, message_id: int, status_update: StatusUpdate) -> bool:
    """Store a status from a look-up; whether it moved the message."""
    connection.execute(insert(StatusEvent).values(message_id=message_id, **status_update.row()))
    if status_update.twilio_sid:
        bind_sid(connection, message_id, status_update.twilio_sid)
    return apply_transition(connection, message_id, status_update)


def apply_send_result(connection: Connection, message_id: int, result: SendResult) -> None:
    """Store what the carrier answered: the event, and in one UPDATE status, facts and look-up."""
    status_update, sid = result.status_update, result.status_update.twilio_sid
    connection.execute(insert(StatusEvent).values(message_id=message_id, **status_update.row()))
    if sid:
        holder_id = _lock_sid(connection, message_id, sid) or message_id
        _attach_orphans(connection, holder_id, sid)
        sid = sid if holder_id == message_id else None
    # A callback may have come first: then the status stays, and the facts are filled in.
    statement = update(Message).where(Message.id == bindparam("message_id"))
    statement = statement.values(
        twilio_sid=func.coalesce(Message.twilio_sid, sid),
        segments=func.coalesce(result.segments, Message.segments),
        sender=func.coalesce(result.sender, Message.sender),
        callback_requested=result.callback_requested,
        **transition_columns(status_update.status),
    )
    connection.execute(statement, transition_parameters(message_id, status_update))


def link_to_sid(connection: Connection, message_id: int, status_update: StatusUpdate) -> bool:
    """Link a message to a SID of Twilio's list; False if another message has the SID."""
    sid = status_update.twilio_sid
    if not sid or bind_sid(connection, message_id, sid) != message_id:
        return False
    append_event(connection, message_id, status_update)
    return True


def update_message_facts(
    connection: Connection, message_id: int, **facts: int | str | None
) -> None:
    """Set columns of a message other than its status; None leaves a column unchanged."""
    values = {name: value for name, value in facts.items() if value is not None}
    if values:
        connection.execute(update(Message).where(Message.id == message_id).values(values))
    if values.keys() & COUNTED_COLUMNS:
        request_recount(connection, [message_id])


def bind_sid(connection: Connection, message_id: int | None, sid: str) -> int | None:
    """Set the SID of a message, attach its earlier events; the id of the message with the SID."""
    holder_id = _lock_sid(connection, message_id, sid)
    if holder_id is None and message_id is not None:
        is_unbound = and_(Message.id == message_id, Message.twilio_sid.is_(None))
        connection.execute(update(Message).where(is_unbound).values(twilio_sid=sid))
        holder_id = message_id
    if holder_id is not None:
        _attach_orphans(connection, holder_id, sid)
    return holder_id


def _lock_sid(connection: Connection, message_id: int | None, sid: str) -> int | None:
    """Lock a SID until the transaction ends; return the id of the message that has it.

    On PostgreSQL the lock serialises this (SQLite has one writer), so that an event and the send
    answer with its SID cannot miss each other.
    """
    if connection.dialect.name == "postgresql":
        key = zlib.crc32(sid.encode())
        connection.execute(select(func.pg_advisory_xact_lock(key)))
    holder_id = connection.scalar(select(Message.id).where(Message.twilio_sid == sid))
    if message_id is not None and holder_id not in (None, message_id):
        log.warning("sid_already_held", extra={"message_sid": sid})
    return holder_id


def _attach_orphans(connection: Connection, message_id: int, sid: str) -> None:
    account = select(Message.account_sid).where(Message.id == message_id).scalar_subquery()
    is_same_account = or_(
        account.is_(None), StatusEvent.account_sid.is_(None), StatusEvent.account_sid == account
    )
    orphans = (
        update(StatusEvent)
        .where(StatusEvent.message_id.is_(None), StatusEvent.twilio_sid == sid, is_same_account)
        .values(message_id=message_id)
        .returning(StatusEvent.status, StatusEvent.error_code, StatusEvent.received_at)
    )
    for row in sorted(connection.execute(orphans), key=lambda row: row.received_at):
        status_update = StatusUpdate(
            row.status, Source.CALLBACK, {}, sid, row.error_code, received_at=row.received_at
        )
        apply_transition(connection, message_id, status_update)
