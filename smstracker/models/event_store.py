"""Storage of what sends and look-ups tell: append the event, then move the message.

An event whose message has no SID yet binds the two, under a lock on the SID.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from sqlalchemy import Executable, exists, literal, or_, select, update
from sqlalchemy.engine import Connection

from smstracker.database.advisory_locks import lock_keys
from smstracker.database.row_sets import insert_rows, select_values
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
    """Store what the carrier answered, as `apply_send_results`."""
    apply_send_results(connection, {message_id: result})


def apply_send_results(connection: Connection, results: Mapping[int, SendResult]) -> None:
    """Store what the carrier answered, by message id: the events, and in one UPDATE status, facts
    and look-up.

    Nothing of a message that was erased meanwhile.
    """
    updates = [
        (message, results[message.id].status_update)
        for message in lock_messages(connection, Message.id, results)
    ]
    _bind_sids(connection, [(message, update.twilio_sid) for message, update in updates])
    for message, _update in updates:
        # A callback may have come first: then the status stays, and the facts are filled in.
        result = results[message.id]
        facts = {"segments": result.segments, "sender": result.sender}
        message.changes |= {name: value for name, value in facts.items() if value is not None}
        message.changes["callback_requested"] = result.callback_requested
    _append_all(connection, updates)


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
    return _append_all(connection, [(message, status_update)])


def _append_all(
    connection: Connection, updates: Sequence[tuple[LockedMessage, StatusUpdate]]
) -> bool:
    """Store an event of each message, and move the messages; whether the last one moved."""
    is_new = {"is_repeated": False, "repeats": 0}
    rows = [{"message_id": message.id, **is_new, **update.row()} for message, update in updates]
    is_moved = False
    if rows:
        insert_rows(connection, StatusEvent, rows)
    for message, status_update in updates:
        is_moved = _apply_in_order(connection, message, [status_update])
    save_changes(connection, [message for message, _update in updates])
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
    return _bind_sids(connection, [(message, sid)])[sid]


def _bind_sids(
    connection: Connection, bindings: Sequence[tuple[LockedMessage, str | None]]
) -> dict[str, LockedMessage]:
    """As `bind_sid`, for several messages, by SID."""
    holders = {sid: message for message, sid in bindings if sid and message.twilio_sid == sid}
    unbound = [(message, sid) for message, sid in bindings if sid and message.twilio_sid != sid]
    if not unbound:
        return holders
    sids = [sid for _message, sid in unbound]
    lock_keys(connection, sids)
    for holder in lock_messages(connection, Message.twilio_sid, sids):
        holders[holder.twilio_sid or ""] = holder
    orphaned_sids = set(
        connection.scalars(_select_orphaned(connection.dialect.name), {"values": sids})
    )
    for message, sid in unbound:
        if sid in holders:
            log.warning("sid_already_held", extra={"message_sid": sid})
            continue
        holders[sid] = message
        if message.twilio_sid is None:
            message.change(twilio_sid=sid)
        if sid in orphaned_sids:
            _attach_orphans(connection, message, sid)
    return holders


@cache
def _select_orphaned(dialect_name: str) -> Executable:
    """Select those of the SIDs in `values` that events without a message have."""
    query = select_values(dialect_name, StatusEvent.twilio_sid)
    is_orphan = StatusEvent.message_id.is_(None)
    has_sid = StatusEvent.twilio_sid == query.selected_columns.value
    return query.where(exists().where(is_orphan, has_sid))


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
