"""Questions about the log: one page of it, filtered, and how many messages there are.

Keys first, rows after: the inner selects pick fifty (created_at, id) from an index that ends in
them, whatever the planner believes, and only these fifty rows are read.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Select, and_, func, literal, literal_column, or_, select, tuple_, union_all
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.selectable import Subquery

from smstracker import status
from smstracker.clock import utcnow
from smstracker.database import UtcDateTime
from smstracker.extensions import db, settings
from smstracker.models import text_search
from smstracker.models.messages import Message
from smstracker.status import Source, State

PAGE_SIZE = 50
# How far people want to count.
COUNT_CAP = 10_000
# How many of the newest are looked through, where counting or finding needs the rows themselves.
EXAMINED = 5_000
LOOKED_THROUGH = 2_000
Key = tuple[datetime, int]
Conditions = list[ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Filter:
    """What somebody wants to see of their messages; None leaves out nothing.

    `since` is inclusive, `until` exclusive. `digits` is a whole number without its +, or, unless
    `is_full`, the last digits of one.
    """

    owner_id: int
    state: State | None = None
    error_code: str | None = None
    sender: str | None = None
    source: Source | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    digits: str | None = None
    is_full: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are, or at least are."""

    value: int = 0
    is_exact: bool = True

    def __str__(self) -> str:
        return f"{self.value:,}" + ("" if self.is_exact else "+")

    def __bool__(self) -> bool:
        return bool(self.value) or not self.is_exact

    def __add__(self, other: "Count") -> "Count":
        value, is_exact = self.value + other.value, self.is_exact and other.is_exact
        return Count(min(value, COUNT_CAP), is_exact and value <= COUNT_CAP)


def page(
    chosen: Filter, before: Key | None = None, after: Key | None = None, size: int = PAGE_SIZE + 1
) -> Sequence[Message]:
    """The newest messages that pass, older than `before`; or those just newer than `after`,
    oldest first.
    """
    if chosen.text:
        ids = _ids_by_text(chosen, before, after, size)
        query = select(Message).where(Message.id.in_(ids))
        query = query.order_by(*_order(Message.created_at, Message.id, after))
        return db.session.scalars(query).all() if ids else []
    return db.session.scalars(page_query(chosen, before, after, size)).all()


def page_query(
    chosen: Filter, before: Key | None = None, after: Key | None = None, size: int = PAGE_SIZE + 1
) -> Select[tuple[Message]]:
    """The statement of a page; not for a filter by text."""
    keys = _keys(chosen, _driver(chosen), before, after, size)
    row, joined = text_search.rows_of(keys)
    query = select(row).select_from(joined)
    return query.order_by(*_order(keys.c.created_at, keys.c.id, after))


def key_of(owner_id: int, public_id: object) -> Key | None:
    """The place of one's own message in the log."""
    wanted = select(Message.created_at, Message.id)
    wanted = wanted.where(Message.owner_id == owner_id, Message.public_id == public_id)
    found = db.session.execute(wanted).one_or_none()
    return (found[0], found[1]) if found else None


def of_ids(owner_id: int, ids: Collection[uuid.UUID]) -> Sequence[Message]:
    """Those of the messages that are the owner's, newest first."""
    query = Message.of_owner(owner_id).where(Message.public_id.in_(ids))
    return db.session.scalars(query.order_by(Message.created_at.desc(), Message.id.desc())).all()


