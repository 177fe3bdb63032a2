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
    Update,
    and_,
    bindparam,
    case,
    exists,
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
from sqlalchemy.orm import Mapped, aliased, mapped_column
from sqlalchemy.sql import ColumnElement

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
    received_at: datetime = field(default_factory=utcnow)

    def row(self) -> dict[str, Any]:
        """The columns of the event."""
        return {name: getattr(self, name) for name in self.__slots__}


def _by_sid(sid: Any) -> Select[tuple[int]]:
    other = aliased(Message)
    return select(other.id).where(other.twilio_sid == sid)


# A callback belongs to the message in its path, unless that one is known to be another at Twilio.
_SID = bindparam("of_sid", type_=String())
_FROM_PATH = select(Message.id).where(
    Message.public_id == bindparam("in_path", type_=Message.public_id.type),
    or_(Message.twilio_sid.is_(None), Message.twilio_sid == _SID),
)
_APPEND_CALLBACK = (
    insert(StatusEvent)
    .values(message_id=func.coalesce(_FROM_PATH.scalar_subquery(), _by_sid(_SID).scalar_subquery()))
    .returning(StatusEvent.message_id, exists(_by_sid(_SID)).label("sid_is_known"))
)


def record_callback(connection: Connection, public_id: uuid.UUID | None, news: News) -> None:
    """Store a callback and move the message that it is about, if there is one yet."""
    stored = connection.execute(
        _APPEND_CALLBACK, {**news.row(), "of_sid": news.twilio_sid, "in_path": public_id}
    ).one()
    message_id = stored.message_id
    if not stored.sid_is_known and news.twilio_sid:
        message_id = _settle_sid(connection, message_id, news.twilio_sid) or message_id
    if message_id is not None:
        _move(connection, message_id, news)


def record(connection: Connection, message_id: int, news: News) -> None:
    """Store what the send answer or a look-up said of a message, and move it."""
    connection.execute(insert(StatusEvent).values(message_id=message_id, **news.row()))
    if news.twilio_sid:
        _settle_sid(connection, message_id, news.twilio_sid)
    _move(connection, message_id, news)


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
    orphans = (
        update(StatusEvent)
        .where(StatusEvent.message_id.is_(None), StatusEvent.twilio_sid == sid)
        .values(message_id=message_id)
        .returning(StatusEvent.status, StatusEvent.error_code, StatusEvent.received_at)
    )
    for word, code, at in sorted(connection.execute(orphans), key=lambda row: row.received_at):
        _move(connection, message_id, News(word, Source.CALLBACK, {}, sid, code, received_at=at))


def _move(connection: Connection, message_id: int, news: News) -> None:
    if news.status in status.RANK:
        connection.execute(
            _conditional_update(news.status),
            {
                "of": message_id,
                "code": news.error_code,
                "at": news.received_at,
                "source": news.source,
            },
        )


@cache
def _conditional_update(word: str) -> Update:
    """UPDATE to `word` if the stored status ranks below it; derived from `status.RANK`.

    Equal rank only fills in a missing error code. A contradiction is marked and nothing more.
    """
    at = bindparam("at", type_=UtcDateTime())
    code = bindparam("code", type_=String())
    rises = _is_one_of(status.below(word))
    contradicts = _is_one_of(status.contradicting(word))
    fills = and_(
        _is_one_of(status.level_with(word)),
        Message.error_code.is_(None),
        code.is_not(None),
    )
    final = at if word in status.FINAL else null()
    accepted = null() if word in ("pending", "unknown", *status.NOT_SENT) else at
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
        )
    )


def _is_one_of(words: tuple[str, ...]) -> ColumnElement[bool]:
    # Written out, because a list of parameters would be expanded again at each execution.
    return Message.status.in_([literal_column(f"'{word}'") for word in words])
