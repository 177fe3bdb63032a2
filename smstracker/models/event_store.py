"""How news of a message is stored: an event first, then the message moves.

The callback path is Core alone: one INSERT and one conditional UPDATE. What is rare (an event whose
message is not known by its SID yet) costs more statements, under a lock on the SID.
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
from smstracker.models.insight_rollups import InsightChange
from smstracker.models.messages import Message
from smstracker.models.status_transitions import apply_transition
from smstracker.sms.status import Source

log = logging.getLogger(__name__)

# Facts by which the figures are counted, although no event tells of them.
COUNTED = frozenset({"price_micros", "price_unit", "sender"})


def _message_with_sid(sid: Any) -> Select[tuple[int]]:
    other = aliased(Message)
    return select(other.id).where(other.twilio_sid == sid)


def _is_of_account(message: Any, account: Any) -> ColumnElement[bool]:
    """A subaccount has a token of its own, which must not vouch for another account's messages."""
    return or_(message.account_sid.is_(None), message.account_sid == account)


# A callback belongs to the message in its path, unless that one is known to be another at Twilio.
_SID = bindparam("of_sid", type_=String())
_ACCOUNT = bindparam("of_account", type_=String())
_FROM_PATH = select(Message.id).where(
    Message.public_id == bindparam("in_path", type_=Message.public_id.type),
    or_(Message.twilio_sid.is_(None), Message.twilio_sid == _SID),
    _is_of_account(Message, _ACCOUNT),
)
_HOLDER = aliased(Message)
_FROM_SID = select(_HOLDER.id).where(_HOLDER.twilio_sid == _SID, _is_of_account(_HOLDER, _ACCOUNT))
# The limit keeps both databases from looking for it again wherever the statement names it.
_FOUND = (
    select(func.coalesce(_FROM_PATH.scalar_subquery(), _FROM_SID.scalar_subquery()).label("id"))
    .limit(1)
    .subquery("found")
)
_MESSAGE = _FOUND.c.id
_EARLIER = aliased(StatusEvent)
_TOKEN = bindparam("of_token", None, type_=String())
_IS_SAME_TOKEN = _EARLIER.idempotency_token.is_not_distinct_from(_TOKEN)
_IS_SAME_STATUS = and_(
    _EARLIER.status == bindparam("of_status", type_=String()),
    _EARLIER.error_code.is_not_distinct_from(bindparam("of_code", type_=String())),
    _EARLIER.source == Source.CALLBACK,
)
# Each has an index of its own.
_OF_MESSAGE = _EARLIER.message_id == _MESSAGE
_OF_NO_MESSAGE = and_(_EARLIER.message_id.is_(None), _EARLIER.twilio_sid == _SID)
# Events of one message with the same status and error code: a capture that is posted again, each
# time with another token (which is not signed), must not fill the disk.
MOST_REPEATS = 20


def _by_message(of_message: Any, of_none: Any) -> Any:
    """One expression if there is a message for the callback, and another if there is none yet."""
    return case((_MESSAGE.is_not(None), of_message), else_=of_none)


def _has_earlier(*conditions: ColumnElement[bool], skipped: int = 0) -> Any:
    """Whether more than `skipped` callbacks have told the same status."""
    same = select(_EARLIER.id).where(_IS_SAME_STATUS, *conditions).limit(1).offset(skipped)
    of_message, of_none = (same.where(of) for of in (_OF_MESSAGE, _OF_NO_MESSAGE))
    return _by_message(*(exists(one.correlate(_FOUND)) for one in (of_message, of_none)))


_FROM_NEWS = tuple(
    bindparam(name, None, type_=StatusEvent.__table__.c[name].type).label(name)
    for name in StatusUpdate.__slots__
)
_IS_NEW = not_(or_(_has_earlier(_IS_SAME_TOKEN), _has_earlier(skipped=MOST_REPEATS - 1)))
_APPEND_CALLBACK = (
    insert(StatusEvent)
    .from_select(
        ["message_id", "is_repeated", *StatusUpdate.__slots__],
        select(_MESSAGE, _has_earlier(), *_FROM_NEWS).select_from(_FOUND).where(_IS_NEW),
        include_defaults=False,
    )
    .returning(
        StatusEvent.message_id,
        StatusEvent.is_repeated,
        exists(_message_with_sid(_SID)).label("sid_is_known"),
    )
)
_SAME = select(_EARLIER.id).where(_IS_SAME_STATUS)
_SAME_TOKEN_FIRST = _SAME.order_by(not_(_IS_SAME_TOKEN), _EARLIER.id).limit(1)
_COUNTED = _by_message(
    _SAME_TOKEN_FIRST.where(_OF_MESSAGE).correlate(_FOUND).scalar_subquery(),
    _SAME_TOKEN_FIRST.where(_OF_NO_MESSAGE).correlate(_FOUND).scalar_subquery(),
)
_COUNT_AGAIN = (
    update(StatusEvent)
    .where(StatusEvent.id == select(_COUNTED).select_from(_FOUND).scalar_subquery())
    .values(repeats=StatusEvent.repeats + 1)
    .returning(StatusEvent.message_id)
)


@dataclass(frozen=True, slots=True)
class StoredCallback:
    """Whether a callback told its status before, and whether there is a message for it."""

    is_repeated: bool
    is_matched: bool


