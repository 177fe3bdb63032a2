"""Storage of status callbacks in groups: each event once, and the message that it belongs to.

A group takes two SELECTs, an INSERT and an UPDATE, however many callbacks it has: executing
statements costs more than what they do. A message without a SID takes a few more.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeVar

from sqlalchemy import Executable, bindparam, or_, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.orm import InstrumentedAttribute

from smstracker.database.advisory_locks import lock_key, try_to_lock_keys
from smstracker.database.engine import affected_rows
from smstracker.database.row_sets import insert_rows, is_any_of
from smstracker.models.event_store import bind_sid
from smstracker.models.events import StatusEvent, StatusUpdate
from smstracker.models.messages import Message
from smstracker.models.outbox import pause_senders
from smstracker.models.status_transitions import LockedMessage, lock_messages, save_changes
from smstracker.models.tombstones import HashedKind, Tombstone, keyed_hash, sid_hashes
from smstracker.sms.status import QUEUE_OVERFLOW_CODE, Source

ValueT = TypeVar("ValueT")

# For one message, status and error code: a captured callback that is posted again, each time with
# another token (which is not signed), must not fill the disk.
MAX_REPEATED_ROWS = 20

_SELECT_EVENTS = select(
    *(StatusEvent.message_id, StatusEvent.twilio_sid, StatusEvent.id, StatusEvent.status),
    *(StatusEvent.error_code, StatusEvent.idempotency_token, StatusEvent.source),
    StatusEvent.account_sid,
).order_by(StatusEvent.id)
_COUNT_REPEATS = (
    update(StatusEvent)
    .where(StatusEvent.id == bindparam("counted_id"))
    .values(repeats=StatusEvent.repeats + bindparam("new_repeats"))
)


class Callback(NamedTuple):
    """A verified callback, and the public id in its path."""

    public_id: uuid.UUID | None
    update: StatusUpdate


@dataclass(frozen=True, slots=True)
class StoredCallback:
    """Whether the status of a callback was a repetition, and whether it has a message."""

    is_repeated: bool
    has_message: bool


@dataclass(slots=True)
class _Event:
    """An event of a message or SID. It is new while it has no id."""

    id: int | None
    status: str
    error_code: str | None
    idempotency_token: str | None
    source: str
    account_sid: str | None
    new_repeats: int = 0


def store_callback(
    connection: Connection, public_id: uuid.UUID | None, status_update: StatusUpdate
) -> StoredCallback:
    """Store one callback."""
    group = _Group(connection, [Callback(public_id, status_update)], skips_locked=False)
    stored = group.add(Callback(public_id, status_update))
    group.save()
    return stored


def store_callbacks(
    connection: Connection, callbacks: Sequence[Callback]
) -> list[StoredCallback | None]:
    """Store callbacks in their order, and move their messages, as far as they have one yet.

    A repetition of the same event (SID, status, error code, idempotency token) is only counted.
    Waits for no other transaction: None for a callback whose message another one has locked.
    """
    group = _Group(connection, callbacks, skips_locked=True)
    stored = [None if group.is_locked(callback) else group.add(callback) for callback in callbacks]
    group.save()
    return stored


class _Group:
    """The messages of callbacks, locked, and their events."""

    def __init__(
        self, connection: Connection, callbacks: Sequence[Callback], skips_locked: bool
    ) -> None:
        self._connection = connection
        self._skips_locked = skips_locked
        # Ids and SIDs of messages that another transaction has locked.
        self._locked_keys: set[uuid.UUID | str] = set()
        self._by_public_id: dict[uuid.UUID, LockedMessage] = {}
        self._by_sid: dict[str | None, LockedMessage] = {}
        self._events: dict[int | str | None, list[_Event]] = defaultdict(list)
        self._new_events: list[tuple[_Event, dict[str, object]]] = []
        self._overflowed_ids: list[int] = []
        sids = _sids(callbacks)
        self._lock(Message.twilio_sid, sids)
        if new_ids := _public_ids(callbacks) - self._by_public_id.keys():
            self._lock(Message.public_id, new_ids)
        if unknown_sids := sids - self._by_sid.keys():
            self._lock_unknown(unknown_sids, new_ids)
            self._bind_sids(callbacks)
        if self._by_public_id:
            message_ids = [message.id for message in self._by_public_id.values()]
            query = _select_events(connection.dialect.name)
            self._read_events(query, {"values": message_ids})
        self._deleted: set[bytes] = set()
        if orphans := [callback for callback in callbacks if not self._find_message(callback)]:
            hashes = {
                key_hash for callback in orphans for key_hash in _hashes(connection, callback)
            }
            self._deleted = Tombstone.find(connection, hashes)
            of_sids = StatusEvent.twilio_sid.in_(_sids(orphans))
            self._read_events(_SELECT_EVENTS.where(StatusEvent.message_id.is_(None), of_sids), {})

    def _lock(self, column: InstrumentedAttribute[ValueT], values: Iterable[ValueT]) -> None:
        for message in lock_messages(self._connection, column, values, self._skips_locked):
            self._by_public_id[message.public_id] = message
            if message.twilio_sid:
                self._by_sid[message.twilio_sid] = message

    def _lock_unknown(self, sids: set[str], public_ids: set[uuid.UUID]) -> None:
        """Lock SIDs without a message: the answer to a send may be binding them."""
        if not self._skips_locked:
            [sid] = sids  # of one callback
            lock_key(self._connection, sid)
            return self._lock(Message.twilio_sid, sids)
        self._locked_keys |= try_to_lock_keys(self._connection, sids)
        self._lock(Message.twilio_sid, sids)
        is_missing = or_(Message.twilio_sid.in_(sids), Message.public_id.in_(public_ids))
        query = select(Message.public_id, Message.twilio_sid).where(is_missing)
        for public_id, sid in self._connection.execute(query):
            if public_id not in self._by_public_id:
                self._locked_keys |= {public_id, sid} - {None}
        return None

    def is_locked(self, callback: Callback) -> bool:
        """Whether another transaction has locked the message of a callback, or its SID."""
        sid = callback.update.twilio_sid
        is_path_locked = callback.public_id in self._locked_keys and sid not in self._by_sid
        return is_path_locked or sid in self._locked_keys

    def _find_message(self, callback: Callback) -> LockedMessage | None:
        """Return the message in the path, unless it has another SID; otherwise that of the SID.

        The token of an account does not vouch for messages of others.
        """
        sid, account_sid = callback.update.twilio_sid, callback.update.account_sid
        by_path = self._by_public_id.get(callback.public_id) if callback.public_id else None
        for message in (by_path, self._by_sid.get(sid)):
            if (
                message is not None
                and message.twilio_sid in (None, sid)
                and message.account_sid in (None, account_sid)
            ):
                return message
        return None

    def _bind_sids(self, callbacks: Sequence[Callback]) -> None:
        for callback in callbacks:
            if self.is_locked(callback):
                continue
            sid, message = callback.update.twilio_sid, self._find_message(callback)
            if message is not None and sid and sid not in self._by_sid:
                self._by_sid[sid] = bind_sid(self._connection, message, sid)

    def _read_events(self, query: Executable, parameters: dict[str, object]) -> None:
        for message_id, sid, *event in self._connection.execute(query, parameters):
            self._events[message_id or sid].append(_Event(*event))

    def add(self, callback: Callback) -> StoredCallback:
        """Add a callback to the events, and move its message.

        One of a deleted message is only counted: its numbers shall not come back.
        """
        status_update, message = callback.update, self._find_message(callback)
        if message is None and self._is_deleted(callback):
            return StoredCallback(is_repeated=False, has_message=True)
        events = self._events[message.id if message else status_update.twilio_sid]
        same_status = [event for event in events if _has_same_status(event, status_update)]
        token = status_update.idempotency_token
        same_event = [event for event in same_status if event.idempotency_token == token]
        if same_event or len(same_status) >= MAX_REPEATED_ROWS:
            (same_event or same_status)[0].new_repeats += 1
        else:
            event = _Event(
                *(None, status_update.status, status_update.error_code, token),
                *("callback", status_update.account_sid),
            )
            row: dict[str, object] = {"message_id": message and message.id}
            row |= {"is_repeated": bool(same_status), **status_update.row()}
            if message and message.content_deleted_at:
                row["payload"] = {}  # it holds the number
            self._new_events.append((event, row))
            events.append(event)
            if message:
                is_moved = message.apply(status_update, [event.status for event in events])
                if is_moved and status_update.error_code == QUEUE_OVERFLOW_CODE:
                    self._overflowed_ids.append(message.id)
        return StoredCallback(is_repeated=bool(same_status), has_message=message is not None)

    def _is_deleted(self, callback: Callback) -> bool:
        """Whether the callback's message was deleted here."""
        return bool(self._deleted and self._deleted & _hashes(self._connection, callback))

    def save(self) -> None:
        """Write what was added."""
        rows = [row | {"repeats": event.new_repeats} for event, row in self._new_events]
        if rows:
            insert_rows(self._connection, StatusEvent, rows)
        repeated_events = [
            {"counted_id": event.id, "new_repeats": event.new_repeats}
            for events in self._events.values()
            for event in events
            if event.new_repeats and event.id is not None
        ]
        if repeated_events:
            result = self._connection.execute(_COUNT_REPEATS, repeated_events)
            if affected_rows(result) < len(repeated_events):
                # The error makes Twilio repeat the callback.
                raise LookupError("a repeated event has just been purged")
        save_changes(self._connection, self._by_public_id.values())
        if self._overflowed_ids:
            pause_senders(self._connection, self._overflowed_ids, QUEUE_OVERFLOW_CODE)


