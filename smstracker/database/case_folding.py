"""Case folding for the search, the same in Python, SQLite and PostgreSQL. Pure.

Composes letters and accents (Unicode NFC) and lowers Latin, Greek, Cyrillic and Armenian capitals,
one for one: accents stay, and ß does not become ss. Curly quotes become straight ones, and spaces
of other widths plain ones: keyboards and autocorrection make either.

Changing it needs a migration that indexes the texts anew: PostgreSQL has its own copy, SQLite's
triggers call `fold_text`, and earlier migrations keep the tables of their time.
"""

import unicodedata

CAPITALS = "".join(
    capital
    for capital in map(chr, range(ord("A"), 0x0557))
    if capital.lower().upper() == capital != capital.lower()
    # SQLite's Unicode tables lack these.
    and capital not in "\u037f\u0528\u052a\u052c\u052e"
)
SMALL = "".join(map(str.lower, CAPITALS))
_APOSTROPHES = "\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4`"
_QUOTES = "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"
_SPACES = "\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
TYPOGRAPHIC = _APOSTROPHES + _QUOTES + _SPACES
PLAIN = "'" * len(_APOSTROPHES) + '"' * len(_QUOTES) + " " * len(_SPACES)
_TABLE = str.maketrans(CAPITALS + TYPOGRAPHIC, SMALL + PLAIN)


def fold_text(text: str) -> str:
    return unicodedata.normalize("NFC", text).translate(_TABLE)
