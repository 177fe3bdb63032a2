"""What every template is given: filters for times and numbers, wording, asset addresses."""

import hashlib
import json
import unicodedata
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, url_for
from flask_login import current_user

from smstracker import clock
from smstracker.extensions import settings
from smstracker.mailer import can_send_mail
from smstracker.messages import describe, failure_advice
from smstracker.models import Message
from smstracker.sms import status
from smstracker.sms.error_guide import as_administrator, documentation
from smstracker.sms.gsm_replacements import PLAIN, CostAdvice, Replacement
from smstracker.sms.phone_numbers import format_international
from smstracker.sms.segments import Segments
from smstracker.sms.status import Source

# Short enough for a row of the log; the page of the message has the full words.
_BRIEF_SOURCES = {
    Source.SEND: "send request",
    Source.CALLBACK: "status callback",
    Source.LOOKUP: "look-up",
}
# Characters that cost and cannot be seen. compose.js gets them with the page.
INVISIBLE = {
    "\t": "tab",
    "\x0b": "vertical tab",
    "\u00a0": "no-break space",
    "\u00ad": "soft hyphen",
    "\u2002": "en space",
    "\u2003": "em space",
    "\u2009": "thin space",
    "\u200a": "hair space",
    "\u200b": "zero-width space",
    "\u200c": "zero-width non-joiner",
    "\u200d": "zero-width joiner",
    "\u200e": "left-to-right mark",
    "\u200f": "right-to-left mark",
    "\u2028": "line separator",
    "\u202f": "narrow no-break space",
    "\u2060": "word joiner",
    "\u3000": "ideographic space",
    "\ufe0f": "emoji variation selector",
    "\ufeff": "byte order mark",
}

# Replacements that cannot be seen.
REPLACEMENTS = {"": "nothing", " ": "a blank", "\n": "a line break"}
# The forecast of a message with pictures, which has no segments; compose.js gets it with the page.
MMS_LINE = "MMS · charged by the message, not by segments"


def init_app(app: Flask) -> None:
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters |= {
        "absolute_time": absolute_time,
        "addressed": addressed,
        "advice_line": advice_line,
        "age": clock.format_age,
        "brief_source": brief_source,
        "exact_duration": clock.format_exact_duration,
        "offer_line": offer_line,
        "pretty_json": pretty_json,
        "readable": format_international,
        "mms_line": mms_line,
        "segment_line": segment_line,
    }
    app.jinja_env.globals |= {
        "asset": asset,
        "current_user": current_user,
        "documentation": documentation,
        "failure_advice": failure_advice,
        "mms_words": MMS_LINE,
        "plain_characters": PLAIN | {"invisible": INVISIBLE, "shown": REPLACEMENTS},
        "State": status.State,
        "state_words": status.STATE_WORDS,
        "describe": describe,
    }
    app.context_processor(_context)


def _context() -> dict[str, Any]:
    return {"demo": settings().demo, "can_mail": can_send_mail()}


def absolute_time(moment: datetime) -> str:
    """A moment with its zone; script shows it in the reader's own."""
    return f"{moment:%-d %b %Y, %H:%M:%S} UTC"


def addressed(text: str) -> str:
    """A text that may send its reader to the administrator, for whoever reads it."""
    is_administrator = current_user.is_authenticated and current_user.administrator
    return as_administrator(text) if is_administrator else text


def brief_source(message: Message) -> str:
    """How the status of a message is known, in two words."""
    source = message.status_source
    return _BRIEF_SOURCES[Source(source)] if source else "saved here"


def segment_line(count: Segments) -> str:
    """The forecast while typing: "GSM-7 · 1 segment · 43 of 160"; compose.js writes the same."""
    noun = "segment" if count.count == 1 else "segments"
    return f"{count.encoding} · {count.count} {noun} · {count.units:,} of {count.capacity:,}"


def mms_line(text: str, longest: int) -> str:
    """The forecast while typing of a message with pictures; compose.js writes the same."""
    return f"{MMS_LINE} · {len(text):,} of {longest:,} characters"


def advice_line(advice: CostAdvice) -> str:
    """What the characters after it cost; compose.js writes the same."""
    kept = [offer.replacement is not None for offer in advice.offers]
    way = "with all of them replaced" if any(kept) else "without them"
    if any(kept) and not all(kept):
        way += " or left out"
    return f"These characters make it cost more ({advice.before} segments, {advice.after} {way}):"


def offer_line(offer: Replacement) -> str:
    """A costly piece, how often it occurs and what would replace it; compose.js writes the same."""
    words = f"{named(offer.piece)} ×{offer.times}"
    if offer.replacement is None:
        return words
    shown = REPLACEMENTS.get(offer.replacement, offer.replacement)
    return f"{words} → {shown}{' (changes the spelling)' if offer.changes_spelling else ''}"


def named(piece: str) -> str:
    """A character and its marks as people can see them, or their code points and name."""
    code_points = " ".join(f"U+{ord(character):04X}" for character in piece)
    if all(unicodedata.category(character)[0] in "CMZ" for character in piece):
        name = INVISIBLE.get(piece)
        return f"{name} ({code_points})" if name else code_points
    composed = unicodedata.normalize("NFC", piece)
    return piece if composed == piece else f"{composed} ({code_points})"


def pretty_json(value: Any) -> str:
    """JSON for people: indented, and every letter as itself."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def asset(name: str) -> str:
    """The address of a static file, which changes with its content and so may be kept for long."""
    return url_for("static", filename=name, v=_fingerprint(name))


@cache
def _fingerprint(name: str) -> str:
    content = (Path(__file__).parent / "static" / name).read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]
