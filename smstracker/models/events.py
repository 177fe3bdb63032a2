"""Status events, append-only, and the one way in which they move a message.

The callback path is Core alone: one INSERT and one conditional UPDATE. What is rare (an event whose
message is not known by its SID yet) costs more statements, under a lock on the SID.
"""

import logging
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    JSON,
    ForeignKey,
    Index,
    Select,
    String,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.orm import InstrumentedAttribute, Mapped, aliased, mapped_column
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.dml import ReturningUpdate

from smstracker import status
from smstracker.clock import utcnow
from smstracker.database import UtcDateTime
from smstracker.extensions import Model
from smstracker.models.messages import BigId, Message
from smstracker.status import Source

log = logging.getLogger(__name__)

IS_ORPHAN = text("message_id IS NULL")


class StatusEvent(Model):
    """One thing that was learned about a message, kept as it came.

    `carrier_done_at` is the carrier's own date as given: it has no zone and is never computed with.
    `signed_with` names the token of a callback ("primary", "secondary", "subaccount"); one that was
    refused at first and accepted later has a `replayed_at`. `is_repeated` tells of a callback
    whose status and error code had been called back before.
    """

    __tablename__ = "status_event"
    __table_args__ = (
        Index(None, "twilio_sid", sqlite_where=IS_ORPHAN, postgresql_where=IS_ORPHAN),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    message_id: Mapped[int | None] = mapped_column(ForeignKey("message.id"), index=True)
    twilio_sid: Mapped[str | None] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(64))
    error_code: Mapped[str | None] = mapped_column(String(16))
    source: Mapped[str] = mapped_column(String(16))
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    carrier_done_at: Mapped[str | None] = mapped_column(String(32))
    idempotency_token: Mapped[str | None] = mapped_column(String(128))
    account_sid: Mapped[str | None] = mapped_column(String(34))
    signed_with: Mapped[str | None] = mapped_column(String(16))
    is_repeated: Mapped[bool] = mapped_column(default=False)
    replayed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)

    @classmethod
    def of_message(cls, message_id: int) -> Select[tuple["StatusEvent"]]:
        return select(cls).where(cls.message_id == message_id).order_by(cls.received_at, cls.id)


@dataclass(frozen=True, slots=True)
class News:
    """A status that has been learned, from whatever source, before it is stored."""

    status: str
    source: Source
    payload: Mapping[str, Any]
    twilio_sid: str | None = None
    error_code: str | None = None
    carrier_done_at: str | None = None
    idempotency_token: str | None = None
    account_sid: str | None = None
    signed_with: str | None = None
    replayed_at: datetime | None = None
    received_at: datetime = field(default_factory=utcnow)

    def row(self) -> dict[str, Any]:
        """The columns of the event."""
        return {name: getattr(self, name) for name in self.__slots__}


def _by_sid(sid: Any) -> Select[tuple[int]]:
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
_MESSAGE = func.coalesce(_FROM_PATH.scalar_subquery(), _FROM_SID.scalar_subquery())
_EARLIER = aliased(StatusEvent)
_IS_REPEATED = exists().where(
    _EARLIER.message_id == _MESSAGE,
    _EARLIER.status == bindparam("of_status", type_=String()),
    _EARLIER.error_code.is_not_distinct_from(bindparam("of_code", type_=String())),
    _EARLIER.source == Source.CALLBACK,
)
_APPEND_CALLBACK = (
    insert(StatusEvent)
    .values(message_id=_MESSAGE, is_repeated=_IS_REPEATED)
    .returning(
        StatusEvent.message_id,
        StatusEvent.is_repeated,
        exists(_by_sid(_SID)).label("sid_is_known"),
    )
)


def record_callback(connection: Connection, public_id: uuid.UUID | None, news: News) -> bool:
    """Store a callback and move the message that it is about, if there is one yet.

    Tells whether the same status and error code had been called back before.
    """
    known = {"of_sid": news.twilio_sid, "of_account": news.account_sid, "in_path": public_id}
    known |= {"of_status": news.status, "of_code": news.error_code}
    stored = connection.execute(_APPEND_CALLBACK, {**news.row(), **known}).one()
    message_id = stored.message_id
    if not stored.sid_is_known and news.twilio_sid:
        message_id = _settle_sid(connection, message_id, news.twilio_sid) or message_id
    if message_id is not None:
        _move(connection, message_id, news)
    return bool(stored.is_repeated)


