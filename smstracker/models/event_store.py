"""Storage of status updates: append the event, then move the message.

A callback takes one INSERT and one conditional UPDATE in SQLAlchemy Core. An event whose message
has no SID yet is rare and takes more statements, under a lock on the SID.
"""

import logging
import uuid
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Select,
    String,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased
from sqlalchemy.sql import ColumnElement

from smstracker.models.events import StatusEvent, StatusUpdate
from smstracker.models.insight_coverage import request_recount
from smstracker.models.messages import Message
from smstracker.models.status_transitions import apply_transition
from smstracker.sms.status import Source

log = logging.getLogger(__name__)

# Columns that insights count, but that no event records.
COUNTED_COLUMNS = frozenset({"price_micros", "price_unit", "sender"})


def _select_by_sid(sid: Any) -> Select[tuple[int]]:
    other = aliased(Message)
    return select(other.id).where(other.twilio_sid == sid)


def _has_account(message: Any, account: Any) -> ColumnElement[bool]:
    """Whether a message is of an account, whose token must not vouch for those of others."""
    return or_(message.account_sid.is_(None), message.account_sid == account)


# A callback belongs to the message in its path, unless that message has another SID.
_SID = bindparam("of_sid", type_=String())
_ACCOUNT = bindparam("of_account", type_=String())
_ID_BY_PATH = select(Message.id).where(
    Message.public_id == bindparam("in_path", type_=Message.public_id.type),
    or_(Message.twilio_sid.is_(None), Message.twilio_sid == _SID),
    _has_account(Message, _ACCOUNT),
)
_HOLDER = aliased(Message)
_ID_BY_SID = select(_HOLDER.id).where(_HOLDER.twilio_sid == _SID, _has_account(_HOLDER, _ACCOUNT))
# The limit keeps both databases from repeating the subquery at each use.
_MATCH = (
    select(func.coalesce(_ID_BY_PATH.scalar_subquery(), _ID_BY_SID.scalar_subquery()).label("id"))
    .limit(1)
    .subquery("matched")
)
_MESSAGE_ID = _MATCH.c.id
_EARLIER = aliased(StatusEvent)
_TOKEN = bindparam("of_token", None, type_=String())
_IS_SAME_TOKEN = _EARLIER.idempotency_token.is_not_distinct_from(_TOKEN)
_IS_SAME_STATUS = and_(
    _EARLIER.status == bindparam("of_status", type_=String()),
    _EARLIER.error_code.is_not_distinct_from(bindparam("of_code", type_=String())),
    _EARLIER.source == Source.CALLBACK,
)
# An index covers each of the two.
_HAS_MESSAGE = _EARLIER.message_id == _MESSAGE_ID
_IS_ORPHAN = and_(_EARLIER.message_id.is_(None), _EARLIER.twilio_sid == _SID)
# For one message, status and error code: a captured callback that is posted again, each time with
# another token (which is not signed), must not fill the disk.
MAX_REPEATED_ROWS = 20


def _case_matched(matched: Any, orphaned: Any) -> Any:
    """One expression if the callback has a message, another if it has none yet."""
    return case((_MESSAGE_ID.is_not(None), matched), else_=orphaned)


def _has_earlier(*conditions: ColumnElement[bool], skipped: int = 0) -> Any:
    """Whether more than `skipped` callbacks reported the same status."""
    same_status = select(_EARLIER.id).where(_IS_SAME_STATUS, *conditions).limit(1).offset(skipped)
    matched, orphaned = (same_status.where(condition) for condition in (_HAS_MESSAGE, _IS_ORPHAN))
    return _case_matched(*(exists(query.correlate(_MATCH)) for query in (matched, orphaned)))


_UPDATE_COLUMNS = tuple(
    bindparam(name, None, type_=StatusEvent.__table__.c[name].type).label(name)
    for name in StatusUpdate.__slots__
)
_IS_NEW = not_(or_(_has_earlier(_IS_SAME_TOKEN), _has_earlier(skipped=MAX_REPEATED_ROWS - 1)))
_APPEND_CALLBACK = (
    insert(StatusEvent)
    .from_select(
        ["message_id", "is_repeated", *StatusUpdate.__slots__],
        select(_MESSAGE_ID, _has_earlier(), *_UPDATE_COLUMNS).select_from(_MATCH).where(_IS_NEW),
        include_defaults=False,
    )
    .returning(
        StatusEvent.message_id,
        StatusEvent.is_repeated,
        exists(_select_by_sid(_SID)).label("sid_is_known"),
    )
)
_SAME_STATUS_IDS = select(_EARLIER.id).where(_IS_SAME_STATUS)
_BEST_REPEATED_ID = _SAME_STATUS_IDS.order_by(not_(_IS_SAME_TOKEN), _EARLIER.id).limit(1)
_REPEATED_ID = _case_matched(
    _BEST_REPEATED_ID.where(_HAS_MESSAGE).correlate(_MATCH).scalar_subquery(),
    _BEST_REPEATED_ID.where(_IS_ORPHAN).correlate(_MATCH).scalar_subquery(),
)
_COUNT_REPEAT = (
    update(StatusEvent)
    .where(StatusEvent.id == select(_REPEATED_ID).select_from(_MATCH).scalar_subquery())
    .values(repeats=StatusEvent.repeats + 1)
    .returning(StatusEvent.message_id)
)


