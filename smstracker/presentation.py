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

from smstracker import clock, status
from smstracker.dashboard import explaining, wording
from smstracker.extensions import settings
from smstracker.mailer import can_mail
from smstracker.models import Message
from smstracker.plain_text import PLAIN
from smstracker.reasons import documentation
from smstracker.segments import Segments
from smstracker.sms.phone_numbers import format_international
from smstracker.status import Source

# Short enough for a row of the log; the page of the message has the full words.
_BRIEF_SOURCES = {
    Source.SEND: "send request",
    Source.CALLBACK: "status callback",
    Source.LOOKUP: "look-up",
}
# Characters that cost and cannot be seen. compose.js gets them with the page.
INVISIBLE = {
    "\t": "tab",
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


def init_app(app: Flask) -> None:
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters |= {
        "absolute_time": absolute_time,
        "ago": clock.ago,
        "brief_source": brief_source,
        "duration": clock.in_words,
        "named": named,
        "pretty_json": pretty_json,
        "readable": format_international,
        "segment_line": segment_line,
    }
    app.jinja_env.globals |= {
        "asset": asset,
        "current_user": current_user,
        "documentation": documentation,
        "explaining": explaining,
        "invisible": INVISIBLE,
        "plain_characters": PLAIN,
        "State": status.State,
        "state_words": status.STATE_WORDS,
        "wording": wording,
    }
    app.context_processor(_context)


def _context() -> dict[str, Any]:
    return {"demo": settings().demo, "can_mail": can_mail()}


def absolute_time(moment: datetime) -> str:
    """A moment with its zone; script shows it in the reader's own."""
    return f"{moment:%-d %b %Y, %H:%M:%S} UTC"


def brief_source(message: Message) -> str:
    """How the status of a message is known, in two words."""
    source = message.status_source
    return _BRIEF_SOURCES[Source(source)] if source else "saved here"


def segment_line(count: Segments) -> str:
    """The forecast while typing: "GSM-7 · 1 segment · 43 of 160"; compose.js writes the same."""
    noun = "segment" if count.count == 1 else "segments"
    return f"{count.encoding} · {count.count} {noun} · {count.units} of {count.capacity}"


def named(character: str) -> str:
    """A character as people can see it: itself, or its name and code point."""
    if unicodedata.category(character)[0] not in "CMZ":
        return character
    code_point = f"U+{ord(character):04X}"
    name = INVISIBLE.get(character)
    return f"{name} ({code_point})" if name else code_point


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
