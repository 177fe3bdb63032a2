"""Blank or delete some messages, in the transaction of the caller.

Only messages whose outcome is settled. Rows that another transaction has locked are left for the
next time: waiting for them would hold up callbacks.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, or_, select, update
from sqlalchemy.engine import Connection

from smstracker.clock import is_within
from smstracker.database.advisory_locks import lock_keys
from smstracker.database.engine import delete_unlocked
from smstracker.database.row_sets import is_any_of
from smstracker.extensions import receipt_window
from smstracker.messages.send_warnings import NEVER_SENT, SAME_TEXT_PERIOD, content_hash
from smstracker.models import Message, RefusedCallback, StatusEvent, message_text
from smstracker.models.carrier_removals import CarrierAction, CarrierRemoval, RemovedMessage
from smstracker.models.display_state import MAX_SCHEDULE_AHEAD
from smstracker.models.insight_counts import keep_totals
from smstracker.models.messages import Content
from smstracker.models.opt_outs import RememberedOptOut
from smstracker.models.removals import CounterName, PendingRemoval, RemovalCounter
from smstracker.models.tombstones import HashedKind, Tombstone, keyed_hash
from smstracker.models.users import SESSION_LIFETIME
from smstracker.sms import status
from smstracker.sms.status import Source

_AT_TWILIO = (Message.id, Message.twilio_sid, Message.account_sid, Message.simulated)
_DELETED_COLUMNS = (
    *(*_AT_TWILIO, Message.public_id, Message.owner_id, Message.idempotency_key),
    *(Message.recipient, Message.body, Message.media_urls, Message.status, Message.created_at),
)
MessageRow = Row[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Removal:
    """The ids of the messages that were removed, and how many other rows went with them."""

    message_ids: Sequence[int]
    event_count: int = 0
    refused_count: int = 0


def is_settled(now: datetime) -> ColumnElement[bool]:
    """Whether the outcome of a message is final, or no receipt came within the window."""
    is_sent = Message.status.in_(status.AWAITING_RECEIPT)
    is_silent = ~is_within(Message.status_at, now, receipt_window())
    return or_(Message.status.in_(status.FINAL), is_sent & is_silent)


def is_given_up(now: datetime) -> ColumnElement[bool]:
    """Whether nothing was heard of a message for so long that nothing will be."""
    is_silent = Message.status_at < now - receipt_window() - MAX_SCHEDULE_AHEAD
    return (Message.status != status.OUTBOX) & is_silent


def is_over(now: datetime) -> ColumnElement[bool]:
    """Whether nobody waits for the outcome of a message: it is settled or given up."""
    return is_settled(now) | is_given_up(now)


def _is_due(now: datetime, created_before: datetime | None) -> ColumnElement[bool]:
    if created_before is None:
        return is_over(now)
    return is_settled(now) & (Message.created_at < created_before)


def blank_messages(
    connection: Connection,
    ids: Collection[int],
    now: datetime,
    *,
    at_twilio: bool,
    created_before: datetime | None,
    receipt: str | None = None,
) -> Removal:
    """Delete the texts, pictures, references and raw callbacks of settled messages.

    Without `created_before`, for the erasure with that receipt, of messages of any age, and also
    those given up.
    """
    is_due = _is_due(now, created_before) & Message.content_deleted_at.is_(None)
    columns = (*_AT_TWILIO, Message.media_urls)
    rows = _lock(connection, columns, ids, is_due)
    removal = Removal([row.id for row in rows])
    if rows:
        values = {"values": removal.message_ids}
        of_messages = is_any_of(connection.dialect.name, StatusEvent.message_id)
        is_raw = StatusEvent.source == Source.CALLBACK
        blanking = update(StatusEvent).where(of_messages, is_raw).values(payload={})
        connection.execute(blanking, values)
        is_message = is_any_of(connection.dialect.name, Message.id)
        # A program's reference may hold a name or a number.
        empty: dict[str, object] = {
            "body": "",
            "media_urls": [],
            "reference": None,
            "content_deleted_at": now,
        }
        connection.execute(update(Message).where(is_message).values(empty), values)
        RemovalCounter.add(connection, CounterName.BLANKED, len(rows))
        if at_twilio:
            CarrierRemoval.request(connection, _redacted(rows, receipt), now)
    return removal


def delete_messages(
    connection: Connection,
    ids: Collection[int],
    now: datetime,
    *,
    at_twilio: bool,
    created_before: datetime | None,
) -> Removal:
    """Delete settled messages, their events and the refused callbacks that name them; at Twilio
    those of which an erasure asks it too.

    Without `created_before`, for an erasure, messages of any age, and also those given up. Their
    totals stay, and keyed hashes for as long as something of them could come back.
    """
    rows = _lock(connection, _DELETED_COLUMNS, ids, _is_due(now, created_before))
    rows, refused_count = _delete_refusals(connection, rows)
    message_ids = [row.id for row in rows]
    if not rows:
        return Removal([], refused_count=refused_count)
    Tombstone.add(connection, _tombstones(connection, rows, now))
    RememberedOptOut.remember(connection, message_ids)
    keep_totals(connection, message_ids)
    receipts = PendingRemoval.find_asking_twilio(connection, message_ids)
    if not at_twilio:
        rows = [row for row in rows if row.id in receipts]
    CarrierRemoval.request(connection, _deleted(rows, receipts), now)
    RemovalCounter.add(connection, CounterName.DELETED, len(message_ids))
    return Removal(message_ids, _delete_rows(connection, message_ids), refused_count)


def keep_out(connection: Connection, sids: Iterable[str | None], now: datetime) -> int:
    """Keep out further callbacks with these SIDs, as long as no message here has them, and delete
    the refused ones that have come; return how many.

    One of unknown outcome may still be found to have such a SID.
    """
    names = {sid for sid in sids if sid}
    lock_keys(connection, names)  # whoever stores one of these just now looked for no tombstone
    hashes = {keyed_hash(connection, HashedKind.CALLBACK_SID, sid) for sid in names}
    Tombstone.add(connection, dict.fromkeys(hashes, now + tombstone_lifetime()))
    names -= set(
        connection.scalars(select(Message.twilio_sid).where(Message.twilio_sid.in_(names)))
    )
    return delete_unlocked(connection, RefusedCallback, RefusedCallback.select_by_sids(names))


def _delete_refusals(
    connection: Connection, rows: Sequence[MessageRow]
) -> tuple[Sequence[MessageRow], int]:
    """Delete the refused callbacks that name messages; return the messages that none is left of,
    because another transaction has locked it, and how many were deleted.
    """
    sids = {row.twilio_sid for row in rows if row.twilio_sid}
    count = delete_unlocked(connection, RefusedCallback, RefusedCallback.select_by_sids(sids))
    is_left = RefusedCallback.twilio_sid.in_(sids)
    left_sids = set(connection.scalars(select(RefusedCallback.twilio_sid).where(is_left)))
    return [row for row in rows if row.twilio_sid not in left_sids], count


def tombstone_lifetime() -> timedelta:
    """For how long a late callback, or a form sent twice, may come."""
    return max(receipt_window(), SESSION_LIFETIME)


def _lock(
    connection: Connection,
    columns: tuple[Any, ...],
    ids: Collection[int],
    is_due: ColumnElement[bool],
) -> Sequence[MessageRow]:
    """Lock and read those of the messages that are due and that nobody else has locked."""
    is_any = is_any_of(connection.dialect.name, Message.id)
    query = select(*columns).where(is_any, is_due).order_by(Message.id)
    return connection.execute(query.with_for_update(skip_locked=True), {"values": list(ids)}).all()


def _tombstones(
    connection: Connection, rows: Sequence[MessageRow], now: datetime
) -> dict[bytes, datetime]:
    """The hashes of messages with their ends; that of a text only for the warning of the same."""
    hashes = (key_hash for row in rows for key_hash in _hashes(connection, row))
    ends = dict.fromkeys(hashes, now + tombstone_lifetime())
    for row in rows:
        warned_until = row.created_at + SAME_TEXT_PERIOD
        if warned_until > now and row.status not in NEVER_SENT:
            text_hash = _content_hash(connection, row)
            ends[text_hash] = max(warned_until, ends.get(text_hash, warned_until))
    return ends


def _hashes(connection: Connection, row: MessageRow) -> Iterator[bytes]:
    """What a late callback or a form sent twice would name."""
    yield keyed_hash(connection, HashedKind.FORM, row.owner_id, row.idempotency_key)
    if row.twilio_sid:
        yield keyed_hash(connection, HashedKind.SID, row.twilio_sid)
    else:
        yield keyed_hash(connection, HashedKind.PUBLIC_ID, row.public_id)


def _content_hash(connection: Connection, row: MessageRow) -> bytes:
    sender = ""  # does not matter
    content = Content(row.recipient, sender, row.body, tuple(row.media_urls))
    return content_hash(connection, row.owner_id, content)


def _redacted(rows: Iterable[MessageRow], receipt: str | None) -> Iterator[RemovedMessage]:
    for row in rows:
        if row.twilio_sid:
            action = CarrierAction.CLEAR if row.media_urls else CarrierAction.REDACT
            place = (row.twilio_sid, row.account_sid, row.simulated)
            yield RemovedMessage(*place, action, receipt)


def _deleted(rows: Iterable[MessageRow], receipts: Mapping[int, str]) -> Iterator[RemovedMessage]:
    for row in rows:
        if row.twilio_sid:
            place = (row.twilio_sid, row.account_sid, row.simulated)
            yield RemovedMessage(*place, CarrierAction.DELETE, receipts.get(row.id))


def _delete_rows(connection: Connection, message_ids: Sequence[int]) -> int:
    """Delete messages and all that refers to them; return how many events that were."""
    values = {"values": message_ids}

    def is_any(column: Any) -> ColumnElement[bool]:
        return is_any_of(connection.dialect.name, column)

    is_resend = is_any(Message.resend_of_id)
    connection.execute(update(Message).where(is_resend).values(resend_of_id=None), values)
    event_count = StatusEvent.remove(connection, is_any(StatusEvent.message_id), values)
    if connection.dialect.name == "postgresql":  # SQLite has an index without texts
        texts = delete(message_text).where(is_any(message_text.c.message_id))
        connection.execute(texts, values)
    connection.execute(delete(Message).where(is_any(Message.id)), values)
    return event_count
