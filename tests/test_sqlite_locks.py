"""SQLite's locks on the file stay while this process looks at the file by itself."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from smstracker.database import sqlite_file
from smstracker.extensions import db
from smstracker.live.commit_watcher import CommitWatcher
from smstracker.privacy.disk_traces import has_traces
from tests.clients import Person

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# Another process ends the write-ahead log, which needs the file for itself.
END_LOG = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0)
print(connection.execute("PRAGMA journal_mode=delete").fetchone()[0])
"""


def is_locked(path: Path) -> bool:
    command = [sys.executable, "-c", END_LOG, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout or "locked" in done.stderr
    return "locked" in done.stderr


def connect_again(_path: Path) -> None:
    with db.engine.connect(), db.engine.connect():
        pass


def connect_by_another_engine(path: Path) -> None:
    sqlite_file.check_log(path)


def search_bytes(_path: Path) -> None:
    assert not has_traces([b"of nobody"])


@pytest.mark.parametrize("look", [connect_again, connect_by_another_engine, search_bytes])
def test_locks_stay(app: Flask, alice: Person, look: Callable[[Path], None]) -> None:
    alice.has_message(status="sent")
    with app.app_context(), db.engine.connect() as connection:
        path = Path(str(db.engine.url.database))
        connection.exec_driver_sql("SELECT count(*) FROM message").one()
        assert Path(f"{path}-wal").stat().st_size
        look(path)
        assert is_locked(path)


@pytest.mark.parametrize("is_noticed", [True, False])
def test_no_connection_makes_a_file_in_the_place_of_one_that_was_moved(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch, is_noticed: bool
) -> None:
    """SQLite would delete the log beside the new, empty file, and with it the newest messages."""
    alice.has_message(status="sent")
    with app.app_context():
        path = Path(str(db.engine.url.database))
        log = Path(f"{path}-wal")
        watcher = CommitWatcher(db.engine)
        assert watcher.has_changed()
        size = log.stat().st_size
        path.rename(f"{path}-moved")
        watcher.close()
        if not is_noticed:  # it is moved after the check
            monkeypatch.setattr(sqlite_file, "check_exists", lambda _path: None)
            monkeypatch.setattr(sqlite_file.OpenSQLiteFile, "check_again", lambda _file: None)
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError):
                watcher.has_changed()
        assert (path.exists(), log.stat().st_size) == (False, size)
        Path(f"{path}-moved").rename(path)
        assert watcher.has_changed()
        watcher.close()


def test_process_without_locks_is_noticed(app: Flask, alice: Person) -> None:
    """What the test above would see if a descriptor were closed."""
    alice.has_message(status="sent")
    with app.app_context(), db.engine.connect():
        path = Path(str(db.engine.url.database))
        with path.open("rb"):
            pass
        assert not is_locked(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
