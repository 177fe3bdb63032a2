"""Capitals made small for the search, alike in Python, SQLite and PostgreSQL. Pure.

Latin, Greek, Cyrillic and Armenian letters, one for one; an accent stays, and ß is not ss. The
migration holds the same letters for PostgreSQL, so they must not change without one.
"""

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
    return text.translate(_TABLE)
