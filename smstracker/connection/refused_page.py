"""What was refused, a page at a time, in words that are safe to show to an administrator."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from sqlalchemy import Select, select

from smstracker.connection.refusal_causes import current_diagnosis
from smstracker.extensions import db
from smstracker.models import RefusedCallback
from smstracker.refused.replay import would_be_applied

PAGE_SIZE = 50
SHOWN_CHARACTERS = 4000
KINDS = {"account": True, "strangers": False}

# An administrator connects Twilio; whom people write to is not theirs to see.
# Written together or apart; after a plus that was escaped once, twice or as JSON does it.
_NUMBER = re.compile(
    r"(?:\+|(?:%(?:25)*|\\u00)2B|(?<![0-9A-Z_-]))[0-9](?:[ ().-]{0,2}[0-9]){2,12}"
    r"(?:[ ().-]{0,2}([0-9]{4}))(?![0-9A-Z_-])",
    re.IGNORECASE,
)
_NOT_NUMBERS = ("RawDlrDoneDate",)
_BIGGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class RefusedPage:
    """`next` is the cursor of the following page, None on the last one."""

    refusals: Sequence[RefusedCallback]
    next: int | None


def read_refused_page(kind: str | None, before: int | None) -> RefusedPage:
    """The newest refusals, all or of one kind, with an id below `before`."""
    found = db.session.scalars(_select(kind, before)).all()
    shown = found[:PAGE_SIZE]
    return RefusedPage(shown, shown[-1].id if len(found) > PAGE_SIZE else None)


def _select(kind: str | None, before: int | None) -> Select[tuple[RefusedCallback]]:
    chosen = select(RefusedCallback).order_by(RefusedCallback.id.desc()).limit(PAGE_SIZE + 1)
    if kind is not None:
        chosen = chosen.where(RefusedCallback.is_plausible.is_(KINDS[kind]))
    return chosen if before is None else chosen.where(RefusedCallback.id < before)


def row_id(text: str) -> int | None:
    """An id as a browser sends it; None if no row can have it."""
    is_number = text.isascii() and text.isdecimal() and len(text) < 20
    return int(text) if is_number and 0 < int(text) <= _BIGGEST_ID else None


def explain_refusal(refusal: RefusedCallback) -> tuple[str, str | None]:
    """Why it was refused, in a sentence, and the setting that it is about."""
    diagnosis, setting = current_diagnosis(refusal)
    unexplained = "It was valid when it was replayed." if refusal.replayed_at else "It was refused."
    return visible(diagnosis or unexplained), setting


def is_applicable(refusal: RefusedCallback) -> bool:
    """Whether replaying it would do anything."""
    return would_be_applied(refusal)


def describe_request(refusal: RefusedCallback) -> list[tuple[str, str]]:
    """What came, each with its name: made visible, cut, and without whole phone numbers."""
    signature = refusal.signature
    length = f"{refusal.body_length:,} bytes"
    facts = (
        ("Address", refusal.target),
        ("Host", refusal.sent_host),
        ("X-Forwarded-Host", refusal.forwarded_host),
        ("X-Forwarded-Proto", refusal.forwarded_proto),
        ("Content-Type", refusal.content_type),
        ("Signature", f"{len(signature)} characters" if signature else "none"),
        ("Signature settings", refusal.signature_settings),
        ("Size", length),
    )
    return [(name, visible(value)) for name, value in facts if value]


def body(refusal: RefusedCallback) -> str:
    """The body, a field a line if it is a form."""
    text = refusal.body.decode(errors="replace")
    if "form" in (refusal.content_type or ""):
        text = "\n".join(_fields(text))
        shown = _escaped(text)
    else:
        shown = visible(text)
    if len(shown) <= SHOWN_CHARACTERS:
        return shown
    return f"{shown[:SHOWN_CHARACTERS]} … (flask callbacks show {refusal.id} has the rest)"


def _fields(form: str) -> Iterator[str]:
    try:
        pairs = parse_qsl(form, keep_blank_values=True, max_num_fields=500)
    except ValueError:
        pairs = [("?", form)]
    for name, value in pairs:
        known = value if name in _NOT_NUMBERS else _masked(value)
        if name == "Body":  # of a message that was sent to us: what people write is not shown here
            known = f"({len(value):,} characters)"
        yield f"{_masked(name)} = {known}"


def visible(text: str) -> str:
    """Text from a stranger with nothing in it that hides, turns or breaks what is around it."""
    return _escaped(_masked(text))


def _masked(text: str) -> str:
    return _NUMBER.sub(r"…\1", text)


def _escaped(text: str) -> str:
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in text
    )