@dataclass(frozen=True, slots=True)
class StoredCallback:
    """Whether the status of a callback was a repetition, and whether it has a message."""

    is_repeated: bool
    has_message: bool


def store_callback(
    connection: Connection, public_id: uuid.UUID | None, status_update: StatusUpdate
) -> StoredCallback:
    """Store a callback and move its message, if there is one yet.

    A repetition of the same event (SID, status, error code, idempotency token) is only counted.
    """
    parameters = {
        "of_sid": status_update.twilio_sid,
        "of_account": status_update.account_sid,
        "of_status": status_update.status,
        "of_code": status_update.error_code,
        "of_token": status_update.idempotency_token,
        "in_path": public_id,
    }
    row = {**status_update.row(), **parameters}
    stored = connection.execute(_APPEND_CALLBACK, row).one_or_none()
    if stored is None:
        # No row if it has just been purged: the error makes Twilio repeat the callback.
        message_id = connection.execute(_COUNT_REPEAT, parameters).scalar_one()
        return StoredCallback(is_repeated=True, has_message=message_id is not None)
    if not stored.sid_is_known and status_update.twilio_sid:
        # If its message got the SID meanwhile, this attaches the event and moves the message.
        _bind_sid(connection, stored.message_id, status_update.twilio_sid)
    if stored.message_id is not None:
        apply_transition(connection, stored.message_id, status_update)
    return StoredCallback(bool(stored.is_repeated), stored.message_id is not None)


def find_locked_sids(
    connection: Connection, callbacks: Collection[tuple[uuid.UUID | None, str | None]]
) -> set[str | None]:
    """The SIDs of the callbacks whose message another transaction has locked; PostgreSQL only.

    `callbacks` are pairs of the public id in the path and the SID. Ends the transaction to release
    its locks: held before the lock on a SID, they would deadlock with the answer to a send request.
    """
    ids = [public_id for public_id, _ in callbacks if public_id]
    sids = [sid for _, sid in callbacks if sid]
    message_keys = select(Message.public_id, Message.twilio_sid).where(
        or_(Message.public_id.in_(ids), Message.twilio_sid.in_(sids))
    )
    skip_locked = message_keys.with_for_update(skip_locked=True, key_share=True)
    unlocked = set(connection.execute(skip_locked))
    connection.rollback()
    unlocked_ids = {row.public_id for row in unlocked}
    unlocked_sids = {row.twilio_sid for row in unlocked}
    unmatched = [
        (public_id, sid)
        for public_id, sid in callbacks
        if not (public_id in unlocked_ids or sid in unlocked_sids)
    ]
    if not unmatched:
        return set()
    locked = set(connection.execute(message_keys)) - unlocked
    locked_ids, locked_sids = {row.public_id for row in locked}, {row.twilio_sid for row in locked}
    return {sid for public_id, sid in unmatched if public_id in locked_ids or sid in locked_sids}


def append_event(connection: Connection, message_id: int, status_update: StatusUpdate) -> bool:
    """Store a status from a send answer or a look-up; whether it moved the message."""
    connection.execute(insert(StatusEvent).values(message_id=message_id, **status_update.row()))
    if status_update.twilio_sid:
        _bind_sid(connection, message_id, status_update.twilio_sid)
    return apply_transition(connection, message_id, status_update)


def link_to_sid(connection: Connection, message_id: int, status_update: StatusUpdate) -> bool:
    """Link a message to a SID of Twilio's list; False if another message has the SID."""
    sid = status_update.twilio_sid
    if not sid or _bind_sid(connection, message_id, sid) != message_id:
        return False
    append_event(connection, message_id, status_update)
    return True


def update_message_facts(connection: Connection, message_id: int, **facts: Any) -> None:
    """Set columns of a message other than its status; None leaves a column unchanged."""
    values = {name: value for name, value in facts.items() if value is not None}
    if values:
        connection.execute(update(Message).where(Message.id == message_id).values(values))
    if values.keys() & COUNTED_COLUMNS:
        request_recount(connection, [message_id])


def _bind_sid(connection: Connection, message_id: int | None, sid: str) -> int | None:
    """Set the SID of a message and attach its earlier events; the id of the message with the SID.

    On PostgreSQL a lock on the SID serialises this (SQLite has one writer), so that an event and
    the send answer with its SID cannot miss each other.
    """
    if connection.dialect.name == "postgresql":
        key = zlib.crc32(sid.encode())
        connection.execute(select(func.pg_advisory_xact_lock(key)))
    holder_id = connection.scalar(_select_by_sid(sid))
    if holder_id is None and message_id is not None:
        is_unbound = and_(Message.id == message_id, Message.twilio_sid.is_(None))
        connection.execute(update(Message).where(is_unbound).values(twilio_sid=sid))
        holder_id = message_id
    elif message_id is not None and holder_id != message_id:
        log.warning("sid_already_held", extra={"message_sid": sid})
    if holder_id is not None:
        _attach_orphans(connection, holder_id, sid)
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
