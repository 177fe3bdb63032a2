"""Filters and pages of the message list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from smstracker.simulator.api_errors import ApiError
from smstracker.simulator.ledger import SimulatedMessage

from .resources import Resource, account_uri, message_resource

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

Args = MultiDict[str, str]
Filter = Callable[[SimulatedMessage], bool]


@dataclass(frozen=True, slots=True)
class _ListPage:
    """Messages, newest first, and whether newer and older ones exist."""

    messages: list[SimulatedMessage]
    has_newer: bool
    has_older: bool


def list_resource(account_sid: str, messages: Sequence[SimulatedMessage], args: Args) -> Resource:
    """The requested page of `messages`, which are sorted oldest first. Raises ApiError."""
    size = min(max(1, _parse_integer(args, "PageSize", DEFAULT_PAGE_SIZE)), MAX_PAGE_SIZE)
    page_number = _parse_integer(args, "Page", 0)
    page = _select_page(messages[::-1], _parse_filters(args), args.get("PageToken"), size)
    uri = _PageUri(f"{account_uri(account_sid)}/Messages.json", args, size)
    older_uri = newer_uri = None
    if page.has_older:
        older_uri = uri.build(page_number + 1, f"PA{page.messages[-1].sid}")
    if page.has_newer and page.messages:
        newer_uri = uri.build(max(0, page_number - 1), f"PB{page.messages[0].sid}")
    return {
        "messages": [message_resource(account_sid, message) for message in page.messages],
        "page": page_number,
        "page_size": size,
        "start": page_number * size,
        "end": page_number * size + max(0, len(page.messages) - 1),
        "uri": uri.build(page_number, args.get("PageToken")),
        "first_page_uri": uri.build(0),
        "next_page_uri": older_uri,
        "previous_page_uri": newer_uri,
    }


@dataclass(frozen=True, slots=True)
class _PageUri:
    path: str
    args: Args
    size: int

    def build(self, page_number: int, token: str | None = None) -> str:
        """The URI of a page, with the filters of the current one."""
        paging = {"PageSize": str(self.size), "Page": str(page_number)}
        if token:
            paging["PageToken"] = token
        filters = {k: v for k, v in self.args.items() if k not in (*paging, "PageToken")}
        return f"{self.path}?{urlencode(filters | paging)}"


def _select_page(
    newest_first: Sequence[SimulatedMessage], filters: list[Filter], token: str | None, size: int
) -> _ListPage:
    """The page after (token PA and a SID) or before (PB) a message, or the newest page.

    Tokens keep the pages stable while new messages arrive.
    """
    if token is None:
        matching = _filter_messages(newest_first, filters)
        return _ListPage(matching[:size], has_newer=False, has_older=len(matching) > size)
    direction, sid = token[:2], token[2:]
    position = next((i for i, message in enumerate(newest_first) if message.sid == sid), None)
    if position is None or direction not in ("PA", "PB"):
        raise ApiError(20001)
    if direction == "PA":
        matching = _filter_messages(newest_first[position + 1 :], filters)
        return _ListPage(matching[:size], has_newer=True, has_older=len(matching) > size)
    matching = _filter_messages(newest_first[:position], filters)
    return _ListPage(matching[-size:], has_newer=len(matching) > size, has_older=bool(matching))


def _filter_messages(
    messages: Sequence[SimulatedMessage], filters: list[Filter]
) -> list[SimulatedMessage]:
    return [m for m in messages if all(passes(m) for passes in filters)]


def _parse_filters(args: Args) -> list[Filter]:
    filters: list[Filter] = []
    if to := args.get("To"):
        filters.append(lambda message: message.to == to)
    if sender := args.get("From"):
        filters.append(lambda message: message.sender == sender)
    for name in ("DateSent", "DateSent<", "DateSent>"):
        if value := args.get(name):
            filters.append(_date_filter(name, value))
    return filters


def _date_filter(name: str, value: str) -> Filter:
    """A filter by date: `DateSent` is a whole GMT day; `<` and `>` include the day or second.

    It excludes messages that are not sent yet.
    """
    start = _read_time(value)
    end = start + (timedelta(days=1) if len(value) <= len("YYYY-MM-DD") else timedelta(seconds=1))
    if name == "DateSent":
        start = start.replace(hour=0, minute=0, second=0, microsecond=0)
        end = start + timedelta(days=1)

    def passes(message: SimulatedMessage) -> bool:
        if message.sent_at is None:
            return False
        is_before_end = name == "DateSent>" or message.sent_at < end
        is_after_start = name == "DateSent<" or message.sent_at >= start
        return is_before_end and is_after_start

    return passes


def _parse_integer(args: Args, name: str, default: int) -> int:
    value = args.get(name, str(default))
    if not value.isdecimal() or len(value) > 9:
        raise ApiError(20001)
    return int(value)


def _read_time(value: str) -> datetime:
    """Parse an ISO 8601 time, GMT without an offset. Raises ApiError."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ApiError(20001) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
