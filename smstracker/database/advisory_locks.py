"""Advisory locks of keys such as SIDs, held until the transaction ends.

They serialise what no row stands for yet. SQLite, which has one writer, needs none.
"""

import zlib
from collections.abc import Iterable

from sqlalchemy import func, select, text
from sqlalchemy.engine import Connection

_TRY_TO_LOCK = text("""
    SELECT key FROM unnest(CAST(:keys AS text[]), CAST(:numbers AS bigint[])) AS lock (key, number)
    WHERE NOT pg_try_advisory_xact_lock(number)
""")

_LOCK = text("""
    SELECT pg_advisory_xact_lock(number)
    FROM (SELECT unnest(CAST(:numbers AS bigint[])) AS number ORDER BY number) AS lock
""")


def lock_keys(connection: Connection, keys: Iterable[str]) -> None:
    """Lock several, in one order."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK, {"numbers": [*map(_lock_number, keys)]})


def lock_key(connection: Connection, key: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_lock_number(key))))


def try_to_lock_keys(connection: Connection, keys: Iterable[str]) -> set[str]:
    """Lock without waiting; return the keys that another transaction has locked."""
    if connection.dialect.name != "postgresql":
        return set()
    numbers = {key: _lock_number(key) for key in keys}
    parameters = {"keys": [*numbers], "numbers": [*numbers.values()]}
    return set(connection.scalars(_TRY_TO_LOCK, parameters))


def _lock_number(key: str) -> int:
    return zlib.crc32(key.encode())
