"""Filters and pages of the message list."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from smstracker.simulator.api_errors import ApiError, require
from smstracker.simulator.ledger import SimulatedMessage

from .resources import Resource, account_uri, message_resource

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

Args = MultiDict[str, str]
Filter = Callable[[SimulatedMessage], bool]


def list_resource(account_sid: str, messages: Sequence[SimulatedMessage], args: Args) -> Resource:
    """The requested page of `messages`, which are sorted oldest first. Raises ApiError."""
    size = min(max(1, _parse_integer(args, "PageSize", DEFAULT_PAGE_SIZE)), MAX_PAGE_SIZE)
    page_number, token = _parse_integer(args, "Page", 0), args.get("PageToken")
    page, has_newer, has_older = _select_page(messages[::-1], _parse_filters(args), token, size)
    filters = {k: v for k, v in args.items() if k not in ("PageSize", "Page", "PageToken")}

    def build_uri(page_number: int, token: str | None = None) -> str:
        paging = {"PageSize": size, "Page": page_number} | ({"PageToken": token} if token else {})
        return f"{account_uri(account_sid)}/Messages.json?{urlencode(filters | paging)}"

    return {
        "messages": [message_resource(account_sid, message) for message in page],
        "page": page_number,
        "page_size": size,
        "start": page_number * size,
        "end": page_number * size + max(0, len(page) - 1),
        "uri": build_uri(page_number, token),
        "first_page_uri": build_uri(0),
        "next_page_uri": build_uri(page_number + 1, f"PA{page[-1].sid}") if has_older else None,
        "previous_page_uri": (
            build_uri(max(0, page_number - 1), f"PB{page[0].sid}") if has_newer and page else None
        ),
    }


def _select_page(
    newest_first: Sequence[SimulatedMessage], filters: list[Filter], token: str | None, size: int
) -> tuple[list[SimulatedMessage], bool, bool]:
    """The page after (token PA and a SID) or before (PB) a message, or the newest page.

    With it, whether newer and older ones exist. Tokens keep the pages stable while new messages
    arrive.
    """
    candidates, direction = newest_first, (token or "")[:2]
    if token is not None:
        position = next((i for i, m in enumerate(newest_first) if m.sid == token[2:]), None)
        if position is None or direction not in ("PA", "PB"):
            raise ApiError(20001)
        before, after = newest_first[:position], newest_first[position + 1 :]
        candidates = before if direction == "PB" else after
    matching = [m for m in candidates if all(passes(m) for passes in filters)]
    has_more = len(matching) > size
    if direction == "PB":
        return matching[-size:], has_more, bool(matching)
    return matching[:size], token is not None, has_more


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
    elif name == "DateSent<":
        start = datetime.min.replace(tzinfo=UTC)
    else:
        end = datetime.max.replace(tzinfo=UTC)
    return lambda message: message.sent_at is not None and start <= message.sent_at < end


def _parse_integer(args: Args, name: str, default: int) -> int:
    value = args.get(name, str(default))
    require(value.isdecimal() and len(value) <= 9, 20001)
    return int(value)


def _read_time(value: str) -> datetime:
    """Parse an ISO 8601 time, GMT without an offset. Raises ApiError."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ApiError(20001) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
