"""Read the filters of the log from its URL and from its form."""

import re
import unicodedata
import uuid
from collections.abc import Mapping
from datetime import datetime

from werkzeug.datastructures import MultiDict

from smstracker.database.case_folding import fold_text
from smstracker.extensions import db, settings, writing
from smstracker.messages.filter_conditions import NO_CODE, SearchFilters
from smstracker.messages.filter_links import ARGUMENTS, FilterError, LogFilters
from smstracker.messages.text_index import MIN_TERM_LENGTH
from smstracker.models import Batch, RecipientSearch
from smstracker.sms.error_guide import plain_code
from smstracker.sms.identifiers import ERROR_CODE_LENGTH, MESSAGE_ID, MESSAGE_SID
from smstracker.sms.phone_numbers import parse_recipient, spell_recipient
from smstracker.sms.phone_spelling import PhoneNumberError, ascii_form
from smstracker.sms.status import Source, State
from smstracker.sms.stop_reasons import StopReason
from smstracker.sms.typed_text import is_invisible
from smstracker.web import time_range
from smstracker.web.reader_settings import reader_zone
from smstracker.web.time_range import TimeRangeError, read_period
from smstracker.web.time_zones import UnknownZoneError, read_zone

MAX_TEXT_LENGTH = 200
# Fewer digits, without + and without a leading 0, are the last ones of a number: in many countries
# they would pass for a whole number, and nothing would match.
MIN_FULL_LENGTH = 10
BAD_SENDER = "This is not a sender. Choose one from the list."
BAD_ERROR_CODE = (
    f"An error code is a number, such as 30003. Type “{NO_CODE}” for messages without one."
)
# Twilio's number, an HTTP status of an answer that was not Twilio's, our own reason, or NO_CODE.
ERROR_CODE = re.compile(
    "|".join([rf"[0-9]{{1,{ERROR_CODE_LENGTH}}}", "HTTP [0-9]{3}", *StopReason, NO_CODE])
)
BAD_ID = "This is no id and no SID of a message."
ID_OR_SID = re.compile(f"{MESSAGE_SID}|{MESSAGE_ID}", re.I)
# Seven digits or more, whatever people write between them, as far as they are no date.
MANY_DIGITS = re.compile(r"\d(?:[\W_]{0,3}\d){6,}")
DATE = re.compile(r"\b(?:\d{4}-\d\d-\d\d|\d{1,2}([./])\d{1,2}\1\d{4})\b(?:[ T]\d\d:\d\d)?")
LINK_SCHEME = re.compile(r"^\W*(?:whatsapp|tel|sms):", re.I)
NUMBER_BESIDE_TEXT = (
    "Search for the number alone, or for the words alone. If it is no phone number, type at most "
    "six of its digits."
)
# A phone number, short code, alphanumeric sender or Messaging Service.
SENDER = re.compile(r"[0-9A-Za-z+&_ -]{1,34}")


def read_filters(owner_id: int, url_arguments: Mapping[str, str], now: datetime) -> LogFilters:
    """The filters of a URL. Raises FilterError."""
    values = {name: url_arguments.get(name, "").strip() for name in ARGUMENTS}
    values["zone"] = values["zone"] or reader_zone()
    try:
        period = read_period(values, now)
    except TimeRangeError as error:
        raise FilterError(str(error), "from") from error
    recipient_search = _find_recipient_search(owner_id, values["recipient"])
    batch = _find_batch(owner_id, values["batch"])
    search_filters = SearchFilters(
        owner_id,
        state=_parse_state(values["state"]),
        error_code=_check_pattern(plain_code(values["error"]), ERROR_CODE, BAD_ERROR_CODE, "error"),
        sender=_check_pattern(values["sender"], SENDER, BAD_SENDER, "sender"),
        source=_parse_source(values["source"]),
        since=period.since,
        until=period.until,
        text=_parse_text(values["text"]),
        digits=recipient_search.digits if recipient_search else None,
        is_full=bool(recipient_search and recipient_search.is_full),
        id_or_sid=_check_pattern(values["id"], ID_OR_SID, BAD_ID, "text"),
        batch_id=batch.id if batch else None,
        at=now,
    )
    names = [name for name in ARGUMENTS if name not in time_range.ARGUMENTS and values[name]]
    own_arguments = {name: values[name] for name in names}
    arguments = own_arguments | period.arguments
    return LogFilters(search_filters, period, arguments, batch.name if batch else None)


def read_filters_strictly(
    owner_id: int, arguments: MultiDict[str, str], now: datetime, *other_names: str
) -> LogFilters:
    """The filters for a program: an unknown, repeated or empty one is refused. Raises FilterError.

    An empty one is a mistake of the program, whose answer would be messages that it did not mean.
    """
    for name, values in arguments.lists():
        if name not in (*ARGUMENTS, *other_names):
            raise FilterError(f"There is no argument “{name[:40]}”.")
        if len(values) > 1:
            raise FilterError(f"Give “{name}” only once.")
        if not values[0].strip():
            raise FilterError(f"Give “{name}” a value, or leave it out.", name)
    return read_filters(owner_id, arguments, now)


