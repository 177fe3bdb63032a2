"""How many messages are in each state: exact as far as an index can count in milliseconds, then
"10,000+", or "1,234+" where the newest messages are counted one by one.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache

from flask import current_app
from sqlalchemy import Select, bindparam, func, literal, select, true, union_all
from sqlalchemy.sql.selectable import Subquery

from smstracker.database.engine import UtcDateTime
from smstracker.extensions import db, receipt_window
from smstracker.messages import filter_conditions, text_index
from smstracker.messages.filter_conditions import SearchFilters, scan_limit
from smstracker.messages.search import PageStart, check_newest
from smstracker.models.display_state import conditions_by_status, is_silent, silence_times
from smstracker.models.messages import Message
from smstracker.sms import status
from smstracker.sms.status import State

COUNT_CAP = 10_000  # messages of a state; more are counted as "10,000+"
# For so long a state with more messages than the cap is not counted again: all its messages
# together would have to be deleted meanwhile.
FULL_SECONDS = 60.0
# A text that fewer than one in so many of them contain may be rare enough for the index.
RARE_ONE_IN = 5


@dataclass(frozen=True, slots=True)
class CappedCount:
    """A number of messages, or the least that it can be."""

    value: int = 0
    is_exact: bool = True

    def __str__(self) -> str:
        return f"{self.value:,}" + ("" if self.is_exact else "+")

    def __bool__(self) -> bool:
        return bool(self.value) or not self.is_exact

    def __add__(self, other: "CappedCount") -> "CappedCount":
        value, is_exact = self.value + other.value, self.is_exact and other.is_exact
        return CappedCount(min(value, COUNT_CAP), is_exact and value <= COUNT_CAP)


def count_states(filters: SearchFilters) -> dict[State, CappedCount]:
    """The number of matching messages in each state; the filter by state is ignored."""
    other_filters = replace(filters, state=None)
    if other_filters.text:
        return _count_by_text(other_filters, other_filters.text)
    if filter_conditions.remaining_filters(other_filters, None, Message):
        return _count_newest(other_filters)
    full_states = _full_states(other_filters)
    counts = dict.fromkeys(full_states, CappedCount(COUNT_CAP, False))
    states = tuple(state for state in State if state not in full_states)
    rows = db.session.execute(*counts_query(other_filters, states)) if states else ()
    for state, value in rows:
        counts[State(state)] = CappedCount(min(value, COUNT_CAP), value <= COUNT_CAP)
        if value > COUNT_CAP:
            full_states[State(state)] = time.monotonic()
    return counts


def _full_states(filters: SearchFilters) -> dict[State, float]:
    """The states of an owner that were over the cap a moment ago, and when they were counted."""
    if filters.since or filters.until:
        return {}
    states_by_owner: dict[int, dict[State, float]]
    states_by_owner = current_app.extensions.setdefault("full_states", {})
    full_states = states_by_owner.setdefault(filters.owner_id, {})
    for state, counted_at in full_states.copy().items():
        if time.monotonic() >= counted_at + FULL_SECONDS:
            full_states.pop(state, None)
    return full_states


def sum_counts(counts: Mapping[State, CappedCount]) -> CappedCount:
    return sum(counts.values(), CappedCount())


def counts_query(
    filters: SearchFilters, states: tuple[State, ...] = tuple(State)
) -> tuple[Select[tuple[str, int]], dict[str, object]]:
    """Return a query for (state, count) by a filter by time alone, and its parameters.

    Each count comes from an index and is capped.
    """
    period = {"since": filters.since, "until": filters.until}
    period = {name: time for name, time in period.items() if time}
    parameters: dict[str, object] = {"owner_id": filters.owner_id, **period}
    parameters |= silence_times(filters.at)
    return _counts_query(frozenset(parameters), states, COUNT_CAP), parameters


@cache
def _counts_query(
    parameter_names: frozenset[str], states: tuple[State, ...], cap: int
) -> Select[tuple[str, int]]:
    """Build the query, which takes a fifth of the time of a page of the log, once."""
    times = {name: bindparam(name, type_=UtcDateTime()) for name in parameter_names}
    period = [Message.owner_id == bindparam("owner_id", type_=Message.owner_id.type)]
    period += [Message.created_at >= times["since"]] if "since" in times else []
    period += [Message.created_at < times["until"]] if "until" in times else []
    selects = []
    for state in states:
        branch_selects = [
            select(Message.id).where(*period, condition)
            for condition in conditions_by_status(state, times)
        ]
        capped = union_all(*branch_selects).limit(cap + 1).subquery()
        count = select(func.count()).select_from(capped).scalar_subquery()
        selects.append(select(literal(state.value).label("state"), count.label("count")))
    return select(*union_all(*selects).subquery().c)


def _count_newest(filters: SearchFilters) -> dict[State, CappedCount]:
    """Count by state the newest matching messages of an index: of one that is short
    enough to be exact, or else of the first.
    """
    first_counts: dict[State, CappedCount] = {}
    for index_name in filter_conditions.sort_indexes(filters):
        newest = check_newest(filters, index_name, scan_limit(filters), PageStart())
        counts = _count_statuses(newest.order_by(None).subquery(), scan_limit(filters), filters.at)
        if sum_counts(counts).is_exact:
            return counts
        first_counts = first_counts or counts
    return first_counts


def _count_by_text(filters: SearchFilters, term: str) -> dict[State, CappedCount]:
    """Count by state by searching the newest messages; a text that is rare there is counted by
    its index, which is too slow for frequent ones.
    """
    newest = _count_newest(filters)
    total = sum_counts(newest)
    if total.is_exact or total.value >= scan_limit(filters) // RARE_ONE_IN:
        return newest
    text_index.force_index()
    if text_index.is_frequent(filters.owner_id, term, COUNT_CAP):
        return newest
    matches = filter_conditions.matching_messages(filters)
    silent = is_silent(filters.at, matches).label("silent")
    capped = select(matches.status, silent, true().label("matches")).limit(COUNT_CAP)
    return _count_statuses(capped.subquery(), COUNT_CAP, filters.at)


def _count_statuses(messages: Subquery, cap: int, now: datetime) -> dict[State, CappedCount]:
    """Count by state the rows of `messages`: at most `cap` with status, silent and matches."""
    row = messages.c
    groups = (row.status, row.silent, row.matches)
    rows = db.session.execute(select(*groups, func.count()).group_by(*groups)).all()
    is_exact = sum(row[3] for row in rows) < cap
    totals = dict.fromkeys(State, CappedCount(0, is_exact))
    window = receipt_window()
    for message_status, silent, matches, value in rows:
        since = datetime.min.replace(tzinfo=now.tzinfo) if silent else now
        display = status.display_status(message_status, since, now=now, receipt_window=window)
        totals[display.state] += CappedCount(value if matches else 0, is_exact)
    return totals
