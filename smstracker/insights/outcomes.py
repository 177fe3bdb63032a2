"""The outcomes of messages by bar of the chart, as they are shown now."""

import itertools
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import BigInteger, Select, column, func, select, values

from smstracker.extensions import receipt_window
from smstracker.insights.scope import Scope, by_column, count_live, sum_columns
from smstracker.models.creation_time import bucket_start, created_within, from_epoch
from smstracker.models.display_state import MAX_SCHEDULE_AHEAD, is_silent
from smstracker.models.insight_rollups import InsightOutcome
from smstracker.models.messages import Message
from smstracker.sms import status
from smstracker.sms.status import State

END_OF_TIME = 2**40  # epoch seconds


def read_outcomes(scope: Scope, bar_starts: Sequence[datetime]) -> list[dict[State, int]]:
    starts = [math.ceil(at.timestamp()) for at in bar_starts]
    bars: list[Counter[str]] = [Counter() for _ in starts]
    for bucket, *sums in scope.connection.execute(_outcomes_by_bar(scope, starts)):
        bars[_bar_index(starts, bucket)].update(by_column(InsightOutcome, sums))
    for (_, bucket), live_sums in count_live(scope, InsightOutcome).items():
        bars[_bar_index(starts, bucket)].update(live_sums)
    young_bars = _count_young(scope, starts)
    return [_states(*counts) for counts in zip(bars, young_bars, strict=True)]


def _bar_index(starts: Sequence[int], bucket: int) -> int:
    return max(bisect_right(starts, bucket) - 1, 0)


def _outcomes_by_bar(scope: Scope, starts: Sequence[int]) -> Select[tuple[int, ...]]:
    """The rows of InsightOutcome, summed up between each start and the next."""
    edges = [0, *starts[1:], END_OF_TIME]
    since, until = column("since", BigInteger), column("until", BigInteger)
    bar = values(since, until, name="bar").data([*itertools.pairwise(edges)]).cte("bar")
    is_in_bar = InsightOutcome.bucket.between(bar.c.since, bar.c.until - 1)
    query = select(bar.c.since, *sum_columns(InsightOutcome)).join_from(
        bar, InsightOutcome, is_in_bar
    )
    return query.where(scope.from_rollups(InsightOutcome)).group_by(bar.c.since)


def _count_young(scope: Scope, starts: Sequence[int]) -> list[Counter[str]]:
    """The messages of each bar that have waited too short a time for silence to mean anything."""
    words = ("pending", *status.AWAITING_RECEIPT)
    since = max(scope.since, scope.now - receipt_window() - MAX_SCHEDULE_AHEAD)
    until = min(scope.until, from_epoch(scope.coverage.until)) if scope.is_stale else scope.until
    young: list[Counter[str]] = [Counter() for _ in starts]
    quarter = bucket_start()
    query = select(quarter, Message.status, func.count()).group_by(quarter, Message.status)
    query = query.where(Message.status.in_(words), ~is_silent(scope.now))
    messages_within = created_within(query, [(since, until)], scope.owner_id)
    for start, word, messages in scope.connection.execute(messages_within):
        young[_bar_index(starts, start)][word] += messages
    return young


def _states(counts: Counter[str], young: Counter[str]) -> dict[State, int]:
    """The six totals of one bar."""
    pending = min(young["pending"], counts["pending"])
    awaiting = min(young.total() - young["pending"], counts["awaiting_receipt"])
    return {
        State.WAITING: counts["waiting"] + pending + awaiting,
        State.DELIVERED: counts["delivered"],
        State.FAILED: counts["failed"],
        State.NO_RECEIPT: counts["awaiting_receipt"] - awaiting,
        State.UNKNOWN: counts["unknown"] + counts["pending"] - pending,
        State.CANCELLED: counts["cancelled"],
    }
