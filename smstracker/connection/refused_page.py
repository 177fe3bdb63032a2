"""Refused callbacks by page, sanitized for an administrator."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from smstracker.command_name import COMMAND
from smstracker.connection.refusal_causes import current_diagnosis
from smstracker.extensions import db
from smstracker.models import RefusedCallback
from smstracker.refused.request import request_facts
from smstracker.sms.typed_text import escape_invisible

PAGE_SIZE = 50
MAX_BODY_CHARACTERS = 4000
MAX_SHOWN_CHARACTERS = 240
NOT_EXPLAINED = f"Not explained yet: the worker does it soon, {COMMAND} callbacks list at once."
IS_PLAUSIBLE_BY_KIND = {"account": True, "strangers": False}

# Administrators need not see whom people write to. Digits may be grouped, and the plus escaped
# once, twice or as in JSON.
_PHONE_NUMBER = re.compile(
    r"(?:\+|(?:%(?:25)*|\\u00)2B|(?<![0-9A-Z_-]))[0-9](?:[ ().-]{0,2}[0-9]){2,12}"
    r"(?:[ ().-]{0,2}([0-9]{4}))(?![0-9A-Z_-])",
    re.IGNORECASE,
)
_UNMASKED_FIELDS = ("RawDlrDoneDate",)


@dataclass(frozen=True, slots=True)
class RefusedPage:
    """A page of refusals, newest first; no `next_cursor` on the last page."""

    refusals: Sequence[RefusedCallback]
    next_cursor: int | None


def read_refused_page(kind: str | None, before: int | None) -> RefusedPage:
    """Read the newest refusals, of one kind if given, with an id below `before`."""
    # One more than a page tells whether another follows.
    query = RefusedCallback.select_newest().limit(PAGE_SIZE + 1)
    if kind is not None:
        query = query.where(RefusedCallback.is_plausible.is_(IS_PLAUSIBLE_BY_KIND[kind]))
    if before is not None:
        query = query.where(RefusedCallback.id < before)
    refusals = db.session.scalars(query).all()
    page = refusals[:PAGE_SIZE]
    return RefusedPage(page, page[-1].id if len(refusals) > PAGE_SIZE else None)


def explain_refusal(refusal: RefusedCallback) -> tuple[str, str | None]:
    """The sanitized diagnosis, and the setting at fault."""
    sentence, setting = current_diagnosis(refusal)
    return sanitize(sentence or NOT_EXPLAINED), setting


def describe_request(refusal: RefusedCallback) -> list[tuple[str, str]]:
    """The facts of a request by label, sanitized; of the signature only its length."""
    signature = refusal.signature
    facts = request_facts(refusal) | {
        "Signature": f"{len(signature)} characters" if signature else "none",
        "Size": f"{refusal.body_length:,} bytes",
    }
    return [(label, sanitize(value)) for label, value in facts.items() if value]


def format_body(refusal: RefusedCallback) -> str:
    """The sanitized body; of a form, a field a line."""
    text = refusal.body.decode(errors="replace")
    if "form" in (refusal.content_type or ""):
        text = escape_invisible("\n".join(_field_lines(text)), allowed="\n")
    else:
        text = sanitize(text)
    if len(text) <= MAX_BODY_CHARACTERS:
        return text
    return (
        f"{text[:MAX_BODY_CHARACTERS]} … ({COMMAND} callbacks show {refusal.id} prints all of it)"
    )


def _field_lines(form: str) -> Iterator[str]:
    try:
        pairs = parse_qsl(form, keep_blank_values=True, max_num_fields=500)
    except ValueError:
        pairs = [("?", form)]
    for name, value in pairs:
        if name == "Body":  # the text of an incoming message
            value = f"({len(value):,} characters)"
        elif name not in _UNMASKED_FIELDS:
            value = _mask_phone_numbers(value)
        yield f"{_mask_phone_numbers(name)} = {value}"


def split_long(sentence: str) -> tuple[str, str]:
    """Split a sentence, which may quote a stranger, into what is shown and what is folded away."""
    if len(sentence) <= MAX_SHOWN_CHARACTERS:
        return sentence, ""
    end = sentence.rfind(" ", MAX_SHOWN_CHARACTERS * 3 // 4, MAX_SHOWN_CHARACTERS)
    end = end if end > 0 else MAX_SHOWN_CHARACTERS  # a long word, such as an address
    return f"{sentence[:end]} …", f"… {sentence[end:].lstrip()}"


def sanitize(text: str) -> str:
    """Mask phone numbers and escape control characters in text from a stranger."""
    return escape_invisible(_mask_phone_numbers(text), allowed="\n")


def _mask_phone_numbers(text: str) -> str:
    return _PHONE_NUMBER.sub(r"…\1", text)
