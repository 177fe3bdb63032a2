"""Cheaper characters for costly ones, if they save a segment. Pure.

compose.js applies the same rules and tables, which are in gsm_replacements.toml, while somebody
types.
"""

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from smstracker.sms.segments import SEGMENT_TABLES, count_segments, is_gsm

_tables = tomllib.loads(Path(__file__).with_name("gsm_replacements.toml").read_text("utf-8"))
LOOK_ALIKE: dict[str, str] = {
    costly: cheaper
    for cheaper, costly_characters in _tables["look_alikes"].items()
    for costly in costly_characters
}
SHAPING: str = _tables["shaping"]
COMPATIBLE: str = _tables["compatible"]
SPELLING: dict[str, str] = _tables["spelling"]
INVISIBLE: dict[str, str] = _tables["invisible"]
INVISIBLE_REPLACEMENTS: dict[str, str] = _tables["invisible_replacements"]
MAX_CHARACTERS = 10_000  # far more than can be sent
BROWSER_TABLES = SEGMENT_TABLES | {
    "lookAlike": LOOK_ALIKE,
    "shaping": SHAPING,
    "compatible": COMPATIBLE,
    "spelling": SPELLING,
    "invisible": INVISIBLE,
    "invisible_replacements": INVISIBLE_REPLACEMENTS,
    "longest": MAX_CHARACTERS,
}
_COMPATIBLE = re.compile(f"[{COMPATIBLE}]")
_JAMO = range(0x1160, 0x1200)  # vowels and finals, which follow a consonant


@dataclass(frozen=True, slots=True)
class Replacement:
    """A costly piece that occurs `times`, and its replacement; None to leave the piece out."""

    piece: str
    times: int
    replacement: str | None
    changes_spelling: bool = False


@dataclass(frozen=True, slots=True)
class CostAdvice:
    """All `offers` together reduce the text from `before` to `after` segments.

    `plain` is the resulting text, None if that changes spelling or leaves something out.
    """

    before: int
    after: int
    offers: tuple[Replacement, ...]
    plain: str | None = None


def cost_advice(text: str, sender: str | None = None) -> CostAdvice | None:
    """Return the least change that saves a segment; None if none does or the text is too long."""
    if len(text) > MAX_CHARACTERS:
        return None
    parts, advise = split_pieces(text), partial(_advice, text, sender)
    harmless = [advise(parts, change) for change in (shorter_look_alike, plain_look_alike)]
    if saving := [advice for advice in harmless if advice]:
        return min(saving, key=lambda advice: advice.after)
    return advise(parts, strip_accents) or advise(parts, strip_symbol)


def replace_characters(text: str, sender: str | None = None) -> str:
    """Replace costly characters by look-alikes if that saves a segment."""
    advice = cost_advice(text, sender)
    return text if advice is None or advice.plain is None else advice.plain


def split_pieces(text: str) -> list[str]:
    """Split a text into characters, each with its combining marks and vowels."""
    pieces: list[str] = []
    for character in text:
        if pieces and (_is_mark(character) or ord(character) in _JAMO):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


def look_alike(piece: str) -> str:
    """Return a cheaper look-alike, or `piece` itself."""
    if is_gsm(piece):
        return piece
    composed = unicodedata.normalize("NFC", piece)
    for cheaper in ("".join(map(_letter, composed)), composed):
        if _weight(cheaper) < _weight(piece):
            return cheaper
    return piece


def shorter_look_alike(piece: str) -> str:
    """Return the look-alike if it is shorter: that saves room even in UCS-2."""
    replacement = look_alike(piece)
    return replacement if _length(replacement) < _length(piece) else piece


def plain_look_alike(piece: str) -> str:
    """Return the look-alike in a text that becomes GSM-7, where nothing is left to be shaped."""
    return "" if piece in SHAPING else look_alike(piece)


def strip_accents(piece: str) -> str:
    """Return the GSM-7 look-alike or, if there is none, the spelling without accents."""
    replacement = plain_look_alike(piece)
    if is_gsm(replacement):
        return replacement
    base, *marks = list(unicodedata.normalize("NFD", piece))
    bare = SPELLING.get(base, base)
    return bare if is_gsm(bare) and all(map(_is_mark, marks)) else replacement


def strip_symbol(piece: str) -> str:
    """Return the spelling without accents, or nothing for a costly symbol; letters stay."""
    replacement = strip_accents(piece)
    has_letter = any(unicodedata.category(character).startswith("L") for character in piece)
    return replacement if is_gsm(replacement) or has_letter else ""


def _advice(
    typed: str, sender: str | None, parts: list[str], change: Callable[[str], str]
) -> CostAdvice | None:
    """Advise on changing each piece of a text by `change`; None if that saves no segment.

    While a costly character stays, only shorter look-alikes save room.
    """
    changed = {part: change(part) for part in dict.fromkeys(parts)}
    text, times = "".join(changed[part] for part in parts), Counter(parts)
    before, after = (count_segments(version, sender).count for version in (typed, text))
    if after >= before or not text.strip() or not (change is shorter_look_alike or is_gsm(text)):
        return None
    offers = tuple(_offer(part, times, change) for part, new in changed.items() if new != part)
    is_plain = change in (shorter_look_alike, plain_look_alike)
    return CostAdvice(before, after, offers, text if is_plain else None)


def _offer(piece: str, times: Counter[str], change: Callable[[str], str]) -> Replacement:
    replacement, same_look = change(piece), plain_look_alike(piece)
    may_shape_symbol = change is strip_symbol and piece in SHAPING
    if may_shape_symbol or replacement not in (same_look, strip_accents(piece)):
        return Replacement(piece, times[piece], None)
    return Replacement(piece, times[piece], replacement, changes_spelling=replacement != same_look)


def _letter(character: str) -> str:
    if not _COMPATIBLE.fullmatch(character):
        return LOOK_ALIKE.get(character, character)
    compatible = unicodedata.normalize("NFKC", character)
    return "".join(LOOK_ALIKE.get(letter, letter) for letter in compatible)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _weight(piece: str) -> tuple[bool, int]:
    return not is_gsm(piece), _length(piece)


def _length(piece: str) -> int:
    """UTF-16 code units."""
    return sum(1 + (ord(character) > 0xFFFF) for character in piece)
