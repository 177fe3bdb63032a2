"""Tells cheaply whether the database may have changed."""

import sqlite3
from contextlib import suppress

from sqlalchemy import Engine


class CommitWatcher:
    """Watches SQLite's count of commits; on PostgreSQL, always reports a change.

    Has a connection of its own, because SQLite counts the commits of other connections.
    """

    def __init__(self, engine: Engine) -> None:
        self._path = engine.url.database if engine.dialect.name == "sqlite" else None
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None

    def has_changed(self) -> bool:
        if self._path is None:
            return True
        if self._connection is None:
            is_uri = self._path.startswith("file:")
            self._connection = sqlite3.connect(self._path, isolation_level=None, uri=is_uri)
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        has_changed, self._version = version != self._version, version
        return has_changed

    def close(self) -> None:
        """Close the connection; the next call of `has_changed` reports a change again."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection, self._version = None, None
