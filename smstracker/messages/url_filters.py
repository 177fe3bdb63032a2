"""The filters of the log as they stand in its URL, and what people type into its form."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from flask import abort
from werkzeug.datastructures import MultiDict

from smstracker.database.case_folding import fold_text
from smstracker.extensions import settings
from smstracker.messages.search import SearchFilters
from smstracker.messages.search_filters import NO_CODE
from smstracker.messages.text_index import SHORTEST
from smstracker.models import RecipientSearch
from smstracker.sms.error_guide import explain_code, plain_code
from smstracker.sms.phone_numbers import (
    PhoneNumberError,
    format_international,
    parse_recipient,
    spell_recipient,
)
from smstracker.sms.status import Source, State
from smstracker.web.time_range import TimeRange, TimeRangeError, read_period

OF_TIME = ("period", "from", "to", "zone")
ARGUMENTS = ("state", "error", "sender", "source", *OF_TIME, "text", "recipient")
SOURCES = {
    Source.SEND: "send request",
    Source.CALLBACK: "status callback",
    Source.LOOKUP: "look-up",
}
LONGEST = 200
# Fewer digits than these, with no + and no leading 0, are the last ones of a number: in many
# countries they would pass for a whole one, of which nothing would be found.
SHORTEST_WHOLE = 10
NO_SUCH_CODE = f"An error code is a number, such as 30003; “{NO_CODE}” finds what has none."
# Twilio's, or ours for an answer that was not Twilio's, or what has none.
ERROR_CODE = re.compile(rf"[0-9]{{1,16}}|HTTP [0-9]{{3}}|{NO_CODE}")
# A number, a short code, a name or a Messaging Service.
SENDER = re.compile(r"[0-9A-Za-z+&_ -]{1,34}")
SERVICE = "Messaging Service"


class FilterError(ValueError):
    """A filter cannot be applied; says why in the reader's words."""


@dataclass(frozen=True, slots=True)
class LogFilters:
    """Filters that were understood; `arguments` stand for them in a URL."""

    filter: SearchFilters
    period: TimeRange
    arguments: dict[str, str]

    def link(self, **changed: str | None) -> dict[str, str]:
        """The arguments with some of them changed, or taken away by None."""
        kept = self.arguments | changed
        return {name: value for name, value in kept.items() if value}

    @property
    def chips(self) -> list[tuple[str, dict[str, str]]]:
        """Each filter but the state in words, and the arguments without it."""
        one, found = self.filter, []
        if one.text:
            found.append((f"Text contains “{one.text}”", self._without("text")))
        if one.digits:
            number = (
                format_international(f"+{one.digits}")
                if one.is_full
                else f"a number ending in {one.digits}"
            )
            found.append((f"To {number}", self._without("recipient")))
        if one.error_code == NO_CODE:
            found.append(("Without an error code", self._without("error")))
        elif one.error_code:
            reason = explain_code(one.error_code)
            short = reason.short if reason else ""
            words = "" if not short or one.error_code in short else f" ({short})"
            found.append((f"Error {one.error_code}{words}", self._without("error")))
        if one.sender:
            name = SERVICE if one.sender.startswith("MG") else format_international(one.sender)
            found.append((f"From {name}", self._without("sender")))
        if one.source:
            found.append((f"Known by {SOURCES[one.source]}", self._without("source")))
        if self.period.name:
            found.append((self.period.words, self._without(*OF_TIME)))
        return found

    def _without(self, *names: str) -> dict[str, str]:
        return self.link(**dict.fromkeys(names))


