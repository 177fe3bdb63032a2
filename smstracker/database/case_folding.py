"""Texts folded for the search, alike in Python, SQLite and PostgreSQL. Pure.

Letters and their accents are composed (Unicode NFC), and capitals made small: Latin, Greek,
Cyrillic and Armenian letters, one for one; an accent stays, and ß is not ss. Migrations hold the
same for PostgreSQL and call `fold_text` from SQLite's triggers, so it must not change without one.
"""

import unicodedata

# Letters that the tables of SQLite are too old for.
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
