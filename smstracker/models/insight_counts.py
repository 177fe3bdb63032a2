"""Counts messages for the rollups of /insights, and for what these do not cover.

Messages that are deleted keep their place in the totals.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import phonenumbers
from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Select,
    SQLColumnExpression,
    func,
    select,
)

from smstracker.database.engine import excluded, upsert
from smstracker.database.row_sets import Rows
from smstracker.models.creation_time import EpochSeconds, bucket_start
from smstracker.models.insight_coverage import request_recount
from smstracker.models.insight_rollups import (
    BINS,
    EVERYONE,
    SHARED_KEY,
    InsightDelivery,
    InsightFailure,
    InsightOutcome,
    InsightSpend,
    Rollup,
)
from smstracker.models.messages import Message
from smstracker.sms import status
from smstracker.sms.status import Source, State

Key = tuple[Any, ...]  # the values of `Rollup.key`, or without owner, bucket and is_deleted
Totals = defaultdict[Key, Counter[str]]  # the sums of a table by column
Placed = Iterator[tuple[Key, dict[str, int]]]  # rows without owner, bucket and is_deleted
Limit = Callable[[Select[tuple[object, ...]]], Executable]
SENDER, CALLING_CODE = "sender", "calling code"
CALLING_CODE_DIGITS = 3  # no code is longer
# The column of each status; every other status is unknown.
OUTCOME_COLUMNS = {
    word: name
    for name in ("waiting", "delivered", "failed", "cancelled")
    for word in status.counted_statuses(State(name))
}
OUTCOME_COLUMNS |= dict.fromkeys(status.AWAITING_RECEIPT, "awaiting_receipt")
OUTCOME_COLUMNS["pending"] = "pending"


@dataclass(frozen=True, slots=True)
class _Counting:
    """How the rows of a table are counted.

    `amounts` are summed up in SQL for each combination of `groups`; `place` then adds them to
    columns of a row.
    """

    groups: tuple[SQLColumnExpression[object], ...]
    amounts: tuple[ColumnElement[int], ...]
    conditions: tuple[ColumnElement[bool], ...]
    place: Callable[..., Placed]


def _place_outcome(word: str, messages: int) -> Placed:
    yield (), {OUTCOME_COLUMNS.get(word, "unknown"): messages}


def _place_failure(error_code: str | None, messages: int) -> Placed:
    yield (error_code or "",), {"messages": messages}


def _place_spend(currency: str, micros: int, messages: int) -> Placed:
    yield (currency,), {"micros": int(micros), "messages": messages}


def _place_delivery(sender: str | None, prefix: str, seconds: int, messages: int) -> Placed:
    first_second = 0
    while seconds >= max(2 * first_second, BINS):
        first_second = max(2 * first_second, BINS)
    name = f"bin_{(seconds - first_second) // bin_size(first_second)}"
    yield (SENDER, sender or "", first_second), {name: messages}
    yield (CALLING_CODE, calling_code(prefix), first_second), {name: messages}


def bin_size(first_second: int) -> int:
    """The seconds that one bin of a row of InsightDelivery spans."""
    return max(first_second // BINS, 1)


@cache
def calling_code(number_prefix: str) -> str:
    """The calling code that a number begins with; all of the prefix if there is none."""
    for code in accumulate(number_prefix):
        if phonenumbers.region_code_for_country_code(int(code)) != "ZZ":
            return code
    return number_prefix


# A look-up has the time of our question, and of a read message only the reading has a time. A
# receipt that arrives first has no accept time before it.
_HAS_DURATION = (
    Message.status == "delivered",
    Message.status_source == Source.CALLBACK,
    Message.final_at > Message.accepted_at,
)
_SECONDS = EpochSeconds(Message.final_at) - EpochSeconds(Message.accepted_at)
_PREFIX = func.substr(Message.recipient, 2, CALLING_CODE_DIGITS)
_HAS_FAILED = (Message.status.in_(status.counted_statuses(State.FAILED)),)
_HAS_PRICE = (Message.price_unit.is_not(None),)
_SUM = func.sum(func.coalesce(Message.price_micros, 0))
_COUNT = func.count()
_COUNTINGS: dict[type[Rollup], _Counting] = {
    InsightOutcome: _Counting((Message.status,), (_COUNT,), (), _place_outcome),
    InsightFailure: _Counting((Message.error_code,), (_COUNT,), _HAS_FAILED, _place_failure),
    InsightSpend: _Counting((Message.price_unit,), (_SUM, _COUNT), _HAS_PRICE, _place_spend),
    InsightDelivery: _Counting(
        (Message.sender, _PREFIX, _SECONDS), (_COUNT,), _HAS_DURATION, _place_delivery
    ),
}
ROLLUPS = tuple(_COUNTINGS)


def count(
    connection: Connection, table: type[Rollup], limit: Limit, *, owner_id: int | None = None
) -> Totals:
    """The sums of a table by (owner, bucket, *key), for each owner and for EVERYONE.

    `limit` limits a query to the messages. With `owner_id`, all count as that owner's.
    """
    counting = _COUNTINGS[table]
    groups = (bucket_start(table.width), *counting.groups)
    if owner_id is None:
        groups = (Message.owner_id, *groups)
    query = select(*groups, *counting.amounts).where(*counting.conditions).group_by(*groups)
    totals: Totals = defaultdict(Counter)
    for row in connection.execute(limit(query)):
        owners = {row[0], EVERYONE} if owner_id is None else {owner_id}
        bucket, *amounts = row[1:] if owner_id is None else row
        for key, sums in counting.place(*amounts):
            for owner in owners:
                totals[owner, bucket, *key].update(sums)
    return totals


def rollup_rows(table: type[Rollup], totals: Totals, *, is_deleted: bool) -> Rows:
    """The rows of a table for the result of `count`, ordered by key."""
    names = ("owner_id", "bucket", *table.key())
    zeros = dict.fromkeys(table.sums(), 0)
    return [
        {**dict(zip(names, key, strict=True)), "is_deleted": is_deleted, **zeros, **sums}
        for key, sums in sorted(totals.items())
    ]


def keep_totals(connection: Connection, message_ids: Collection[int]) -> None:
    """Add messages to the rows of deleted ones; delete them in the same transaction.

    Without a receipt by then, they count as "no receipt".
    """
    request_recount(connection, message_ids)
    for table in ROLLUPS:
        totals = count(connection, table, lambda q: q.where(Message.id.in_(message_ids)))
        sums = {name: table.__table__.c[name] + excluded(name) for name in table.sums()}
        statement = upsert(connection.dialect.name, table, (*SHARED_KEY, *table.key()), sums)
        # In the order of their keys, so that two deletions cannot lock each other out.
        for row in rollup_rows(table, totals, is_deleted=True):
            connection.execute(statement.values(row))
