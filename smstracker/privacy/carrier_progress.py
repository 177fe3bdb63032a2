"""What is still to be removed at Twilio: how much, why it failed, and when it is tried again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.engine import Connection

from smstracker.models import CarrierRemoval, Erasure


@dataclass(frozen=True, slots=True)
class CarrierProgress:
    """Messages that wait for a try, and those that failed for good.

    `problems` are pairs of a reason and how many have it, the commonest first; `next_try_at` is the
    earliest time of those that have failed so far.
    """

    waiting: int
    failed: int
    problems: Sequence[tuple[str, int]]
    next_try_at: datetime | None

    @property
    def left(self) -> int:
        return self.waiting + self.failed


def read_carrier_progress(
    connection: Connection, *conditions: ColumnElement[bool]
) -> CarrierProgress:
    """Count the removals that match."""
    row = CarrierRemoval
    has_failed = row.next_try_at.is_(None)
    columns = (has_failed.label("has_failed"), row.problem, func.count().label("size"))
    query = select(*columns, func.min(row.next_try_at).label("next_try_at")).where(*conditions)
    totals: Counter[bool] = Counter()
    problems: Counter[str] = Counter()
    times = []
    for group in connection.execute(query.group_by(has_failed, row.problem)):
        totals[bool(group.has_failed)] += group.size
        if group.problem:
            problems[group.problem] += group.size
            times += [group.next_try_at] if group.next_try_at else []
    return CarrierProgress(
        totals[False], totals[True], problems.most_common(), min(times, default=None)
    )


def count_not_asked(connection: Connection, erasure: Erasure) -> int:
    """Count the messages that other erasures of the number deleted here alone."""
    is_here_alone = (Erasure.number_hash == erasure.number_hash, ~Erasure.at_twilio)
    return connection.scalar(select(func.sum(Erasure.messages)).where(*is_here_alone)) or 0


def is_of_person(erasure: Erasure) -> ColumnElement[bool]:
    """Match what any erasure of the same number asks for: they share the work."""
    receipts = select(Erasure.receipt).where(Erasure.number_hash == erasure.number_hash)
    return CarrierRemoval.receipt.in_(receipts)