def record(connection: Connection, message_id: int, news: News) -> bool:
    """Store what the send answer or a look-up said of a message; whether that moved it."""
    connection.execute(insert(StatusEvent).values(message_id=message_id, **news.row()))
    if news.twilio_sid:
        _settle_sid(connection, message_id, news.twilio_sid)
    return _move(connection, message_id, news)


def adopt(connection: Connection, message_id: int, news: News) -> bool:
    """Take what Twilio's list has as this message, unless its SID is already another one's."""
    if not news.twilio_sid or _settle_sid(connection, message_id, news.twilio_sid) != message_id:
        return False
    record(connection, message_id, news)
    return True


def fill_in(connection: Connection, message_id: int, **facts: Any) -> None:
    """Set the columns of a message about which there is news beside the status; None is no news."""
    known = {name: value for name, value in facts.items() if value is not None}
    if known:
        connection.execute(update(Message).where(Message.id == message_id).values(known))


def _settle_sid(connection: Connection, message_id: int | None, sid: str) -> int | None:
    """Tie a SID to its message and attach the events that came before; the message's id.

    The lock makes this one at a time for a SID on PostgreSQL (SQLite has one writer anyway), so
    that an event and the answer that makes its SID known cannot miss one another.
    """
    if connection.dialect.name == "postgresql":
        key = zlib.crc32(sid.encode())
        connection.execute(select(func.pg_advisory_xact_lock(key)))
    holder = connection.scalar(_by_sid(sid))
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
        _move(connection, message_id, News(word, Source.CALLBACK, {}, sid, code, received_at=at))


def _move(connection: Connection, message_id: int, news: News) -> bool:
    """Move a message if the news rank above what is known of it; whether they did."""
    if news.status not in status.RANK:
        return False
    moved = connection.execute(
        _conditional_update(news.status),
        {"of": message_id, "code": news.error_code, "at": news.received_at, "source": news.source},
    ).first()
    learned = (news.status, news.received_at, news.source)
    return moved is not None and tuple(moved) == learned


@cache
def _conditional_update(word: str) -> ReturningUpdate[tuple[str, datetime, str | None]]:
    """UPDATE to `word` if the stored status ranks below it; derived from `status.RANK`.

    The same outcome only fills in a missing error code. A contradiction is marked and nothing more;
    it is looked for in the status, which another transaction may just have changed, and in the
    events, because the status forgets (failed, delivered, read).
    """
    at = bindparam("at", type_=UtcDateTime())
    code = bindparam("code", type_=String())
    rises = _is_one_of(status.below(word))
    contradicts = _contradicts(word)
    fills = and_(
        _is_one_of(status.same_outcome(word)),
        Message.error_code.is_(None),
        code.is_not(None),
    )
    final = at if word in status.FINAL else null()
    settled = case((rises, null()), else_=Message.next_lookup_at)
    accepted = null() if word in (*status.OUTCOME_OPEN, *status.NOT_SENT) else at
    return (
        update(Message)
        .where(
            Message.id == bindparam("of"),
            or_(rises, fills, and_(contradicts, ~Message.conflicting)),
        )
        .values(
            status=case((rises, word), else_=Message.status),
            status_at=case((rises, at), else_=Message.status_at),
            status_source=case(
                (rises, bindparam("source", type_=String())), else_=Message.status_source
            ),
            error_code=case((or_(rises, fills), code), else_=Message.error_code),
            final_at=case((rises, final), else_=Message.final_at),
            accepted_at=func.coalesce(Message.accepted_at, accepted),
            conflicting=or_(Message.conflicting, contradicts),
            next_lookup_at=settled if word in status.FINAL else Message.next_lookup_at,
        )
        .returning(Message.status, Message.status_at, Message.status_source)
    )


def _contradicts(word: str) -> ColumnElement[bool]:
    opposite = status.contradicting(word)
    if not opposite:
        return false()
    told = exists().where(
        StatusEvent.message_id == bindparam("of"), _is_one_of(opposite, StatusEvent.status)
    )
    return or_(_is_one_of(opposite), told)


def _is_one_of(
    words: tuple[str, ...], column: InstrumentedAttribute[str] = Message.status
) -> ColumnElement[bool]:
    # Written out, because a list of parameters would be expanded again at each execution.
    return column.in_([literal_column(f"'{word}'") for word in words])