def read_filters(owner_id: int, given: Mapping[str, str], now: datetime) -> LogFilters:
    """The filters that a URL asks for. Raises FilterError; an unknown state or handle is a 404."""
    typed = {name: given.get(name, "").strip() for name in ARGUMENTS}
    try:
        period = read_period(typed, now)
    except TimeRangeError as error:
        raise FilterError(str(error)) from error
    search = _search(owner_id, typed["recipient"])
    found = SearchFilters(
        owner_id,
        state=_state(typed["state"]),
        error_code=_shaped(plain_code(typed["error"]), ERROR_CODE, NO_SUCH_CODE),
        sender=_shaped(typed["sender"], SENDER, "That is no sender. Choose one of the list."),
        source=_source(typed["source"]),
        since=period.since,
        until=period.until,
        text=_text(typed["text"]) or None,
        digits=search.digits if search else None,
        is_full=bool(search and search.is_full),
        at=now,
    )
    names = [name for name in ARGUMENTS if name not in OF_TIME and typed[name]]
    return LogFilters(found, period, {name: typed[name] for name in names} | period.arguments)


def read_strictly(
    owner_id: int, given: MultiDict[str, str], now: datetime, *more: str
) -> LogFilters:
    """The filters for a program: a misspelt one must not pass for no filter. Raises FilterError."""
    for name, values in given.lists():
        if name not in (*ARGUMENTS, *more):
            raise FilterError(f"There is no argument “{name[:40]}”.")
        if len(values) > 1:
            raise FilterError(f"Give “{name}” only once.")
    return read_filters(owner_id, given, now)


def arguments_of_form(owner_id: int, typed: Mapping[str, str], now: datetime) -> dict[str, str]:
    """What the URL gets for a form: a handle stands for the digits. Raises FilterError."""
    given = {name: typed.get(name, "") for name in ARGUMENTS if name != "recipient"}
    number = typed.get("number", "").strip()
    if number:
        given["recipient"] = remember_recipient(owner_id, number).handle
    return read_filters(owner_id, given, now).arguments


def remember_recipient(owner_id: int, number: str) -> RecipientSearch:
    """The search for a number in any spelling, or for its last digits. Raises FilterError."""
    region, number = settings().default_region, number.lstrip("… ")
    try:
        digits = spell_recipient(number, region).compact
        if digits.isdecimal() and len(digits) < SHORTEST:
            raise FilterError("Type at least the last 3 digits of the recipient’s number.")
        if re.fullmatch(rf"[0-9]{{1,6}}|[1-9][0-9]{{5,{SHORTEST_WHOLE - 2}}}", digits):
            return RecipientSearch.get_or_create(owner_id, digits, is_full=False)
        full = _whole_number(number, digits, region)
    except PhoneNumberError as error:
        raise FilterError(f"Recipient: {error}") from error
    if full is None:
        return RecipientSearch.get_or_create(owner_id, digits, is_full=False)
    return RecipientSearch.get_or_create(owner_id, full[1:], is_full=True)


def _whole_number(number: str, digits: str, region: str) -> str | None:
    """The number in E.164; None if it is none as it stands, but may be the end of one."""
    try:
        return parse_recipient(number, region)
    except PhoneNumberError:
        if re.fullmatch(r"[0-9]{7,15}", digits):
            return None
        raise


def _shaped(wanted: str, shape: re.Pattern[str], problem: str) -> str | None:
    if wanted and not shape.fullmatch(wanted):
        raise FilterError(problem)
    return wanted or None


def _state(wanted: str) -> State | None:
    if wanted and wanted not in set(State):
        abort(404)
    return State(wanted) if wanted else None


def _source(wanted: str) -> Source | None:
    if wanted and wanted not in set(Source):
        raise FilterError("A status is known by send, callback or lookup. Choose one of these.")
    return Source(wanted) if wanted else None


def _search(owner_id: int, handle: str) -> RecipientSearch | None:
    found = RecipientSearch.find_by_handle(owner_id, handle) if handle else None
    if handle and found is None:
        abort(404)
    return found


def _text(wanted: str) -> str:
    if wanted and len(fold_text(wanted)) < SHORTEST:
        raise FilterError("Type at least 3 characters of the text to search for.")
    return _short_enough(wanted, LONGEST, "text to search for")


def _short_enough(wanted: str, longest: int, what: str) -> str:
    if len(wanted) > longest:
        raise FilterError(f"The {what} is too long: {longest} characters at most.")
    if "\0" in wanted:
        raise FilterError(f"The {what} holds a character that no message has (NUL).")
    return wanted
