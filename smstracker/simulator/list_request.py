"""The list of messages: filters and pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from smstracker.simulator.api_errors import ApiError
from smstracker.simulator.create_request import read_time
from smstracker.simulator.ledger import SimulatedMessage

from .resources import Resource, account_uri, message_resource

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

Args = MultiDict[str, str]
Filter = Callable[[SimulatedMessage], bool]


@dataclass(frozen=True, slots=True)
class _ListPage:
    """Messages, newest first, and whether there are newer and older ones."""

    messages: list[SimulatedMessage]
    newer: bool
    older: bool


def list_resource(account_sid: str, messages: Sequence[SimulatedMessage], args: Args) -> Resource:
    """The page that `args` asks for, out of `messages`, which come oldest first."""
    size = min(max(1, _whole(args, "PageSize", DEFAULT_PAGE_SIZE)), MAX_PAGE_SIZE)
    number = _whole(args, "Page", 0)
    page = _cut(messages[::-1], _filters(args), args.get("PageToken"), size)
    shown = page.messages
    uri = _Uri(f"{account_uri(account_sid)}/Messages.json", args, size)
    older = uri.at(number + 1, f"PA{shown[-1].sid}") if page.older else None
    newer = uri.at(max(0, number - 1), f"PB{shown[0].sid}") if page.newer and shown else None
    return {
        "messages": [message_resource(account_sid, message) for message in shown],
        "page": number,
        "page_size": size,
        "start": number * size,
        "end": number * size + max(0, len(shown) - 1),
        "uri": uri.at(number, args.get("PageToken")),
        "first_page_uri": uri.at(0),
        "next_page_uri": older,
        "previous_page_uri": newer,
    }


@dataclass(frozen=True, slots=True)
class _Uri:
    path: str
    args: Args
    size: int

    def at(self, number: int, token: str | None = None) -> str:
        """The address of a page, with the filters of this one."""
        paging = {"PageSize": str(self.size), "Page": str(number)}
        if token:
            paging["PageToken"] = token
        kept = {k: v for k, v in self.args.items() if k not in (*paging, "PageToken")}
        return f"{self.path}?{urlencode(kept | paging)}"


def _cut(
    newest_first: Sequence[SimulatedMessage], wanted: list[Filter], token: str | None, size: int
) -> _ListPage:
    """A token names a message: PA asks for the page after it, PB for the one before it.

    So the pages stay put while new messages come in.
    """
    if token is None:
        found = _pick(newest_first, wanted)
        return _ListPage(found[:size], newer=False, older=len(found) > size)
    direction, sid = token[:2], token[2:]
    at = next((i for i, message in enumerate(newest_first) if message.sid == sid), None)
    if at is None or direction not in ("PA", "PB"):
        raise ApiError(20001)
    if direction == "PA":
        found = _pick(newest_first[at + 1 :], wanted)
        return _ListPage(found[:size], newer=True, older=len(found) > size)
    found = _pick(newest_first[:at], wanted)
    return _ListPage(found[-size:], newer=len(found) > size, older=bool(found))


def _pick(messages: Sequence[SimulatedMessage], wanted: list[Filter]) -> list[SimulatedMessage]:
    return [m for m in messages if not m.deleted and all(passes(m) for passes in wanted)]


def _filters(args: Args) -> list[Filter]:
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
    """`DateSent` means the whole GMT day; `<` and `>` include the day or second they name.

    A message that was not sent yet has no such date, and is never found by one.
    """
    start = read_time(value, missing=20001, invalid=20001)
    end = start + (timedelta(days=1) if len(value) <= len("YYYY-MM-DD") else timedelta(seconds=1))
    if name == "DateSent":
        start = start.replace(hour=0, minute=0, second=0, microsecond=0)
        end = start + timedelta(days=1)

    def passes(message: SimulatedMessage) -> bool:
        if message.sent_at is None:
            return False
        early_enough = name == "DateSent>" or message.sent_at < end
        late_enough = name == "DateSent<" or message.sent_at >= start
        return early_enough and late_enough

    return passes


def _whole(args: Args, name: str, default: int) -> int:
    value = args.get(name, str(default))
    if not value.isdecimal() or len(value) > 9:
        raise ApiError(20001)
    return int(value)
