"""Turns of threads and processes at SQLite's file."""

import errno
import fcntl
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import IntegrityError, OperationalError

from smstracker.database import engine as engines
from smstracker.database.problems import LOCKED, explain
from smstracker.database.sqlite_file import sole_migration
from smstracker.database.sqlite_turns import Turns, TurnTakingConnection, TurnTimeoutError
from smstracker.extensions import db
from smstracker.settings.database_url import sqlite_path
from tests.clients import Person
from tests.stream_readers import wait_until

HOLDER = """
import sys, time
from pathlib import Path
from smstracker.database.sqlite_file import sole_migration
from smstracker.database.sqlite_turns import Turns
Turns(Path(sys.argv[1])).take(5)
print("holds", flush=True)
time.sleep(60)
"""
ROOT = Path(__file__).parents[1]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def database(app: Flask) -> Path:
    with app.app_context():
        path = sqlite_path(db.engine.url)
    assert path is not None
    return path


def write(app: Flask) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE user SET email = email"))


@pytest.fixture
def holder(app: Flask) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the turn."""
    command = [sys.executable, "-c", HOLDER, str(database(app))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


@pytest.mark.slow
def test_write_waits_for_another_process_and_goes_on_when_it_is_killed(
    app: Flask, holder: subprocess.Popen[str]
) -> None:
    with ThreadPoolExecutor(1) as threads:
        written = threads.submit(write, app)
        with pytest.raises(TimeoutError):
            written.result(timeout=0.3)
        holder.send_signal(signal.SIGKILL)
        written.result(timeout=2)


def test_write_that_waits_too_long_fails_as_with_a_locked_database(
    app: Flask, holder: subprocess.Popen[str]
) -> None:
    def hurry(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("PRAGMA busy_timeout = 50")

    with app.app_context():
        db.engine.dispose()
        event.listen(db.engine, "connect", hurry)
    with pytest.raises(OperationalError, match="database is locked") as caught:
        write(app)
    assert explain(caught.value) is LOCKED
    holder.kill()
    holder.wait()
    write(app)


def test_reading_takes_no_turn(app: Flask, holder: subprocess.Popen[str]) -> None:
    with app.app_context(), engines.reading_connection(db.engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM user")) == 0
    assert holder.poll() is None


@pytest.mark.parametrize("ending", ["commit", "rollback", "close", "failed statement"])
def test_turn_ends_with_the_transaction(app: Flask, ending: str) -> None:
    with app.app_context():
        connection = db.engine.connect()
        connection.execute(text("UPDATE user SET email = email"))
        if ending == "failed statement":
            with pytest.raises(OperationalError):
                connection.execute(text("UPDATE nothing SET a = 1"))
        getattr(connection, "close" if ending == "failed statement" else ending)()
        started_at = time.monotonic()
        write(app)
        assert time.monotonic() - started_at < 4, "it waited for a turn that nobody has"
        connection.close()


def test_turn_outlasts_a_commit_that_fails_until_the_rollback(app: Flask, alice: Person) -> None:
    alice.has_message()
    with app.app_context(), db.engine.connect() as connection:
        connection.execute(text("PRAGMA defer_foreign_keys = on"))
        connection.execute(text("DELETE FROM user"))
        with pytest.raises(IntegrityError):
            connection.commit()
        with pytest.raises(TurnTimeoutError):
            Turns(database(app)).take(0.05)
        connection.rollback()
    write(app)


def test_without_a_lock_file_it_says_so_once_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    turns = Turns(Path("/dev/null/smstracker.sqlite"))
    for _ in range(2):
        turns.take(1)
        turns.release()
    assert caplog.messages == ["no_turns_on_sqlite"]


def test_file_system_without_locks_is_said_once_and_does_no_harm(
    app: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write(app)
    write(app)
    assert caplog.messages == ["no_turns_on_sqlite"]


def test_lock_file_is_private(app: Flask) -> None:
    write(app)
    assert Path(f"{database(app)}-turn").stat().st_mode & 0o777 == 0o600


def test_connection_to_memory_has_no_turns() -> None:
    connection = sqlite3.connect(":memory:", factory=TurnTakingConnection)
    connection.take_turn()
    connection.close()


def test_migration_says_that_it_waits_for_the_lock_of_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(1) as threads, sole_migration(tmp_path / "a.sqlite"):
        second = threads.submit(migrate_alone, tmp_path / "b.sqlite")
        wait_until(lambda: "waits_for_lock" in caplog.messages)
        assert not second.done()
    assert second.result(30) is None


def migrate_alone(path: Path) -> None:
    with sole_migration(path):
        pass


def test_only_sqlite_has_a_file() -> None:
    assert sqlite_path(make_url("sqlite:///d")) == Path("d")
    assert sqlite_path(make_url("postgresql+psycopg://u@127.0.0.1/d")) is None