def store_callback(
    connection: Connection, public_id: uuid.UUID | None, news: StatusUpdate
) -> StoredCallback:
    """Store a callback and move the message that it is about, if there is one yet.

    The very same event (SID, status, error code and idempotency token) is only counted.
    """
    known = {"of_sid": news.twilio_sid, "of_account": news.account_sid, "in_path": public_id}
    known |= {"of_status": news.status, "of_code": news.error_code}
    known |= {"of_token": news.idempotency_token}
    stored = connection.execute(_APPEND_CALLBACK, {**news.row(), **known}).one_or_none()
    if stored is None:
        # None if it has just been purged: then the error makes Twilio repeat what is lost.
        message_id = connection.execute(_COUNT_AGAIN, known).scalar_one()
        return StoredCallback(is_repeated=True, is_matched=message_id is not None)
    if not stored.sid_is_known and news.twilio_sid:
        # If its message has become known meanwhile, this attaches it and moves the message.
        _settle_sid(connection, stored.message_id, news.twilio_sid)
    if stored.message_id is not None:
        apply_transition(connection, stored.message_id, news)
    return StoredCallback(bool(stored.is_repeated), stored.message_id is not None)


def locked_elsewhere(
    connection: Connection, callbacks: Collection[tuple[uuid.UUID | None, str | None]]
) -> set[str | None]:
    """The SIDs of those callbacks whose message another transaction holds; PostgreSQL only.

    Takes the path's message and SID of each. Ends the transaction, to keep no lock: taken before
    the one on a SID, it would wait in a circle with the answer to a send request.
    """
    ids = [public_id for public_id, _ in callbacks if public_id]
    sids = [sid for _, sid in callbacks if sid]
    concerned = select(Message.public_id, Message.twilio_sid).where(
        or_(Message.public_id.in_(ids), Message.twilio_sid.in_(sids))
    )
    free = set(connection.execute(concerned.with_for_update(skip_locked=True, key_share=True)))
    connection.rollback()
    freed_ids, freed_sids = {row.public_id for row in free}, {row.twilio_sid for row in free}
    doubtful = [
        (public_id, sid)
        for public_id, sid in callbacks
        if not (public_id in freed_ids or sid in freed_sids)
    ]
    if not doubtful:
        return set()
    held = set(connection.execute(concerned)) - free
    held_ids, held_sids = {row.public_id for row in held}, {row.twilio_sid for row in held}
    return {sid for public_id, sid in doubtful if public_id in held_ids or sid in held_sids}


def append_event(connection: Connection, message_id: int, news: StatusUpdate) -> bool:
    """Store what the send answer or a look-up said of a message; whether that moved it."""
    connection.execute(insert(StatusEvent).values(message_id=message_id, **news.row()))
    if news.twilio_sid:
        _settle_sid(connection, message_id, news.twilio_sid)
    return apply_transition(connection, message_id, news)


def link_to_sid(connection: Connection, message_id: int, news: StatusUpdate) -> bool:
    """Take what Twilio's list has as this message, unless its SID is already another one's."""
    if not news.twilio_sid or _settle_sid(connection, message_id, news.twilio_sid) != message_id:
        return False
    append_event(connection, message_id, news)
    return True


def update_message_facts(connection: Connection, message_id: int, **facts: Any) -> None:
    """Set the columns of a message about which there is news beside the status; None is no news."""
    known = {name: value for name, value in facts.items() if value is not None}
    if known:
        connection.execute(update(Message).where(Message.id == message_id).values(known))
    if known.keys() & COUNTED:
        connection.execute(insert(InsightChange).values(message_id=message_id))


def _settle_sid(connection: Connection, message_id: int | None, sid: str) -> int | None:
    """Tie a SID to its message and attach the events that came before; the message's id.

    The lock makes this one at a time for a SID on PostgreSQL (SQLite has one writer anyway), so
    that an event and the answer that makes its SID known cannot miss one another.
    """
    if connection.dialect.name == "postgresql":
        key = zlib.crc32(sid.encode())
        connection.execute(select(func.pg_advisory_xact_lock(key)))
    holder = connection.scalar(_message_with_sid(sid))
    if holder is None and message_id is not None:
        mine = and_(Message.id == message_id, Message.twilio_sid.is_(None))
        connection.execute(update(Message).where(mine).values(twilio_sid=sid))
        holder = message_id
    elif message_id is not None and holder != message_id:
        log.warning("sid_already_held", extra={"message_sid": sid})
    if holder is not None:
        _attach_orphans(connection, holder, sid)
    return holder


def _attach_orphans(connection: Connection, message_id: int, sid: str) -> None:
    account = select(Message.account_sid).where(Message.id == message_id).scalar_subquery()
    is_its_own = or_(
        account.is_(None), StatusEvent.account_sid.is_(None), StatusEvent.account_sid == account
    )
    orphans = (
        update(StatusEvent)
        .where(StatusEvent.message_id.is_(None), StatusEvent.twilio_sid == sid, is_its_own)
        .values(message_id=message_id)
        .returning(StatusEvent.status, StatusEvent.error_code, StatusEvent.received_at)
    )
    for word, code, at in sorted(connection.execute(orphans), key=lambda row: row.received_at):
        apply_transition(
            connection,
            message_id,
            StatusUpdate(word, Source.CALLBACK, {}, sid, code, received_at=at),
        )
