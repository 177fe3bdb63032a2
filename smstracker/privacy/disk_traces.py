"""Traces of deleted rows in the files of a SQLite database.

`PRAGMA secure_delete` overwrites a deleted row. It leaves copies in the write-ahead log, words in
the text index, where a deletion is only noted, and now and then a copy in the unused part of a
page, from when SQLite moved rows. docs/privacy.md says what removes those of PostgreSQL.
"""

import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import cast

from sqlalchemy import text

from smstracker.database.engine import BUSY_TIMEOUT_MS, reading_connection
from smstracker.database.sqlite_file import keep_open
from smstracker.database.sqlite_turns import TurnTakingConnection
from smstracker.extensions import db, is_sqlite
from smstracker.models.removals import CounterName, RemovalCounter
from smstracker.privacy.portions import Portion, run_portions
from smstracker.settings.database_url import sqlite_path

# FTS5 merges all segments, in steps of so many pages at least; few, as each step is a transaction.
_MERGE = text("INSERT INTO message_fts (message_fts, rank) VALUES ('merge', :pages)")
MERGED_PAGES = 8
BLOCK_BYTES = 2**20


def truncate_log() -> bool:
    """Empty SQLite's write-ahead log; False if a reader still needs it. No-op on PostgreSQL."""
    if not is_sqlite():
        return True
    with _turn() as connection:
        connection.execute("PRAGMA busy_timeout=0")
        try:
            is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError:
            return False
        finally:
            connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    return not is_busy


@contextmanager
def _turn() -> Iterator[sqlite3.Connection]:
    """A connection outside any transaction, while nobody else may write."""
    pooled = db.engine.raw_connection()
    connection = cast(TurnTakingConnection, pooled.driver_connection)
    try:
        connection.set_query_only(False)
        # Does most of the work beforehand, and holds up nobody.
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        connection.take_turn()
        yield connection
    finally:
        connection.rollback()  # gives the turn back
        pooled.close()


def clean_text_index(_last_done: datetime | None) -> Iterator[int]:
    """Merge SQLite's text index in small steps, so that it loses the words of deleted texts.

    A job of the worker; it does nothing if no text was deleted since the last time.
    """
    with reading_connection(db.engine) as connection:
        cleaned = RemovalCounter.read(connection, CounterName.CLEANED)
        removed = RemovalCounter.read(connection, CounterName.BLANKED)
        removed += RemovalCounter.read(connection, CounterName.DELETED)
    if removed == cleaned or not is_sqlite():
        return
    with db.engine.begin() as connection:
        # A negative number begins: it makes one level of all segments.
        connection.execute(_MERGE, {"pages": -MERGED_PAGES})
    yield from run_portions(_merge_segments)
    with db.engine.begin() as connection:
        RemovalCounter.advance(connection, CounterName.CLEANED, cleaned, removed)
    truncate_log()


def _merge_segments(portion: Portion) -> int:
    """Merge a few pages; return 0 once nothing is left to be merged."""
    with portion.turn() as connection:
        driver_connection = cast(sqlite3.Connection, connection.connection.driver_connection)
        changes_before = driver_connection.total_changes
        connection.execute(_MERGE, {"pages": MERGED_PAGES})
        change_count = driver_connection.total_changes - changes_before
    return change_count if change_count > 1 else 0  # the command itself is one


def has_traces(needles: Collection[bytes]) -> bool:
    """Whether the database files still hold any of some byte strings; False on PostgreSQL."""
    path = sqlite_path(db.engine.url)
    if path is None:
        return False
    with suppress(FileNotFoundError), Path(f"{path}-wal").open("rb") as log:
        if _contains(log.fileno(), needles):
            return True
    return _contains(keep_open(path), needles)


def _contains(file: int, needles: Collection[bytes]) -> bool:
    # Not by mmap: it closes a descriptor of its own, see keep_open.
    overlap = max(map(len, needles), default=0)
    for position in range(0, os.fstat(file).st_size, BLOCK_BYTES):
        block = os.pread(file, BLOCK_BYTES + overlap, position)
        if any(needle in block for needle in needles):
            return True
    return False


def vacuum() -> None:
    """Write the SQLite file anew, without unused parts; nobody else writes meanwhile.

    Nor with words of deleted texts in the index of texts, which it would copy.
    """
    if is_sqlite():
        for _ in clean_text_index(None):
            pass
        with _turn() as connection:
            connection.execute("VACUUM")
        truncate_log()
