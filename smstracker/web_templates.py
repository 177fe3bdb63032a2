"""Filters and globals of the templates: times, numbers, wording, asset URLs."""

import hashlib
import json
import unicodedata
from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from flask import Flask, url_for
from flask_login import current_user

from smstracker import clock
from smstracker.command_name import COMMAND, START_WORKER
from smstracker.extensions import settings
from smstracker.mailer import current_mailer
from smstracker.messages import describe, failure_advice, send_pauses
from smstracker.models import Message
from smstracker.plurals import format_count, pluralize
from smstracker.sms import status
from smstracker.sms.error_guide import address_administrator, documentation_url
from smstracker.sms.gsm_replacements import (
    BROWSER_TABLES,
    INVISIBLE,
    INVISIBLE_REPLACEMENTS,
    CostAdvice,
    Replacement,
)
from smstracker.sms.numbering_plan import format_international
from smstracker.sms.segments import Segments
from smstracker.sms.status import Source
from smstracker.web.form_drafts import draft_address
from smstracker.web.reader_settings import reader_settings, reader_zone

# No line begins with a dot: the blank before it does not break.
# The forecast of an MMS, which has no segments; the page passes it to compose.js.
MMS_LINE = "MMS\u00a0· charged by the message, not by segments"


def init_app(app: Flask) -> None:
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters |= {
        "absolute_time": format_absolute_time,
        "adapt_to_reader": adapt_to_reader,
        "advice_line": advice_line,
        "age": clock.format_age,
        "brief_source": brief_source,
        "exact_duration": clock.format_exact_duration,
        "format_count": format_count,
        "offer_line": offer_line,
        "pluralize": pluralize,
        "pretty_json": pretty_json,
        "relative_time": format_relative_time,
        "readable": format_international,
        "mms_line": mms_line,
        "segment_line": segment_line,
    }
    app.jinja_env.globals |= {
        "asset": asset,
        "command": COMMAND,
        "start_worker": START_WORKER,
        "current_user": current_user,
        "documentation": documentation_url,
        "draft_address": draft_address,
        "failure_advice": failure_advice,
        "reader_zone": reader_zone,
        "mms_label": MMS_LINE,
        "plain_characters": BROWSER_TABLES,
        "State": status.State,
        "OUTBOX": status.OUTBOX,
        "source_names": status.SOURCE_NAMES,
        "state_words": status.STATE_WORDS,
        "describe": describe,
        "send_pauses": send_pauses,
    }
    app.context_processor(_context)


def _context() -> dict[str, object]:
    return {"demo": settings().demo, "can_mail": current_mailer().can_send}


def format_absolute_time(moment: datetime) -> str:
    """A time in the zone that the reader has set, or in UTC; times.js shows it in the browser's."""
    return format_time_in_zone(reader_zone() or "UTC", moment)


def format_time_in_zone(zone: str, moment: datetime) -> str:
    return f"{moment.astimezone(ZoneInfo(zone)):%-d %b %Y, %H:%M:%S %Z}"


def format_relative_time(moment: datetime, now: datetime) -> str:
    """The age of a time; a short exact time for readers who have set that."""
    if not reader_settings().shows_exact_times:
        return clock.format_age(moment, now)
    zone = ZoneInfo(reader_zone() or "UTC")
    local = moment.astimezone(zone)
    year = "" if local.year == now.astimezone(zone).year else " %Y"
    return f"{local:%-d %b{year}, %H:%M:%S}"


def adapt_to_reader(text: str) -> str:
    """A text that mentions the administrator, in the second person for administrators."""
    is_administrator = current_user.is_authenticated and current_user.administrator
    return address_administrator(text) if is_administrator else text


def brief_source(message: Message) -> str:
    """How the status of a message is known, short enough for a row of the log."""
    source = message.status_source
    return status.SOURCE_NAMES[Source(source)] if source else "saved here"


def segment_line(count: Segments, is_too_long: bool = False) -> str:
    """The forecast of a text: "GSM-7 · 1 segment · 43 of 160"; compose.js writes the same."""
    room = "" if is_too_long else f"\u00a0· {count.units:,} of {count.capacity:,}"
    return f"{count.encoding}\u00a0· {format_count(count.count, 'segment')}{room}"


def mms_line(text: str, max_characters: int) -> str:
    """The forecast of a message with pictures; compose.js writes the same."""
    return f"{MMS_LINE}\u00a0· {len(text):,} of {max_characters:,} characters"


def advice_line(advice: CostAdvice) -> str:
    """The cost of the characters listed after it; compose.js writes the same."""
    are_replaceable = [offer.replacement is not None for offer in advice.offers]
    way = "with all of them replaced" if any(are_replaceable) else "without them"
    if any(are_replaceable) and not all(are_replaceable):
        way += " or left out"
    return f"These characters make it cost more ({advice.before} segments, {advice.after} {way}):"


def offer_line(offer: Replacement) -> str:
    """A costly piece, its number and its replacement; compose.js writes the same."""
    words = f"{describe_piece(offer.piece)} ×{offer.times}"
    if offer.replacement is None:
        return words
    replacement = INVISIBLE_REPLACEMENTS.get(offer.replacement, offer.replacement)
    return f"{words} → {replacement}{' (changes the spelling)' if offer.changes_spelling else ''}"


def describe_piece(piece: str) -> str:
    """A character and its marks if visible, otherwise its name and code points."""
    code_points = " ".join(f"U+{ord(character):04X}" for character in piece)
    if all(unicodedata.category(character)[0] in "CMZ" for character in piece):
        name = INVISIBLE.get(piece)
        return f"{name} ({code_points})" if name else code_points
    composed = unicodedata.normalize("NFC", piece)
    return piece if composed == piece else f"{composed} ({code_points})"


def pretty_json(value: object) -> str:
    """JSON, indented, with letters unescaped."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def asset(name: str) -> str:
    """The URL of a static file, with a hash of its content: browsers may cache it for long."""
    return url_for("static", filename=name, v=_fingerprint(name))


@cache
def _fingerprint(name: str) -> str:
    content = (Path(__file__).parent / "static" / name).read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]
