"""Queries of messages by the time of their creation, in whole seconds since 1970 or in ranges."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, column, func, select, true, values
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from smstracker.database.engine import UtcDateTime
from smstracker.models.insight_rollups import EVERYONE, QUARTER
from smstracker.models.messages import Message
from smstracker.models.users import User

Range = tuple[datetime, datetime]  # start, inclusive, and end, exclusive


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


def bucket_start(width: int = QUARTER) -> ColumnElement[int]:
    """The start of the bucket of `width` seconds in which a message was created."""
    created = EpochSeconds(Message.created_at)
    return (created - created % width).label("bucket")


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
    query: Select[Any], ranges: Sequence[Range], owner_id: int = EVERYONE
) -> Select[Any]:
    """Limit a query to messages of an owner or of EVERYONE that were created in the ranges.

    Uses the index of each owner: one that begins with the time would slow down every callback.
    """
    since, until = column("since", UtcDateTime), column("until", UtcDateTime)
    within = values(since, until, name="ranges").data(ranges).cte("ranges")
    in_range = (Message.created_at >= within.c.since) & (Message.created_at < within.c.until)
    query = query.select_from(within).join(User, true())
    query = query.join(Message, (Message.owner_id == User.id) & in_range)
    return query if owner_id == EVERYONE else query.where(User.id == owner_id)
