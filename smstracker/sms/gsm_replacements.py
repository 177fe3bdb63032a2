"""Cheaper characters for costly ones, and whether they save a segment. Pure.

compose.js follows the same rules while somebody types, with the tables of here.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from smstracker.sms.segments import count_segments, is_gsm

# The same text to a reader's eye: quotes, dashes, dots and blanks. All of GSM-7.
LOOK_ALIKE = (
    dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2035`\u00b4\u02b9\u02bc", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212", "-")
    | dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009", " ")
    | dict.fromkeys("\u200a\u202f\u205f\u3000\t", " ")
    | dict.fromkeys("\x0b\x85\u2028\u2029", "\n")
    | {"\u2022": "*", "\u2044": "/", "\u2215": "/", "\u2236": ":", "\u2039": "<", "\u203a": ">"}
    | {"\u2206": "Δ", "\u2211": "Σ", "\u220f": "Π", "\u223c": "~", "\u02c6": "^", "\u02dc": "~"}
    # Joiners (\u200c, \u200d) stay: they shape letters and hold emoji together.
    | dict.fromkeys("\u00ad\u200b\u2060\ufeff", "")
)
# Characters whose compatibility form (NFKC) looks the same: dots, ligatures, digraphs, numerals,
# full-width letters, letters of mathematics. Not ², ½ or ①, which would make another number.
COMPATIBLE = (
    "\u0132\u0133\u0149\u01c7-\u01cc\u01f1-\u01f3\u2024-\u2026\u203c\u2047-\u2049"
    "\u2102\u210a-\u210e\u2110-\u2113\u2115\u2119-\u211d\u2124\u2128\u212c\u212d\u212f-\u2131"
    "\u2133\u2134\u2139\u2160-\u217f\ufb00-\ufb06\uff01-\uff5e\uffe1\uffe5\U0001d400-\U0001d7ff"
)
# Another spelling, so it is offered letter by letter and never replaced with all the rest. Beside
# these, any letter without its accents.
SPELLING = {"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ħ": "h", "Ħ": "H", "ı": "i"} | {
    "œ": "oe",
    "Œ": "OE",
    "ẞ": "ß",
    "µ": "u",
    "μ": "u",
}
LONGEST = 10_000  # characters that are looked at; far more than can be sent
PLAIN = {"lookAlike": LOOK_ALIKE, "compatible": COMPATIBLE, "spelling": SPELLING} | {
    "longest": LONGEST
}
_COMPATIBLE = re.compile(f"[{COMPATIBLE}]")
_JAMO = range(0x1160, 0x1200)  # vowels and finals, which follow a consonant


@dataclass(frozen=True, slots=True)
class Replacement:
    """A piece that costs more and its replacement, None if there is none; it occurs `times`."""

    piece: str
    times: int
    replacement: str | None
    changes_spelling: bool = False


@dataclass(frozen=True, slots=True)
class CostAdvice:
    """With all of `offers` the text has `after` segments, fewer than `before`.

    `plain` is that text if nothing in it is spelled in another way or left out. An offer without a
    replacement has to be left out.
    """

    before: int
    after: int
    offers: tuple[Replacement, ...]
    plain: str | None = None


def cost_advice(text: str) -> CostAdvice | None:
    """The least change that saves a segment; None if nothing does, or the text is no message."""
    if len(text) > LONGEST:
        return None
    before, parts = count_segments(text).count, pieces(text)
    looks = [_advice(before, parts, change) for change in (shorter, look_alike)]
    saving = [advice for advice in looks if advice]
    if saving:
        return min(saving, key=lambda advice: advice.after)
    return _advice(before, parts, spelled) or _advice(before, parts, left_out)


def replace_characters(text: str) -> str:
    """`text` with cheaper characters that look alike, if that saves a segment."""
    advice = cost_advice(text)
    return text if advice is None or advice.plain is None else advice.plain


def pieces(text: str) -> list[str]:
    """The characters, each with the marks and vowels that belong to it."""
    found: list[str] = []
    for character in text:
        if found and (_is_mark(character) or ord(character) in _JAMO):
            found[-1] += character
        else:
            found.append(character)
    return found


def look_alike(piece: str) -> str:
    """What looks the same and costs less, or `piece` itself."""
    if is_gsm(piece):
        return piece
    composed = unicodedata.normalize("NFC", piece)
    for cheaper in ("".join(map(_letter, composed)), composed):
        if _weight(cheaper) < _weight(piece):
            return cheaper
    return piece


def shorter(piece: str) -> str:
    """The look-alike where it also saves room beside characters that stay costly."""
    replacement = look_alike(piece)
    return replacement if _length(replacement) < _length(piece) else piece


def spelled(piece: str) -> str:
    """The look-alike or, if there is none that costs nothing, a spelling without accents."""
    replacement = look_alike(piece)
    if is_gsm(replacement):
        return replacement
    base, *marks = list(unicodedata.normalize("NFD", piece))
    bare = SPELLING.get(base, base)
    return bare if is_gsm(bare) and all(map(_is_mark, marks)) else replacement


def left_out(piece: str) -> str:
    """The other spelling, or nothing for a symbol that has none; letters stay."""
    replacement = spelled(piece)
    has_letter = any(unicodedata.category(character).startswith("L") for character in piece)
    return replacement if is_gsm(replacement) or has_letter else ""


def _advice(before: int, parts: list[str], change: Callable[[str], str]) -> CostAdvice | None:
    """What changing each piece so comes to; None if that saves no segment.

    While any costly character stays, only what is shorter saves room.
    """
    changed = {part: change(part) for part in dict.fromkeys(parts)}
    text, times = "".join(changed[part] for part in parts), Counter(parts)
    after = count_segments(text).count
    if after >= before or not text.strip() or not (change is shorter or is_gsm(text)):
        return None
    offers = tuple(
        _offer(part, times[part], replacement)
        for part, replacement in changed.items()
        if replacement != part
    )
    is_plain = change in (shorter, look_alike)
    return CostAdvice(before, after, offers, text if is_plain else None)


def _offer(piece: str, times: int, replacement: str) -> Replacement:
    looks, spelling = look_alike(piece), spelled(piece)
    if replacement not in (looks, spelling):
        return Replacement(piece, times, None)
    return Replacement(piece, times, replacement, changes_spelling=replacement != looks)


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
