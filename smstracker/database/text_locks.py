"""Locks of texts such as SIDs, held until the transaction ends.

They serialise what no row stands for yet. SQLite, which has one writer, needs none.
"""

import zlib
from collections.abc import Iterable

from sqlalchemy import func, select, text
from sqlalchemy.engine import Connection

_TRY_TO_LOCK = text("""
    SELECT name FROM unnest(CAST(:names AS text[]), CAST(:keys AS bigint[])) AS wanted (name, key)
    WHERE NOT pg_try_advisory_xact_lock(key)
""")


def lock_texts(connection: Connection, texts: Iterable[str]) -> None:
    if connection.dialect.name == "postgresql":
        for key in sorted({_lock_key(name) for name in texts}):
            connection.execute(select(func.pg_advisory_xact_lock(key)))


def try_to_lock_texts(connection: Connection, texts: Iterable[str]) -> set[str]:
    """Lock without waiting; return the texts that another transaction has locked."""
    if connection.dialect.name != "postgresql":
        return set()
    keys = {name: _lock_key(name) for name in texts}
    return set(connection.scalars(_TRY_TO_LOCK, {"names": [*keys], "keys": [*keys.values()]}))


def _lock_key(name: str) -> int:
    return zlib.crc32(name.encode())
