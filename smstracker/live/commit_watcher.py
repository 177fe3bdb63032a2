"""Tells cheaply whether the database may have changed."""

from typing import cast

from sqlalchemy import Engine
from sqlalchemy.pool import PoolProxiedConnection


class CommitWatcher:
    """Watches SQLite's count of commits; on PostgreSQL, always reports a change.

    Has a connection of its own, because SQLite counts the commits of other connections.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: PoolProxiedConnection | None = None
        self._version: int | None = None

    def has_changed(self) -> bool:
        if self._engine.dialect.name != "sqlite":
            return True
        if self._connection is None:
            # The engine's: it opens the file only if that is the one of this process, still there.
            # SQLite itself would make a new one, and delete the log of the one that was moved.
            self._connection = self._engine.raw_connection()
            self._connection.detach()  # the pool is for those that come and go
        cursor = self._connection.cursor()
        cursor.execute("PRAGMA data_version")
        former, [self._version] = self._version, cast(tuple[int], cursor.fetchone())
        return self._version != former

    def close(self) -> None:
        """Close the connection; the next call of `has_changed` reports a change again."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._version = None, None
