"""Write transactions on SQLite take turns, between the threads and processes of the app.

SQLite lets those that wait for its write lock sleep ever longer, so that some wait for seconds. A
lock on a file beside the database passes within a millisecond. The kernel releases the lock of a
process that ends.
"""

import fcntl
import logging
import os
import sqlite3
import time
from pathlib import Path
from threading import Lock

log = logging.getLogger(__name__)

POLL_SECONDS = 0.0005


class TurnTimeoutError(sqlite3.OperationalError):
    """What SQLite raises when its write lock does not become free in time."""

    sqlite_errorcode = sqlite3.SQLITE_BUSY

    def __init__(self) -> None:
        super().__init__("database is locked")


class Turns:
    """The turns of one process at a database file; one thread has the turn at a time."""

    def __init__(self, database: Path) -> None:
        self._path = Path(f"{database}-turn")
        self._threads = Lock()
        self._file: int | None = None
        self._may_log = True

    def take(self, max_wait_seconds: float) -> None:
        """Wait for the turn. Raises TurnTimeoutError."""
        deadline = time.monotonic() + max_wait_seconds
        if not self._threads.acquire(timeout=max_wait_seconds):
            raise TurnTimeoutError
        try:
            self._file = self._open_file()
            while self._file is not None and not self._lock(self._file):
                if time.monotonic() > deadline:
                    raise TurnTimeoutError
                time.sleep(POLL_SECONDS)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
        self._threads.release()

    def _open_file(self) -> int | None:
        """Open the file anew for each turn, as a fork would share it; None if that fails."""
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            self._go_on_without(error)
            return None

    def _lock(self, file: int) -> bool:
        """Try to lock; True on a file system that has no locks as well."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            self._go_on_without(error)
        return True

    def _go_on_without(self, error: OSError) -> None:
        """Say so once. SQLite's own lock keeps the data right; only the waits get longer."""
        if self._may_log:
            log.warning("no_turns_on_sqlite", extra={"reason": error.strerror})
        self._may_log = False


class TurnTakingConnection(sqlite3.Connection):
    """A connection that keeps the turn until its transaction ends."""

    turns: Turns | None = None
    _has_turn = False
    _is_query_only = False

    def set_query_only(self, is_query_only: bool) -> None:
        """Let SQLite refuse to write, or allow it again; between two transactions."""
        if is_query_only != self._is_query_only:
            self.execute(f"PRAGMA query_only={int(is_query_only)}")
            self._is_query_only = is_query_only

    def take_turn(self) -> None:
        """Wait for the turn as long as SQLite would wait for its lock. Raises TurnTimeoutError."""
        if self.turns is not None:
            [milliseconds] = self.execute("PRAGMA busy_timeout").fetchone()
            self.turns.take(milliseconds / 1000)
            self._has_turn = True

    def _release_turn(self) -> None:
        if self.turns is not None and self._has_turn:
            self._has_turn = False
            self.turns.release()

    def commit(self) -> None:
        try:
            super().commit()
        finally:
            # After a failed commit the transaction may last, until it is rolled back.
            if not self.in_transaction:
                self._release_turn()

    def rollback(self) -> None:
        try:
            super().rollback()
        finally:
            self._release_turn()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._release_turn()
