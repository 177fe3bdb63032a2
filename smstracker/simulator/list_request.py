"""Filters and pages of the message list: those that smstracker asks for."""

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from smstracker.simulator.api_errors import ApiError, require
from smstracker.simulator.ledger import SimulatedMessage

from .resources import Resource, account_uri, message_resource

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

Args = MultiDict[str, str]


def list_resource(account_sid: str, messages: Sequence[SimulatedMessage], args: Args) -> Resource:
    """The requested page of `messages`, which are sorted oldest first. Raises ApiError."""
    value = args.get("PageSize", str(DEFAULT_PAGE_SIZE))
    require(value.isdecimal() and len(value) <= 9, 20001)
    size = min(max(1, int(value)), MAX_PAGE_SIZE)
    matching = _select_matching(messages[::-1], args)
    page, next_page_uri = matching[:size], None
    if len(matching) > size:
        query = urlencode(args.to_dict() | {"PageToken": f"PA{page[-1].sid}"})
        next_page_uri = f"{account_uri(account_sid)}/Messages.json?{query}"
    return {
        "messages": [message_resource(account_sid, message) for message in page],
        "page_size": size,
        "next_page_uri": next_page_uri,
    }


def _select_matching(
    newest_first: Sequence[SimulatedMessage], args: Args
) -> list[SimulatedMessage]:
    """The messages to a number, sent at a time or later, after the one that the token names.

    Tokens (PA and a SID) keep the pages stable while new messages arrive. `DateSent>` includes its
    day or second, and excludes messages that are not sent yet.
    """
    token, to, sent_from = args.get("PageToken"), args.get("To"), args.get("DateSent>")
    if token is not None:
        sids = [f"PA{message.sid}" for message in newest_first]
        require(token in sids, 20001)
        newest_first = newest_first[sids.index(token) + 1 :]
    start = _read_time(sent_from) if sent_from else None
    return [
        message
        for message in newest_first
        if to in (None, message.to)
        and (start is None or (message.sent_at is not None and message.sent_at >= start))
    ]


def _read_time(value: str) -> datetime:
    """Parse an ISO 8601 time, GMT without an offset. Raises ApiError."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ApiError(20001) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
