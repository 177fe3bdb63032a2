"""The filters of the log, and the SQL conditions for them.

The index of one filter yields the messages, newest first; the other filters are checked on each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import and_, func, literal_column, select
from sqlalchemy.orm import InstrumentedAttribute, aliased
from sqlalchemy.sql import ColumnElement

from smstracker.clock import utcnow
from smstracker.messages import text_index
from smstracker.models.display_state import (
    Conditions,
    conditions_by_status,
    silence_times,
    state_condition,
)
from smstracker.models.messages import Message
from smstracker.sms.messaging_service import is_messaging_service
from smstracker.sms.status import Source, State

# Newest messages of an index that are checked one by one. A text is checked quickly, and the index
# of a frequent one is slow.
SCAN_LIMIT = 1_000
TEXT_SCAN_LIMIT = 5_000
NO_CODE = "none"  # filters messages without an error code


@dataclass(frozen=True, slots=True)
class SearchFilters:
    """Filters of an owner's messages; None filters nothing.

    `since` is inclusive, `until` exclusive. `error_code` may be NO_CODE. `digits` is a whole number
    without its +, or, unless `is_full`, the last digits of one. `id_or_sid` is a message's own id
    or Twilio's. States are those at the moment
    `at`, and so must be the messages shown.
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
    id_or_sid: str | None = None
    batch_id: int | None = None
    at: datetime = field(default_factory=utcnow, compare=False)


def index_conditions(filters: SearchFilters) -> dict[str, Conditions]:
    """The conditions of each filter that has an index, most selective first, as it needs them."""
    conditions: dict[str, Conditions] = {}
    if filters.id_or_sid:
        conditions["id_or_sid"] = [Message.has_id(filters.id_or_sid)]
    if filters.digits:
        column = Message.recipient_reversed.expression
        conditions["recipient"] = [_recipient_condition(filters, column)]
    if filters.error_code and filters.error_code != NO_CODE:
        conditions["error_code"] = [Message.error_code == filters.error_code]
    if filters.batch_id is not None:
        conditions["batch"] = [Message.batch_id == filters.batch_id]
    # Most statuses come by callback, so a scan of the newest messages is enough for those.
    if filters.source and filters.source is not Source.CALLBACK:
        # A literal, or SQLite does not see that the partial index applies.
        is_not_callback: ColumnElement[bool] = literal_column("message.status_source <> 'callback'")
        conditions["source"] = [Message.status_source == filters.source.value, is_not_callback]
    if filters.state:
        conditions["state"] = conditions_by_status(filters.state, silence_times(filters.at))
    if filters.sender:
        conditions["sender"] = [_sender_column(filters, Message) == filters.sender]
    return conditions


def sort_indexes(filters: SearchFilters) -> Sequence[str | None]:
    """The filters with an index, in the order to try them; None for the messages of the owner."""
    return [*index_conditions(filters)] or [None]


def scan_limit(filters: SearchFilters) -> int:
    return TEXT_SCAN_LIMIT if filters.text else SCAN_LIMIT


def remaining_filters(
    filters: SearchFilters, index_name: str | None, row: type[Message]
) -> Conditions:
    """The conditions beside those of the index, with coalesce so that no planner picks another."""
    conditions: Conditions = []
    if filters.id_or_sid and index_name != "id_or_sid":
        conditions.append(row.has_id(filters.id_or_sid))
    if filters.digits and index_name != "recipient":
        conditions.append(_recipient_condition(filters, func.coalesce(row.recipient_reversed, "")))
    if filters.error_code and index_name != "error_code":
        code = "" if filters.error_code == NO_CODE else filters.error_code
        conditions.append(func.coalesce(row.error_code, "") == code)
    if filters.batch_id is not None and index_name != "batch":
        conditions.append(func.coalesce(row.batch_id, 0) == filters.batch_id)
    if filters.source and index_name != "source":
        conditions.append(func.coalesce(row.status_source, "") == filters.source.value)
    if filters.state and index_name != "state":
        conditions.append(state_condition(filters.state, filters.at, row))
    if filters.sender and index_name != "sender":
        conditions.append(func.coalesce(_sender_column(filters, row), "") == filters.sender)
    if filters.text and index_name != "text":
        conditions.append(text_index.contains(filters.text, row))
    return conditions


def _sender_column(filters: SearchFilters, row: type[Message]) -> InstrumentedAttribute[str | None]:
    is_service = is_messaging_service(filters.sender or "")
    return row.messaging_service_sid if is_service else row.sender


def _recipient_condition(filters: SearchFilters, column: ColumnElement[str]) -> ColumnElement[bool]:
    reversed_digits = (filters.digits or "")[::-1]
    if filters.is_full:
        return column == reversed_digits
    at_least = column >= reversed_digits
    following = f"{int(reversed_digits) + 1:0{len(reversed_digits)}d}"
    has_end = len(following) == len(reversed_digits)  # there is no number after 99
    return and_(at_least, column < following) if has_end else at_least


def time_conditions(filters: SearchFilters, row: type[Message] = Message) -> Conditions:
    conditions: Conditions = [row.owner_id == filters.owner_id]
    if filters.since:
        conditions.append(row.created_at >= filters.since)
    if filters.until:
        conditions.append(row.created_at < filters.until)
    return conditions


def matching_messages(filters: SearchFilters) -> type[Message]:
    """The messages that match all filters, the text by its index."""
    row = text_index.select_by_text(filters.owner_id, filters.text or "")
    conditions = [*remaining_filters(filters, "text", row), *time_conditions(filters, row)]
    return aliased(Message, select(row).where(*conditions).subquery())