@cache
def _select_events(dialect_name: str) -> Executable:
    return _SELECT_EVENTS.where(is_any_of(dialect_name, StatusEvent.message_id))


def lock_callback_messages(connection: Connection, callbacks: Sequence[Callback]) -> None:
    """Lock the messages of callbacks that will be stored one by one, in the order of groups."""
    lock_messages(connection, Message.twilio_sid, _sids(callbacks))
    lock_messages(connection, Message.public_id, _public_ids(callbacks))


def _sids(callbacks: Sequence[Callback]) -> set[str]:
    return {callback.update.twilio_sid or "" for callback in callbacks}


def _hashes(connection: Connection, callback: Callback) -> set[bytes]:
    """What a tombstone of the callback's message, or of the callback, would hold."""
    hashes = sid_hashes(connection, callback.update.twilio_sid)
    if callback.public_id:
        hashes.add(keyed_hash(connection, HashedKind.PUBLIC_ID, callback.public_id))
    return hashes


def _public_ids(callbacks: Sequence[Callback]) -> set[uuid.UUID]:
    return {callback.public_id for callback in callbacks if callback.public_id}


def _has_same_status(event: _Event, status_update: StatusUpdate) -> bool:
    """Whether both tell the same. What another account told of a SID is no repetition."""
    facts = (event.source, event.status, event.error_code)
    is_same = facts == (Source.CALLBACK, status_update.status, status_update.error_code)
    return is_same and event.account_sid in (None, status_update.account_sid)
