"""The outcomes of messages by bar of the chart, as they are shown now."""

import itertools
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import BigInteger, Select, column, func, select, values

from smstracker.extensions import receipt_window
from smstracker.insights.scope import Scope
from smstracker.models.creation_time import END_OF_TIME, created_within, creation_bucket
from smstracker.models.display_state import MAX_SCHEDULE_AHEAD, is_silent
from smstracker.models.insight_counts import Key, outcome_column
from smstracker.models.insight_rollups import InsightOutcome
from smstracker.models.messages import Message
from smstracker.sms.status import STATE_OF_SILENT, State


def read_outcomes(
    scope: Scope, bar_starts: Sequence[datetime], live: Mapping[Key, Counter[str]]
) -> list[dict[State, int]]:
    """The messages of each bar by state; `live` are those that are not read from rollups."""
    starts = [math.ceil(at.timestamp()) for at in bar_starts]
    bars: list[Counter[str]] = [Counter() for _ in starts]
    for row in scope.connection.execute(_outcomes_by_bar(scope, starts)).mappings():
        sums = {name: row[name] for name in InsightOutcome.counts()}
        bars[_bar_index(starts, row["since"])].update(sums)
    for (_, bucket), sums_by_column in live.items():
        bars[_bar_index(starts, bucket)].update(sums_by_column)
    _move_young(scope, starts, bars)
    return [{state: bar[state.name.lower()] for state in State} for bar in bars]


def _bar_index(starts: Sequence[int], bucket: int) -> int:
    return max(bisect_right(starts, bucket) - 1, 0)


def _outcomes_by_bar(scope: Scope, starts: Sequence[int]) -> Select[tuple[int, ...]]:
    """The rows of InsightOutcome, summed up between each start and the next."""
    edges = [0, *starts[1:], int(END_OF_TIME.timestamp())]
    since, until = column("since", BigInteger), column("until", BigInteger)
    bar = values(since, until, name="bar").data([*itertools.pairwise(edges)]).cte("bar")
    is_in_bar = InsightOutcome.bucket.between(bar.c.since, bar.c.until - 1)
    query = select(bar.c.since, *InsightOutcome.sums()).join_from(bar, InsightOutcome, is_in_bar)
    return query.where(scope.from_rollups(InsightOutcome)).group_by(bar.c.since)


def _move_young(scope: Scope, starts: Sequence[int], bars: Sequence[Counter[str]]) -> None:
    """Count as waiting what has waited too short a time for silence to mean anything."""
    since = max(scope.since, scope.now - receipt_window() - MAX_SCHEDULE_AHEAD)
    quarter = creation_bucket()
    query = select(quarter, Message.status, func.count()).group_by(quarter, Message.status)
    query = query.where(Message.status.in_(STATE_OF_SILENT), ~is_silent(scope.now))
    messages_within = created_within(query, [(since, scope.until)], scope.owner_id)
    for start, word, messages in scope.connection.execute(messages_within):
        bar, name = bars[_bar_index(starts, start)], outcome_column(word)
        # A message that is not counted yet cannot move.
        moved = min(messages, bar[name])
        bar.update({name: -moved, "waiting": moved})
