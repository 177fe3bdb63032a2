"""Case folding for the search, the same in Python, SQLite and PostgreSQL. Pure.

Composes letters and accents (Unicode NFC) and lowers Latin, Greek, Cyrillic and Armenian capitals,
one for one: accents stay, and ß does not become ss. Changing it needs a migration: PostgreSQL has
its own copy, and SQLite's triggers call `fold_text`.
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
_TABLE = str.maketrans(CAPITALS, SMALL)


def fold_text(text: str) -> str:
    return unicodedata.normalize("NFC", text).translate(_TABLE)
