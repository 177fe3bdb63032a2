"""Case folding for the search, the same in Python, SQLite and PostgreSQL. Pure.

Composes letters and accents (Unicode NFC) and lowers Latin, Greek, Cyrillic and Armenian capitals,
one for one: accents stay, and ß does not become ss. Curly quotes become straight ones, and every
space a plain one: keyboards and autocorrection make either. Changing it needs a migration:
PostgreSQL has its own copy, and SQLite's triggers call `fold_text`.
"""

import unicodedata

# Letters that SQLite's Unicode tables lack.
_TOO_NEW = (0x37F, 0x528, 0x52A, 0x52C, 0x52E)
CAPITALS = "".join(
    chr(code)
    for code in range(ord("A"), 0x0557)
    if code not in _TOO_NEW
    and len(chr(code).lower()) == 1
    and chr(code).lower().upper() == chr(code) != chr(code).lower()
)
SMALL = "".join(capital.lower() for capital in CAPITALS)
_APOSTROPHES = "\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4`"
_QUOTES = "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"
_SPACES = "\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
TYPOGRAPHIC = _APOSTROPHES + _QUOTES + _SPACES
PLAIN = "'" * len(_APOSTROPHES) + '"' * len(_QUOTES) + " " * len(_SPACES)
_TABLE = str.maketrans(CAPITALS + TYPOGRAPHIC, SMALL + PLAIN)


def fold_text(text: str) -> str:
    return unicodedata.normalize("NFC", text).translate(_TABLE)
