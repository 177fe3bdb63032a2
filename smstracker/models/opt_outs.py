"""Opt-outs that outlive their messages, by a keyed hash of the recipient's number."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import cache
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    ForeignKey,
    LargeBinary,
    Select,
    String,
    bindparam,
    delete,
    func,
    select,
)
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.database.engine import UtcDateTime, excluded, upsert
from smstracker.database.row_sets import is_any_of
from smstracker.extensions import Model
from smstracker.models.events import StatusEvent
from smstracker.models.messages import Message
from smstracker.models.tombstones import HashedKind, keyed_hash
from smstracker.sms import status

OPT_OUT_CODE = "21610"
# After START alone does Twilio send again; a receipt may never come.
ACCEPTED = (*status.POSITIVE, *status.AWAITING_RECEIPT)


class _Key(NamedTuple):
    owner_id: int
    sender: str
    number_hash: bytes


class RememberedOptOut(Model):
    """An opt-out that deleted messages of an owner prove: `sender` is a number or a service."""

    __tablename__ = "remembered_opt_out"

    owner_id: Mapped[int] = mapped_column(
        ForeignKey("user.id"), primary_key=True, autoincrement=False
    )
    sender: Mapped[str] = mapped_column(String(34), primary_key=True)
    number_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    opted_out_at: Mapped[datetime] = mapped_column(UtcDateTime)

    @classmethod
    def remember(cls, connection: Connection, message_ids: Sequence[int]) -> None:
        """Keep what messages tell of opt-outs, before they are deleted."""
        opt_outs = _read_newest(connection, _select_opt_outs, message_ids)
        has_rows = connection.scalar(select(cls.owner_id).limit(1)) is not None
        accepted: dict[_Key, datetime] = {}
        if opt_outs or has_rows:
            accepted = _read_newest(connection, _select_accepted, message_ids)
        for key, accepted_at in sorted(accepted.items()):
            ended = (*cls._has_key(key), cls.opted_out_at < accepted_at)
            connection.execute(delete(cls).where(*ended))
        changes = {"opted_out_at": excluded("opted_out_at")}
        statement = upsert(connection.dialect.name, cls, _Key._fields, changes)
        for key, at in sorted(opt_outs.items()):
            if key not in accepted or accepted[key] <= at:
                connection.execute(statement.values(**key._asdict(), opted_out_at=at))

    @classmethod
    def find_time(
        cls, connection: Connection, owner_id: int, sender: str, number: str
    ) -> datetime | None:
        """Return when a recipient refused the messages of an owner's sender."""
        key = _Key(owner_id, sender, keyed_hash(connection, HashedKind.NUMBER, number))
        return connection.scalar(select(cls.opted_out_at).where(*cls._has_key(key)))

    @classmethod
    def find_numbers(cls, connection: Connection, numbers: Collection[str]) -> set[str]:
        """Return those of the numbers that refused the messages of any owner's sender."""
        hashes = {keyed_hash(connection, HashedKind.NUMBER, number): number for number in numbers}
        rows = connection.scalars(_select_remembered(), {"hashes": list(hashes)})
        return {hashes[number_hash] for number_hash in rows}

    @classmethod
    def _has_key(cls, key: _Key) -> tuple[ColumnElement[bool], ...]:
        return (
            cls.owner_id == key.owner_id,
            cls.sender == key.sender,
            cls.number_hash == key.number_hash,
        )


_KEY_COLUMNS = (
    Message.owner_id,
    func.coalesce(Message.messaging_service_sid, Message.sender, "").label("sender"),
    Message.recipient,
)
Newest = Select[tuple[int, str, str, datetime]]


@cache
def _select_remembered() -> Select[tuple[bytes]]:
    column = RememberedOptOut.number_hash
    return select(column).where(column.in_(bindparam("hashes", expanding=True)))


@cache
def _select_opt_outs(dialect_name: str) -> Newest:
    query = select(*_KEY_COLUMNS, func.max(StatusEvent.received_at, type_=UtcDateTime()))
    query = query.join(StatusEvent, StatusEvent.message_id == Message.id)
    is_opt_out = StatusEvent.error_code == OPT_OUT_CODE
    return query.where(is_opt_out, is_any_of(dialect_name, Message.id)).group_by(*_KEY_COLUMNS)


@cache
def _select_accepted(dialect_name: str) -> Newest:
    query = select(*_KEY_COLUMNS, func.max(Message.created_at, type_=UtcDateTime()))
    is_accepted = Message.status.in_(ACCEPTED)
    return query.where(is_accepted, is_any_of(dialect_name, Message.id)).group_by(*_KEY_COLUMNS)


def _read_newest(
    connection: Connection, build: Callable[[str], Newest], message_ids: Sequence[int]
) -> dict[_Key, datetime]:
    rows = connection.execute(build(connection.dialect.name), {"values": message_ids})
    return {
        _Key(owner_id, sender, keyed_hash(connection, HashedKind.NUMBER, number)): at
        for owner_id, sender, number, at in rows
    }
