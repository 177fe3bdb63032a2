"""How many messages are in each state: exact as far as an index can tell in a few milliseconds,
then "10,000+" of all, and "1,234+" where each of the newest had to be looked at.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Select, and_, func, literal, select, union_all

from smstracker.extensions import db, receipt_window
from smstracker.messages import text_index
from smstracker.messages.search_filters import (
    EXAMINED,
    SearchFilters,
    choose_index,
    index_conditions,
    match_all,
    remaining_filters,
    time_conditions,
)
from smstracker.models.display_state import conditions_by_status, is_silent
from smstracker.models.messages import Message
from smstracker.sms import status
from smstracker.sms.status import State

# How far people want to count.
COUNT_CAP = 10_000
# Of a frequent text so many of the newest are looked through; one that not every fifth of them
# holds may still have few enough for the index.
TEXTS_EXAMINED = 5_000
RARE = 5


@dataclass(frozen=True, slots=True)
class CappedCount:
    """How many there are, or at least are."""

    value: int = 0
    is_exact: bool = True

    def __str__(self) -> str:
        return f"{self.value:,}" + ("" if self.is_exact else "+")

    def __bool__(self) -> bool:
        return bool(self.value) or not self.is_exact

    def __add__(self, other: "CappedCount") -> "CappedCount":
        value, is_exact = self.value + other.value, self.is_exact and other.is_exact
        return CappedCount(min(value, COUNT_CAP), is_exact and value <= COUNT_CAP)


def count_states(chosen: SearchFilters) -> dict[State, CappedCount]:
    """How many messages that pass are in each state, whatever state the filter asks for."""
    others = replace(chosen, state=None)
    if others.text:
        return _counts_by_text(others, others.text)
    if remaining_filters(others, None, Message):
        return _counts_of_examined(others, EXAMINED)
    return {
        State(state): CappedCount(min(value, COUNT_CAP), value <= COUNT_CAP)
        for state, value in db.session.execute(counts_query(others))
    }


def sum_counts(counted: dict[State, CappedCount]) -> CappedCount:
    return sum(counted.values(), CappedCount())


def counts_query(chosen: SearchFilters) -> Select[tuple[str, int]]:
    """(state, how many) for a filter of nothing but time; each read from an index, up to a cap."""
    found = []
    for state in State:
        each = [
            select(Message.id).where(*time_conditions(chosen), condition)
            for condition in conditions_by_status(state, chosen.at)
        ]
        some = union_all(*each).limit(COUNT_CAP + 1).subquery()
        counted = select(func.count()).select_from(some).scalar_subquery()
        found.append(select(literal(state.value).label("state"), counted.label("count")))
    return select(*union_all(*found).subquery().c)


def _counts_of_examined(chosen: SearchFilters, most: int) -> dict[State, CappedCount]:
    """The states of the newest messages that one index finds, after the other filters."""
    driver = choose_index(chosen)
    conditions = (
        [*time_conditions(chosen), *index_conditions(chosen)[driver]]
        if driver
        else time_conditions(chosen)
    )
    # As for a page: keys first, rows after.
    newest = select(Message.created_at, Message.id).where(*conditions)
    newest = newest.order_by(Message.created_at.desc(), Message.id.desc()).limit(most)
    row, joined = text_index.select_rows(newest.subquery())
    others = remaining_filters(chosen, driver, row)
    if chosen.text:
        others.append(text_index.contains(chosen.text, row))
    seen = select(row.status, is_silent(chosen.at, row), and_(literal(True), *others))
    one = seen.select_from(joined).subquery()
    counted = select(*one.c, func.count()).group_by(*one.c)
    return _by_state([tuple(one) for one in db.session.execute(counted)], most, chosen.at)


def _counts_by_text(chosen: SearchFilters, term: str) -> dict[State, CappedCount]:
    """A text is looked for in the newest; what is rare among them is counted by its index, which
    has too many of what is frequent.
    """
    newest = _counts_of_examined(chosen, TEXTS_EXAMINED)
    seen = sum_counts(newest)
    if seen.is_exact or seen.value >= TEXTS_EXAMINED // RARE:
        return newest
    text_index.ask_index()
    if text_index.is_frequent(chosen.owner_id, term, COUNT_CAP):
        return newest
    found = match_all(chosen)
    silent = is_silent(chosen.at, found.c)
    some = select(found.c.status, silent.label("silent")).limit(COUNT_CAP).subquery()
    counted = select(some.c.status, some.c.silent, literal(True), func.count())
    counted = counted.group_by(some.c.status, some.c.silent)
    return _by_state([tuple(one) for one in db.session.execute(counted)], COUNT_CAP, chosen.at)


def _by_state(
    found: list[tuple[str, bool, bool, int]], cap: int, now: datetime
) -> dict[State, CappedCount]:
    is_exact = sum(row[3] for row in found) < cap
    totals = dict.fromkeys(State, CappedCount(0, is_exact))
    for word, silent, passes, value in found:
        since = datetime.min.replace(tzinfo=now.tzinfo) if silent else now
        state = status.display_status(word, since, now=now, receipt_window=receipt_window()).state
        totals[state] += CappedCount(value if passes else 0, is_exact)
    return totals
