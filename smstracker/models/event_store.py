"""Storage of what sends and look-ups tell: append the event, then move the message.

An event whose message has no SID yet binds the two, under a lock on the SID.
"""

import logging
from collections.abc import Iterable

from sqlalchemy import insert, literal, or_, select, update
from sqlalchemy.engine import Connection

from smstracker.database.advisory_locks import lock_key
from smstracker.models.events import SendResult, StatusEvent, StatusUpdate
from smstracker.models.insight_coverage import request_recount
from smstracker.models.messages import Message
from smstracker.models.status_transitions import LockedMessage, lock_messages, save_changes
from smstracker.sms.status import OUTBOX, Source, contradicting

log = logging.getLogger(__name__)

# Columns that insights count, but that no event records.
COUNTED_COLUMNS = frozenset({"price_micros", "price_unit", "sender"})


def append_event(connection: Connection, message_id: int, status_update: StatusUpdate) -> bool:
    """Store a status from a look-up; whether it moved the message."""
    message = _lock_message(connection, message_id)
    if message is None:  # deleted while Twilio was asked
        return False
    if status_update.twilio_sid:
        bind_sid(connection, message, status_update.twilio_sid)
    return _append(connection, message, status_update)


def stop_waiting(connection: Connection, message_id: int, status_update: StatusUpdate) -> bool:
    """Store why a message in the outbox is not sent; False if it has left the outbox."""
    message = _lock_message(connection, message_id)
    if message is None or message.status != OUTBOX:
        return False
    return _append(connection, message, status_update)


def apply_send_result(connection: Connection, message_id: int, result: SendResult) -> None:
    """Store what the carrier answered: the event, and in one UPDATE status, facts and look-up.

    Nothing of a message that was erased meanwhile.
    """
    message = _lock_message(connection, message_id)
    if message is None:
        return
    if result.status_update.twilio_sid:
        bind_sid(connection, message, result.status_update.twilio_sid)
    # A callback may have come first: then the status stays, and the facts are filled in.
    facts = {"segments": result.segments, "sender": result.sender}
    message.changes |= {name: value for name, value in facts.items() if value is not None}
    message.changes["callback_requested"] = result.callback_requested
    _append(connection, message, result.status_update)


def link_to_sid(connection: Connection, message_id: int, status_update: StatusUpdate) -> bool:
    """Link a message to a SID of Twilio's list; False if another message has the SID."""
    message, sid = _lock_message(connection, message_id), status_update.twilio_sid
    if not (message and sid) or bind_sid(connection, message, sid) is not message:
        return False
    _append(connection, message, status_update)
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


def _lock_message(connection: Connection, message_id: int) -> LockedMessage | None:
    return next(iter(lock_messages(connection, Message.id, [message_id])), None)


def _append(connection: Connection, message: LockedMessage, status_update: StatusUpdate) -> bool:
    row = {"message_id": message.id, **status_update.row()}
    connection.execute(insert(StatusEvent).values(row))
    is_moved = _apply_in_order(connection, message, [status_update])
    save_changes(connection, [message])
    return is_moved


def _apply_in_order(
    connection: Connection, message: LockedMessage, updates: Iterable[StatusUpdate]
) -> bool:
    """Apply updates whose events are stored; whether the last one moved the message."""
    is_moved, words = False, set[str]()
    for status_update in updates:
        if not words and contradicting(status_update.status):
            of_message = StatusEvent.message_id == message.id
            words = set(connection.scalars(select(StatusEvent.status).where(of_message)))
        is_moved = message.apply(status_update, words)
    return is_moved


def bind_sid(connection: Connection, message: LockedMessage, sid: str) -> LockedMessage:
    """Set the SID of a message, attach its earlier events; the message that has the SID."""
    if message.twilio_sid == sid:
        return message
    lock_key(connection, sid)
    holder = next(iter(lock_messages(connection, Message.twilio_sid, [sid])), None)
    if holder is not None:
        log.warning("sid_already_held", extra={"message_sid": sid})
        return holder
    if message.twilio_sid is None:
        message.change(twilio_sid=sid)
    _attach_orphans(connection, message, sid)
    return message


def _attach_orphans(connection: Connection, message: LockedMessage, sid: str) -> None:
    """Give the message the events of its SID that came before it, in order of receipt."""
    is_same_account = or_(
        literal(message.account_sid is None),
        StatusEvent.account_sid.is_(None),
        StatusEvent.account_sid == message.account_sid,
    )
    columns = (StatusEvent.status, StatusEvent.payload, StatusEvent.error_code)
    orphans = (
        update(StatusEvent)
        .where(StatusEvent.message_id.is_(None), StatusEvent.twilio_sid == sid, is_same_account)
        .values(message_id=message.id)
        .returning(*columns, StatusEvent.received_at)
    )
    rows = sorted(connection.execute(orphans).mappings(), key=lambda row: row["received_at"])
    if message.content_deleted_at:  # the callbacks hold the number
        attached = (StatusEvent.message_id == message.id, StatusEvent.twilio_sid == sid)
        connection.execute(update(StatusEvent).where(*attached).values(payload={}))
    updates = [StatusUpdate(source=Source.CALLBACK, **row) for row in rows]
    _apply_in_order(connection, message, updates)