def fitting(chosen: Filter, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the messages that pass."""
    passes = [*_of_time(chosen), *_others(chosen, None, Message)]
    if chosen.text:
        passes.append(text_search.contains(chosen.text, Message))
    query = select(Message.public_id).where(Message.public_id.in_(ids), *passes)
    return set(db.session.scalars(query))


def to_recipient(owner_id: int, e164: str) -> Select[tuple[Message]]:
    """An owner's messages to one number, newest first; add a limit."""
    query = select(Message).where(
        Message.owner_id == owner_id, Message.recipient_backwards == e164[:0:-1]
    )
    return query.order_by(Message.created_at.desc(), Message.id.desc())


def counts(chosen: Filter) -> dict[State, Count]:
    """How many messages that pass are in each state, whatever state the filter asks for."""
    others = replace(chosen, state=None)
    if others.text:
        return _counts_by_text(others)
    if _drivers(others):
        return _counts_of_examined(others)
    capped = db.session.execute(counts_query(others))
    totals = dict.fromkeys(State, Count())
    for state, value in capped:
        found = Count(min(value, COUNT_CAP), value <= COUNT_CAP)
        totals[State(state)] += found
    return totals


def total(counted: dict[State, Count]) -> Count:
    return sum(counted.values(), Count())


def counts_query(chosen: Filter) -> Select[tuple[str, int]]:
    """(state, how many) for a filter of nothing but time; each read from an index, up to a cap."""
    found = []
    for state in State:
        for condition in _branches(state):
            some = select(Message.id).where(*_of_time(chosen), condition).limit(COUNT_CAP + 1)
            counted = select(func.count()).select_from(some.subquery()).scalar_subquery()
            found.append(select(literal(state.value).label("state"), counted.label("count")))
    every = union_all(*found).subquery()
    return select(every.c.state, every.c.count)


def _counts_of_examined(chosen: Filter) -> dict[State, Count]:
    """The states of the newest messages that one index finds, after the other filters."""
    driver = _driver(chosen)
    conditions = [*_of_time(chosen), *_drivers(chosen)[driver]] if driver else _of_time(chosen)
    newest = select(Message).where(*conditions)
    newest = newest.order_by(Message.created_at.desc(), Message.id.desc()).limit(EXAMINED + 1)
    row = newest.subquery()
    passes = and_(literal(True), *_others(chosen, driver, row.c))
    silent = is_silent(utcnow(), row.c)
    counted = select(row.c.status, silent, passes, func.count()).group_by(
        row.c.status, silent, passes
    )
    return _by_state([tuple(one) for one in db.session.execute(counted)], EXAMINED)


def _counts_by_text(chosen: Filter) -> dict[State, Count]:
    found = _matched(chosen)
    silent = is_silent(utcnow(), found.c)
    some = select(found.c.status, silent.label("silent")).limit(COUNT_CAP + 1).subquery()
    counted = select(some.c.status, some.c.silent, literal(True), func.count())
    counted = counted.group_by(some.c.status, some.c.silent)
    return _by_state([tuple(one) for one in db.session.execute(counted)], COUNT_CAP)


def _by_state(found: list[tuple[str, bool, bool, int]], cap: int) -> dict[State, Count]:
    is_exact = sum(row[3] for row in found) <= cap
    now, totals = utcnow(), dict.fromkeys(State, Count(0, is_exact))
    for word, silent, passes, value in found:
        since = datetime.min.replace(tzinfo=now.tzinfo) if silent else now
        state = status.shown(word, since, now=now, receipt_window=_receipt_window()).state
        totals[state] += Count(value if passes else 0, is_exact)
    return totals


def _ids_by_text(chosen: Filter, before: Key | None, after: Key | None, size: int) -> Sequence[int]:
    """A frequent word fills the page from the newest messages; for a rare one there is an index."""
    others = replace(chosen, text=None)
    keys = _keys(others, _driver(others), before, after, max(LOOKED_THROUGH, size))
    row, joined = text_search.rows_of(keys)
    looked = select(row.id, text_search.contains(chosen.text or "", row)).select_from(joined)
    looked = looked.order_by(*_order(keys.c.created_at, keys.c.id, after))
    seen = db.session.execute(looked).all()
    ids = [number for number, has_it in seen if has_it]
    if len(ids) >= size or len(seen) < max(LOOKED_THROUGH, size):
        return ids[:size]
    found = _matched(chosen)
    query = select(found.c.id).where(*_beyond(before, after, found.c))
    query = query.order_by(*_order(found.c.created_at, found.c.id, after)).limit(size)
    return db.session.scalars(query).all()


def _matched(chosen: Filter) -> Subquery:
    """The messages whose text passes, by the index of texts, with every other filter applied."""
    row = text_search.matching(chosen.owner_id, chosen.text or "")
    passes = [*_others(chosen, None, row.c), text_search.contains(chosen.text or "", row.c)]
    passes += _of_time(chosen, row.c)
    return select(row).where(*passes).subquery()


def _keys(
    chosen: Filter, driver: str | None, before: Key | None, after: Key | None, size: int
) -> Subquery:
    key = select(Message.created_at, Message.id)
    order = _order(Message.created_at, Message.id, after)
    rest = [*_of_time(chosen), *_beyond(before, after, Message), *_others(chosen, driver, Message)]
    if driver != "state":
        found = [*rest, *(_drivers(chosen)[driver] if driver else [])]
        return key.where(*found).order_by(*order).limit(size).subquery()
    parts = [
        select(key.where(*rest, one).order_by(*order).limit(size).subquery())
        for one in _drivers(chosen)["state"]
    ]
    every = union_all(*parts).subquery()
    ordered = _order(every.c.created_at, every.c.id, after)
    return select(every.c.created_at, every.c.id).order_by(*ordered).limit(size).subquery()


def _drivers(chosen: Filter) -> dict[str, Conditions]:
    """The filters that have an index, most telling first, as it wants them asked."""
    found: dict[str, Conditions] = {}
    if chosen.digits:
        found["recipient"] = [_recipient(chosen, Message.recipient_backwards)]
    if chosen.error_code:
        found["error_code"] = [Message.error_code == chosen.error_code]
    if chosen.source and chosen.source is not Source.CALLBACK:
        # Said with a literal, or SQLite does not see that the partial index will do.
        is_not_callback: ColumnElement[bool] = literal_column("message.status_source <> 'callback'")
        found["source"] = [Message.status_source == chosen.source.value, is_not_callback]
    elif chosen.source:
        found["source"] = [func.coalesce(Message.status_source, "") == chosen.source.value]
    if chosen.state:
        found["state"] = _branches(chosen.state)
    if chosen.sender:
        found["sender"] = [_sender_column(chosen, Message) == chosen.sender]
    return found


def _driver(chosen: Filter) -> str | None:
    """The filter with the fewest messages; asked of the indexes, each up to a cap."""
    candidates = _drivers(chosen)
    if len(candidates) > 1 and chosen.source is Source.CALLBACK:
        del candidates["source"]
    if len(candidates) < 2:
        return next(iter(candidates), None)
    probes = []
    for name, conditions in candidates.items():
        alternatives = conditions if name == "state" else [and_(*conditions)]
        sizes = [_size(chosen, one) for one in alternatives]
        probes.append(sum(sizes[1:], sizes[0]))
    sizes_found = db.session.execute(select(*probes)).one()
    return min(zip(sizes_found, candidates, strict=True), key=lambda one: one[0])[1]


def _size(chosen: Filter, condition: ColumnElement[bool]) -> ColumnElement[int]:
    some = select(Message.id).where(*_of_time(chosen), condition).limit(EXAMINED).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


def _others(chosen: Filter, driver: str | None, row: object) -> Conditions:
    """The filters beside the driver. No index answers to coalesce, so no planner is tempted."""
    found: Conditions = []
    if chosen.digits and driver != "recipient":
        found.append(_recipient(chosen, func.coalesce(row.recipient_backwards, "")))  # type: ignore[attr-defined]
    if chosen.error_code and driver != "error_code":
        found.append(func.coalesce(row.error_code, "") == chosen.error_code)  # type: ignore[attr-defined]
    if chosen.source and driver != "source":
        found.append(func.coalesce(row.status_source, "") == chosen.source.value)  # type: ignore[attr-defined]
    if chosen.state and driver != "state":
        found.append(in_state(chosen.state, utcnow(), row))
    if chosen.sender and driver != "sender":
        found.append(func.coalesce(_sender_column(chosen, row), "") == chosen.sender)
    return found


def _sender_column(chosen: Filter, row: object) -> ColumnElement[str]:
    is_service = (chosen.sender or "").startswith("MG")
    return row.messaging_service_sid if is_service else row.sender  # type: ignore[attr-defined,no-any-return]


def _recipient(chosen: Filter, column: Any) -> ColumnElement[bool]:
    backwards = (chosen.digits or "")[::-1]
    if chosen.is_full:
        return cast("ColumnElement[bool]", column == backwards)
    # ":" comes after "9", in every collation that sorts digits.
    following = f"{int(backwards) + 1:0{len(backwards)}d}"
    end = following if len(following) == len(backwards) else ":"
    return and_(column >= backwards, column < end) if end != ":" else column >= backwards


def _of_time(chosen: Filter, row: object = Message) -> Conditions:
    found: Conditions = [row.owner_id == chosen.owner_id]  # type: ignore[attr-defined]
    if chosen.since:
        found.append(row.created_at >= literal(chosen.since, UtcDateTime))  # type: ignore[attr-defined]
    if chosen.until:
        found.append(row.created_at < literal(chosen.until, UtcDateTime))  # type: ignore[attr-defined]
    return found


def _beyond(before: Key | None, after: Key | None, row: object) -> Conditions:
    found: Conditions = []
    key = tuple_(row.created_at, row.id)  # type: ignore[attr-defined]
    if before:
        found.append(key < tuple_(literal(before[0], UtcDateTime), literal(before[1])))
    if after:
        found.append(key > tuple_(literal(after[0], UtcDateTime), literal(after[1])))
    return found


def _order(
    made: object, number: object, after: Key | None
) -> tuple[ColumnElement[object], ColumnElement[object]]:
    if after:
        return made.asc(), number.asc()  # type: ignore[attr-defined]
    return made.desc(), number.desc()  # type: ignore[attr-defined]


def _branches(state: State) -> Conditions:
    """The state as one condition for each status word, so that each is a range of the index."""
    now, found = utcnow(), []
    for word in status.RANK:
        silent = _silent_since(word, now)
        is_word = Message.status == word
        if silent is None:
            if word in status.words_of(state):
                found.append(is_word)
            continue
        if status.shown(word, now, now=now, receipt_window=_receipt_window()).state is state:
            found.append(and_(is_word, Message.status_at >= literal(silent, UtcDateTime)))
        elif state is (State.UNKNOWN if word == "pending" else State.NO_RECEIPT):
            found.append(and_(is_word, Message.status_at < literal(silent, UtcDateTime)))
    return found


def _silent_since(word: str, now: datetime) -> datetime | None:
    """Without news since before this moment, the word is shown as something else."""
    if word == "pending":
        return now - status.PENDING_IS_UNKNOWN_AFTER
    return now - _receipt_window() if word in status.AWAITING_RECEIPT else None


def in_state(state: State, now: datetime, row: object = Message) -> ColumnElement[bool]:
    """The condition that a message counts as `state` at `now`; the SQL of `status.shown`."""
    silent, word = is_silent(now, row), func.coalesce(row.status, "")  # type: ignore[attr-defined]
    if state is State.NO_RECEIPT:
        return and_(word.in_(status.AWAITING_RECEIPT), silent)
    if state is State.UNKNOWN:
        return or_(word == "unknown", and_(word == "pending", silent))
    counted = word.in_(status.words_of(state))
    return and_(counted, ~silent) if state is State.WAITING else counted


def is_silent(now: datetime, row: object = Message) -> ColumnElement[bool]:
    """Whether a waiting message has had no news for so long that it is shown as something else."""
    word, at = func.coalesce(row.status, ""), row.status_at  # type: ignore[attr-defined]
    window = literal(now - _receipt_window(), UtcDateTime)
    stale = literal(now - status.PENDING_IS_UNKNOWN_AFTER, UtcDateTime)
    return or_(
        and_(word.in_(status.AWAITING_RECEIPT), at < window),
        and_(word == "pending", at < stale),
    )


def _receipt_window() -> timedelta:
    return timedelta(hours=settings().receipt_window_hours)
