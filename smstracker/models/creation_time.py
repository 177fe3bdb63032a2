"""Queries of messages by the time of their creation, in whole seconds since 1970 or in ranges."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    func,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from smstracker.models.insight_rollups import EVERYONE, QUARTER
from smstracker.models.messages import Message
from smstracker.models.users import User

RowT = TypeVar("RowT", bound=tuple[object, ...])
Range = tuple[datetime, datetime]  # start, inclusive, and end, exclusive
BEGINNING, END_OF_TIME = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class EpochSeconds(GenericFunction[int]):
    """Whole seconds since 1970, rounded down."""

    type = BigInteger()
    inherit_cache = True


@compiles(EpochSeconds, "sqlite")
def _compile_for_sqlite(element: EpochSeconds, compiler: SQLCompiler, **kw: object) -> str:
    # strftime would round the fraction, half a millisecond of it up to the next second.
    seconds = f"substr({compiler.process(element.clauses, **kw)}, 1, 19)"
    return f"CAST(strftime('%s', {seconds}) AS INTEGER)"


@compiles(EpochSeconds, "postgresql")
def _compile_for_postgresql(element: EpochSeconds, compiler: SQLCompiler, **kw: object) -> str:
    return f"CAST(floor(extract(epoch FROM {compiler.process(element.clauses, **kw)})) AS BIGINT)"


def from_epoch(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def creation_bucket(width: int = QUARTER) -> ColumnElement[int]:
    """The start of the bucket of `width` seconds in which a message was created."""
    return (EpochSeconds(Message.created_at) // width * width).label("bucket")


def first_message_query(owner_id: int) -> Select[tuple[datetime]]:
    """When the first message of an owner or of EVERYONE was created, by the index of each owner."""
    query = select(Message.created_at).order_by(Message.created_at, Message.id).limit(1)
    if owner_id != EVERYONE:
        return query.where(Message.owner_id == owner_id)
    per_owner = query.where(Message.owner_id == User.id).correlate(User).scalar_subquery()
    # Without this FROM, the subquery would read the messages of all owners at once.
    owners = select(per_owner.label("first_at")).select_from(User).subquery()
    return select(func.min(owners.c.first_at))


def created_within(
    query: Select[RowT], ranges: Sequence[Range], owner_id: int = EVERYONE
) -> CompoundSelect[RowT]:
    """Run a query for the messages of an owner or of EVERYONE created in each of the ranges.

    Uses the index of each owner: one that begins with the time would slow down every callback.
    """
    if owner_id == EVERYONE:
        query = query.select_from(User).join(Message, Message.owner_id == User.id)
    else:
        query = query.where(Message.owner_id == owner_id)
    created_at = Message.created_at
    # A join with the ranges would hide from PostgreSQL's planner how short they are.
    parts = [
        query.where(created_at >= since, created_at < until)
        for since, until in ranges or [(BEGINNING, BEGINNING)]
    ]
    return union_all(*parts)


def has_more_messages(
    connection: Connection, limit: int, ranges: Sequence[Range], owner_id: int = EVERYONE
) -> bool:
    """Whether more than `limit` messages were created within the ranges."""
    messages = created_within(select(true().label("message")), ranges, owner_id)
    return connection.scalar(messages.offset(limit).limit(1)) is not None
