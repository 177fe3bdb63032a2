"""Counts messages for the rollups of /insights, and for what these do not cover.

Messages that are deleted keep their place in the totals.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

from sqlalchemy import Connection, Executable, Select, SQLColumnExpression, func, select

from smstracker.database.engine import Insert, excluded, upsert
from smstracker.database.row_sets import Rows, is_any_of
from smstracker.models.creation_time import EpochSeconds, creation_bucket
from smstracker.models.insight_coverage import request_recount
from smstracker.models.insight_rollups import (
    BINS,
    DAY_SECONDS,
    EVERYONE,
    QUARTER,
    SHARED_KEY,
    InsightDelivery,
    InsightFailure,
    InsightOutcome,
    InsightSpend,
    Rollup,
)
from smstracker.models.messages import Message
from smstracker.sms import status
from smstracker.sms.status import Source

Key = tuple[Any, ...]  # the values of `Rollup.key`, after owner and bucket in Totals
Totals = dict[type[Rollup], defaultdict[Key, Counter[str]]]  # the sums of each table by column
RowSums = Iterator[tuple[type[Rollup], Key, dict[str, int]]]
Limit = Callable[[Select[tuple[object, ...]]], Executable]
ROLLUPS = (InsightOutcome, InsightFailure, InsightSpend, InsightDelivery)
SENDER, CALLING_CODE = "sender", "calling code"
CALLING_CODE_DIGITS = 3  # no code is longer


@dataclass(frozen=True, slots=True)
class _Counting:
    """Counts messages in SQL, by buckets of `width` seconds.

    `amounts` are summed up for each combination of `groups`; `place` then adds them to columns of
    rows.
    """

    width: int
    groups: tuple[SQLColumnExpression[object], ...]
    amounts: tuple[SQLColumnExpression[int], ...]
    conditions: tuple[SQLColumnExpression[bool], ...]
    place: Callable[..., RowSums]


def outcome_column(word: str) -> str:
    """The column of InsightOutcome that counts a status."""
    return status.state_after_silence(word).name.lower()


def _place_outcome(
    word: str, error_code: str | None, currency: str | None, micros: int, messages: int
) -> RowSums:
    name = outcome_column(word)
    yield InsightOutcome, (), {name: messages}
    if name == "failed":
        yield InsightFailure, (error_code or "",), {"messages": messages}
    if currency is not None:
        yield InsightSpend, (currency,), {"micros": int(micros), "messages": messages}


def _place_delivery(sender: str | None, prefix: str, seconds: int, messages: int) -> RowSums:
    first_second = 0
    while seconds >= max(2 * first_second, BINS):
        first_second = max(2 * first_second, BINS)
    name = f"bin_{(seconds - first_second) // bin_size(first_second)}"
    yield InsightDelivery, (SENDER, sender or "", first_second), {name: messages}
    code = calling_code(prefix)
    yield InsightDelivery, (CALLING_CODE, code, first_second), {name: messages}


def bin_size(first_second: int) -> int:
    """The seconds that one bin of a row of InsightDelivery spans."""
    return max(first_second // BINS, 1)


@cache
def calling_code(number_prefix: str) -> str:
    """The calling code that a number begins with; all of the prefix if there is none."""
    import phonenumbers  # loaded with the first number: most commands count none

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
_DURATION = (Message.sender, _PREFIX, _SECONDS)
_FACTS = (Message.status, Message.error_code, Message.price_unit)
_SUM, _COUNT = func.sum(func.coalesce(Message.price_micros, 0)), func.count()
_COUNTINGS = (
    _Counting(QUARTER, _FACTS, (_SUM, _COUNT), (), _place_outcome),
    _Counting(DAY_SECONDS, _DURATION, (_COUNT,), _HAS_DURATION, _place_delivery),
)


def count_totals(connection: Connection, limit: Limit, *, owner_id: int | None = None) -> Totals:
    """The sums of each table by (owner, bucket, *key), for each owner and for EVERYONE.

    `limit` limits a query to the messages. With `owner_id`, all count as that owner's.
    """
    queries = [limit(query) for query in _select_counts(by_owner=owner_id is None)]
    return _sum_up(connection, queries, {}, owner_id)


def _sum_up(
    connection: Connection,
    queries: Iterable[Executable],
    parameters: Mapping[str, object],
    owner_id: int | None = None,
) -> Totals:
    totals: Totals = {table: defaultdict(Counter) for table in ROLLUPS}
    for counting, query in zip(_COUNTINGS, queries, strict=True):
        for row in connection.execute(query, parameters):
            group = row if owner_id is None else (owner_id, *row)
            owners = {group[0], EVERYONE} if owner_id is None else {owner_id}
            start, *amounts = group[1:]
            for table, key, sums in counting.place(*amounts):
                bucket = start - start % table.width
                for owner in owners:
                    totals[table][owner, bucket, *key].update(sums)
    return totals


@cache
def _select_counts(by_owner: bool) -> Sequence[Select[tuple[object, ...]]]:
    """The query of each of _COUNTINGS; its rows begin with the owner if it is by owner."""
    queries = []
    for counting in _COUNTINGS:
        owner = [Message.owner_id] if by_owner else []
        groups = (*owner, creation_bucket(counting.width), *counting.groups)
        query = select(*groups, *counting.amounts).where(*counting.conditions)
        queries.append(query.group_by(*groups))
    return queries


@cache
def _select_counts_of_any(dialect_name: str) -> Sequence[Executable]:
    is_counted = is_any_of(dialect_name, Message.id)
    return [query.where(is_counted) for query in _select_counts(by_owner=True)]


@cache
def _add_sums(dialect_name: str, table: type[Rollup]) -> Insert:
    """Return what adds rows to those with the same key."""
    sums = {name: table.__table__.c[name] + excluded(name) for name in table.counts()}
    return upsert(dialect_name, table, (*SHARED_KEY, *table.key()), sums)


def rollup_rows(table: type[Rollup], totals: Totals, *, is_deleted: bool) -> Rows:
    """The rows of a table for the result of `count_totals`, ordered by key."""
    names = ("owner_id", "bucket", *table.key())
    zeros = dict.fromkeys(table.counts(), 0)
    return [
        {**dict(zip(names, key, strict=True)), "is_deleted": is_deleted, **zeros, **sums}
        for key, sums in sorted(totals[table].items())
    ]


def keep_totals(connection: Connection, message_ids: Collection[int]) -> None:
    """Add messages to the rows of deleted ones; delete them in the same transaction.

    Without a receipt by then, they count as "no receipt".
    """
    dialect_name, values = connection.dialect.name, {"values": list(message_ids)}
    request_recount(connection, message_ids)
    totals = _sum_up(connection, _select_counts_of_any(dialect_name), values)
    for table in ROLLUPS:
        # In the order of their keys, so that two deletions cannot lock each other out.
        if rows := rollup_rows(table, totals, is_deleted=True):
            connection.execute(_add_sums(dialect_name, table), rows)