def check_zone(name: str, now: datetime) -> None:
    """Refuse a zone of a program that means none or several. Raises FilterError.

    A browser may report one that is not known here; its page says that the days are UTC days.
    """
    try:
        read_zone(name.strip(), now.year)
    except UnknownZoneError as error:
        raise FilterError(str(error), "zone") from error


def form_to_arguments(owner_id: int, fields: Mapping[str, str], now: datetime) -> dict[str, str]:
    """The URL arguments for a form; a handle stands for the digits. Raises FilterError.

    A phone number, an id or a SID that is typed as the text is searched for as what it is.
    """
    arguments = {name: fields.get(name, "") for name in ARGUMENTS if name != "recipient"}
    number, field = fields.get("number", "").strip(), "number"
    text = arguments["text"].strip()
    if ID_OR_SID.fullmatch(text):
        arguments |= {"text": "", "id": text}
    elif _holds_number(text):
        arguments["text"], number, field = "", LINK_SCHEME.sub("", text.strip("<>[]., ")), "text"
        if any(map(str.isalpha, number)):
            raise FilterError(NUMBER_BESIDE_TEXT, "text")
    if number:
        arguments["recipient"] = remember_recipient(owner_id, number, field).handle
    return read_filters(owner_id, arguments, now).arguments


def _holds_number(text: str) -> bool:
    """Whether a phone number may be in a text, in any script: it must not get into the address."""
    visible = "".join(ascii_form(character) for character in text if not is_invisible(character))
    return bool(MANY_DIGITS.search(DATE.sub(" ", unicodedata.normalize("NFKC", visible))))


def remember_recipient(owner_id: int, number: str, field: str = "number") -> RecipientSearch:
    """Store a search for a number in any spelling, or for its last digits. Raises FilterError."""
    digits, is_full = _read_digits(number, field)
    with writing():
        return RecipientSearch.get_or_create(owner_id, digits, is_full=is_full)


def _read_digits(number: str, field: str = "number") -> tuple[str, bool]:
    """The digits of a number, and whether it is a whole one. Raises FilterError."""
    region, number = settings().default_region, number.lstrip("… ")
    try:
        digits = spell_recipient(number, region).compact
        if digits.isdecimal() and len(digits) < MIN_TERM_LENGTH:
            problem = f"Type at least the last {MIN_TERM_LENGTH} digits of the recipient’s number."
            raise FilterError(problem, field)
        is_short = re.fullmatch(rf"[0-9]{{1,6}}|[1-9][0-9]{{5,{MIN_FULL_LENGTH - 2}}}", digits)
        full_number = None if is_short else _parse_full_number(number, digits, region)
    except PhoneNumberError as error:
        raise FilterError(f"Recipient: {error}", field) from error
    # The zeros before a number from another country or region are not stored.
    return (full_number or digits.lstrip("0") or digits).removeprefix("+"), full_number is not None


def _parse_full_number(number: str, digits: str, region: str) -> str | None:
    """The number in E.164, or None if it may be the end of one. Raises PhoneNumberError."""
    try:
        return parse_recipient(number, region)
    except PhoneNumberError:
        if re.fullmatch(r"[0-9]{7,15}", digits):
            return None
        raise


def _check_pattern(value: str, pattern: re.Pattern[str], problem: str, field: str) -> str | None:
    if value and not pattern.fullmatch(value):
        raise FilterError(problem, field)
    return value or None


def _parse_state(name: str) -> State | None:
    if name and name not in set(State):
        raise FilterError("There is no such state. Choose one of those shown.")
    return State(name) if name else None


def _parse_source(name: str) -> Source | None:
    if name and name not in set(Source):
        raise FilterError("The source of a status is send, callback or lookup.", "source")
    return Source(name) if name else None


def _find_recipient_search(owner_id: int, handle: str) -> RecipientSearch | None:
    search = RecipientSearch.find_by_handle(owner_id, handle) if handle else None
    if handle and search is None:
        problem = "This is no search of yours. Search for the recipient’s number again."
        raise FilterError(problem, "number")
    return search


def _find_batch(owner_id: int, public_id: str) -> Batch | None:
    if not public_id:
        return None
    try:
        is_batch = Batch.public_id == uuid.UUID(public_id)
    except ValueError:
        raise FilterError("This is no batch of yours.") from None
    batch = db.session.scalar(Batch.select_owned(owner_id).where(is_batch))
    if batch is None:
        raise FilterError("This is no batch of yours. It may be deleted.")
    return batch


def _parse_text(text: str) -> str | None:
    noun = "text to search for"
    if text and len(fold_text(text)) < MIN_TERM_LENGTH:
        raise FilterError(f"Type at least {MIN_TERM_LENGTH} characters of the {noun}.", "text")
    if len(text) > MAX_TEXT_LENGTH:
        problem = f"The {noun} is too long. Use at most {MAX_TEXT_LENGTH} characters."
        raise FilterError(problem, "text")
    if "\0" in text:
        problem = f"The {noun} contains a character that no message has (NUL). Remove it."
        raise FilterError(problem, "text")
    return text or None
