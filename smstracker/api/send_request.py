"""The request to send a message: its checks, by the rules of the send form, all fields at once."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from smstracker.api.request_parts import FieldErrors, find_unknown
from smstracker.api.sender_choice import choose_sender
from smstracker.clock import CLOCK_TOLERANCE
from smstracker.extensions import settings
from smstracker.models.api_tokens import TokenRights
from smstracker.models.messages import REFERENCE_LENGTH, Content
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import NO_NUMBER, PhoneNumberError
from smstracker.sms.picture_addresses import find_address_problem
from smstracker.sms.text_rules import (
    MAX_PICTURES,
    character_problem,
    find_text_problem,
    unix_lines,
)
from smstracker.sms.typed_text import is_blank
from smstracker.web.problem_details import FieldError
from smstracker.web.send_time import MAX_AHEAD

NAMES = ("to", "text", "from", "media_urls", "send_at", "reference")
# RFC 3339, with the offset that says which moment is meant; Java leaves out seconds that are zero.
MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class SendRequest:
    """A valid request; `send_at` None sends at once."""

    content: Content
    send_at: datetime | None = None
    reference: str | None = None


def read_send_request(
    fields: Mapping[str, object], rights: TokenRights, now: datetime
) -> SendRequest:
    """Check the fields of a request. Raises FieldErrors with what is wrong with all of them."""
    return _MessageReader(fields, rights, now).read()


@dataclass
class _MessageReader:
    """Reads field by field, and keeps what is wrong."""

    fields: Mapping[str, object]
    rights: TokenRights
    now: datetime
    errors: list[FieldError] = field(default_factory=list)

    def read(self) -> SendRequest:
        self.errors += find_unknown(self.fields, NAMES)
        recipient = self._read("to", self._read_recipient)
        pictures = self._read_pictures()
        body = self._read("text", lambda text: self._read_text(text, bool(pictures)))
        sender = self._read(
            "from", lambda _text: choose_sender(self.fields.get("from"), self.rights)
        )
        content = Content(recipient, sender, body, pictures)
        send_at = self._read_moment()
        reference = self._read("reference", self._read_reference) or None
        if self.errors:
            raise FieldErrors(self.errors)
        return SendRequest(content, send_at, reference)

    def _read(self, name: str, parse: Callable[[str], str]) -> str:
        """The parsed text of a field, empty if it is left out; "" if something is wrong."""
        try:
            return parse(self._text(name, self.fields.get(name)))
        except ValueError as error:
            self.errors.append(FieldError(name, str(error)))
            return ""

    def _text(self, name: str, value: object) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            raise ValueError(f'Give “{name}” as a text: "…".')
        if problem := character_problem(value):
            raise ValueError(problem)
        return value

    def _read_recipient(self, text: str) -> str:
        if not text.strip():
            raise PhoneNumberError(NO_NUMBER)
        return parse_recipient(text, settings().default_region)

    def _read_text(self, text: str, has_pictures: bool) -> str:
        text = unix_lines(text)
        if problem := find_text_problem(text, has_pictures=has_pictures):
            raise ValueError(problem)
        return "" if is_blank(text) else text

    def _read_pictures(self) -> tuple[str, ...]:
        value = self.fields.get("media_urls")
        if value is None:
            return ()
        if not isinstance(value, list):
            self.errors.append(FieldError("media_urls", 'Give “media_urls” as a list: ["…"].'))
            return ()
        if len(value) > MAX_PICTURES:
            problem = f"One message can hold {MAX_PICTURES} pictures. Remove some."
            self.errors.append(FieldError("media_urls", problem))
            return ()
        return tuple(self._read_picture(index, item) for index, item in enumerate(value))

    def _read_picture(self, index: int, value: object) -> str:
        name = f"media_urls[{index}]"
        try:
            address = self._text(name, value)
            if problem := find_address_problem(address):
                raise ValueError(f"Address {index + 1} {problem}")
        except ValueError as error:
            self.errors.append(FieldError(name, str(error)))
            return ""
        return address

    def _read_reference(self, text: str) -> str:
        if len(text) > REFERENCE_LENGTH or not (text.isprintable()):
            raise ValueError(f"Use at most {REFERENCE_LENGTH} printable characters.")
        return text

    def _read_moment(self) -> datetime | None:
        moment: datetime | None = None

        def parse(text: str) -> str:
            nonlocal moment
            moment = parse_moment(text, self.now)
            return ""

        if self.fields.get("send_at") is not None:
            self._read("send_at", parse)
        return moment


def parse_moment(text: str, now: datetime) -> datetime | None:
    """The moment of an RFC 3339 text, None for one that has just passed. Raises ValueError."""
    if not MOMENT.fullmatch(text):
        raise ValueError("Give date and time with their offset: 2026-12-24T18:00:00+01:00.")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError("There is no such date or time.") from None
    if moment < now - CLOCK_TOLERANCE:
        raise ValueError("That time is past. Choose a later one, or leave “send_at” out.")
    if moment > now + MAX_AHEAD:
        raise ValueError(f"Choose a time within {MAX_AHEAD.days} days.")
    return moment.astimezone(UTC) if moment > now else None
