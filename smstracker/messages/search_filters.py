"""What somebody wants to see of their messages, and the conditions that say so.

One filter drives: its index finds the messages, newest first, and the others are asked of each.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import and_, func, literal, literal_column, select, tuple_
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.selectable import Subquery

from smstracker.clock import utcnow
from smstracker.database.engine import UtcDateTime
from smstracker.extensions import db
from smstracker.messages import text_index
from smstracker.models.display_state import Conditions, conditions_by_status, state_condition
from smstracker.models.messages import Message
from smstracker.sms.status import Source, State

# How many of the newest are looked through, where the rows themselves have to be counted.
EXAMINED = 1_000
# The error code of what has none.
NO_CODE = "none"
Cursor = tuple[datetime, int]


@dataclass(frozen=True, slots=True)
class SearchFilters:
    """What somebody wants to see of their messages; None leaves out nothing.

    `since` is inclusive, `until` exclusive. `error_code` may be NO_CODE. `digits` is a whole number
    without its +, or, unless `is_full`, the last digits of one. At the moment `at` it is judged who
    has been silent for too long, and so has to be whoever is shown.
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
    at: datetime = field(default_factory=utcnow, compare=False)


def index_conditions(chosen: SearchFilters) -> dict[str, Conditions]:
    """The filters that have an index, most telling first, as it wants them asked."""
    found: dict[str, Conditions] = {}
    if chosen.digits:
        found["recipient"] = [_recipient(chosen, Message.recipient_backwards)]
    if chosen.error_code and chosen.error_code != NO_CODE:
        found["error_code"] = [Message.error_code == chosen.error_code]
    # Most messages are known by callback, so the newest are looked through for those.
    if chosen.source and chosen.source is not Source.CALLBACK:
        # Said with a literal, or SQLite does not see that the partial index will do.
        is_not_callback: ColumnElement[bool] = literal_column("message.status_source <> 'callback'")
        found["source"] = [Message.status_source == chosen.source.value, is_not_callback]
    if chosen.state:
        found["state"] = conditions_by_status(chosen.state, chosen.at)
    if chosen.sender:
        found["sender"] = [_sender_column(chosen, Message) == chosen.sender]
    return found


def choose_index(chosen: SearchFilters) -> str | None:
    """The filter with the fewest messages; asked of the indexes, each up to a cap."""
    candidates = index_conditions(chosen)
    if len(candidates) < 2:
        return next(iter(candidates), None)
    probes = []
    for name, conditions in candidates.items():
        alternatives = conditions if name == "state" else [and_(*conditions)]
        sizes = [_size(chosen, one) for one in alternatives]
        probes.append(sum(sizes[1:], sizes[0]))
    sizes_found = db.session.execute(select(*probes)).one()
    return min(zip(sizes_found, candidates, strict=True), key=lambda one: one[0])[1]


def _size(chosen: SearchFilters, condition: ColumnElement[bool]) -> ColumnElement[int]:
    some = select(Message.id).where(*time_conditions(chosen), condition).limit(EXAMINED).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


def remaining_filters(chosen: SearchFilters, driver: str | None, row: Any) -> Conditions:
    """The filters beside the driver. No index answers to coalesce, so no planner is tempted."""
    found: Conditions = []
    if chosen.digits and driver != "recipient":
        found.append(_recipient(chosen, func.coalesce(row.recipient_backwards, "")))
    if chosen.error_code and driver != "error_code":
        code = "" if chosen.error_code == NO_CODE else chosen.error_code
        found.append(func.coalesce(row.error_code, "") == code)
    if chosen.source and driver != "source":
        found.append(func.coalesce(row.status_source, "") == chosen.source.value)
    if chosen.state and driver != "state":
        found.append(state_condition(chosen.state, chosen.at, row))
    if chosen.sender and driver != "sender":
        found.append(func.coalesce(_sender_column(chosen, row), "") == chosen.sender)
    return found


def _sender_column(chosen: SearchFilters, row: Any) -> Any:
    is_service = (chosen.sender or "").startswith("MG")
    return row.messaging_service_sid if is_service else row.sender


def _recipient(chosen: SearchFilters, column: Any) -> ColumnElement[bool]:
    backwards = (chosen.digits or "")[::-1]
    if chosen.is_full:
        return cast("ColumnElement[bool]", column == backwards)
    # ":" comes after "9", in every collation that sorts digits.
    following = f"{int(backwards) + 1:0{len(backwards)}d}"
    end = following if len(following) == len(backwards) else ":"
    return and_(column >= backwards, column < end) if end != ":" else column >= backwards


def time_conditions(chosen: SearchFilters, row: Any = Message) -> Conditions:
    found: Conditions = [row.owner_id == chosen.owner_id]
    if chosen.since:
        found.append(row.created_at >= literal(chosen.since, UtcDateTime))
    if chosen.until:
        found.append(row.created_at < literal(chosen.until, UtcDateTime))
    return found


def cursor_conditions(before: Cursor | None, after: Cursor | None, row: Any) -> Conditions:
    found: Conditions = []
    key = tuple_(row.created_at, row.id)
    if before:
        found.append(key < tuple_(literal(before[0], UtcDateTime), literal(before[1])))
    if after:
        found.append(key > tuple_(literal(after[0], UtcDateTime), literal(after[1])))
    return found


def sort_order(
    made: Any, number: Any, after: Cursor | None
) -> tuple[ColumnElement[object], ColumnElement[object]]:
    if after:
        return made.asc(), number.asc()
    return made.desc(), number.desc()


def match_all(chosen: SearchFilters) -> Subquery:
    """The messages whose text passes, by the index of texts, with every other filter applied."""
    row = text_index.matching(chosen.owner_id, chosen.text or "")
    passes = [*remaining_filters(chosen, None, row.c), *time_conditions(chosen, row.c)]
    return select(row).where(*passes).subquery()
