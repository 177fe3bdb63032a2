"""The files beside a SQLite file in use: noticed once deleted, and no stored callback is lost."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

from config import ROOT
from smstracker.extensions import db
from smstracker.live.commit_watcher import CommitWatcher
from smstracker.worker.loop import Worker
from tests.alert_scenes import found
from tests.clients import Person
from tests.live_settings import live_environment
from tests.serving import close
from tests.signing import call_back, fields, sid

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

SENTENCE = "was deleted or replaced while smstracker was running"
LOGS = [("-wal",), ("-shm",), ("-wal", "-shm")]


@pytest.fixture
def path(app: Flask, alice: Person) -> Path:
    """The file of an app that has stored a callback, which only its log holds yet."""
    alice.has_message(twilio_sid=sid(1), status="sent")
    assert call_back(app.test_client(), fields(sid(1), "delivered")).status_code == 204
    return Path(app.config["SETTINGS"].database_url.removeprefix("sqlite:///"))


def delete_logs(path: Path, suffixes: tuple[str, ...]) -> None:
    for suffix in suffixes:
        Path(f"{path}{suffix}").unlink()


def flask(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in another process."""
    command = [sys.executable, "-m", "flask", "--app", "wsgi", *arguments]
    env = live_environment(DATABASE_URL=f"sqlite:///{path}")
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("suffixes", LOGS)
@pytest.mark.parametrize("is_replaced", [False, True])
def test_process_whose_log_is_gone_acknowledges_nothing_until_it_ends(
    make_app: Callable[..., Flask],
    app: Flask,
    path: Path,
    suffixes: tuple[str, ...],
    is_replaced: bool,
) -> None:
    delete_logs(path, suffixes)
    if is_replaced:
        for suffix in suffixes:
            Path(f"{path}{suffix}").touch()
    client = app.test_client()
    assert call_back(client, fields(sid(1), "read")).status_code == 503
    assert SENTENCE in client.get("/readyz").json["problem"]
    with app.app_context(), pytest.raises(OperationalError):
        Worker().run()
    close(app)
    client = make_app().test_client()
    assert client.get("/readyz").status_code == 200
    assert call_back(client, fields(sid(1), "read")).status_code == 204


@pytest.mark.parametrize("suffixes", [("-wal",), ("-wal", "-shm")])
def test_what_a_deleted_log_holds_is_in_the_file_once_that_is_noticed(
    app: Flask, path: Path, tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    delete_logs(path, suffixes)
    assert app.test_client().get("/readyz").status_code == 503
    shutil.copy(path, tmp_path / "alone.sqlite")
    with closing(sqlite3.connect(tmp_path / "alone.sqlite")) as connection:
        assert connection.execute("SELECT status FROM message").fetchall() == [("delivered",)]


@pytest.mark.parametrize("suffixes", [("-wal",), ("-wal", "-shm")])
def test_what_a_replaced_log_holds_is_in_a_copy(
    app: Flask, path: Path, suffixes: tuple[str, ...]
) -> None:
    delete_logs(path, suffixes)
    for suffix in suffixes:
        Path(f"{path}{suffix}").touch()
    for _ in range(2):
        assert app.test_client().get("/readyz").status_code == 503
    [copy] = path.parent.glob(f"{path.name}-saved*")
    assert copy.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT status FROM message").fetchall() == [("delivered",)]


@pytest.mark.slow
def test_copy_is_told_until_it_is_moved_and_keeps_no_other_from_being_made(
    make_app: Callable[..., Flask], app: Flask, path: Path, tmp_path: Path
) -> None:
    earlier = Path(f"{path}-saved-1")
    earlier.write_text("of an earlier time")
    delete_logs(path, ("-wal",))
    Path(f"{path}-wal").touch()
    assert app.test_client().get("/readyz").status_code == 503
    copies = list(path.parent.glob(f"{path.name}-saved*"))
    assert len(copies) == 2
    assert earlier.read_text() == "of an earlier time"
    close(app)
    assert f"{earlier.name} lies beside it" in flask(path, "doctor").stdout
    restarted = make_app()
    assert found(restarted, "database-copied") == {"copies": 2, "subject": ""}
    for copy in copies:
        copy.rename(tmp_path / copy.name.removeprefix(path.name))
    assert found(restarted, "database-copied") is None
    assert "lies beside it" not in flask(path, "doctor").stdout


def test_copy_of_an_earlier_incident_with_the_same_inode_keeps_none_from_being_made(
    app: Flask, path: Path
) -> None:
    """File systems give inodes again."""
    earlier = Path(f"{path}-saved-{os.stat(f'{path}-wal').st_ino}-{os.stat(f'{path}-shm').st_ino}")
    earlier.write_text("of an earlier time")
    os.utime(earlier, (1, 1))
    delete_logs(path, ("-wal",))
    Path(f"{path}-wal").touch()
    for _ in range(2):
        assert app.test_client().get("/readyz").status_code == 503
    assert len(list(path.parent.glob(f"{path.name}-saved*"))) == 2
    assert earlier.read_text() == "of an earlier time"


def test_copy_that_cannot_be_made_is_told(
    app: Flask, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    delete_logs(path, ("-wal",))
    Path(f"{path}-wal").touch()
    monkeypatch.setattr(os, "open", fail)
    assert app.test_client().get("/readyz").status_code == 503
    [reason] = [r.__dict__["reason"] for r in caplog.records if r.msg == "database_not_copied"]
    assert reason == "No space left on device"


@pytest.mark.slow
@pytest.mark.parametrize(
    "suffixes", [*(pytest.param(one, marks=pytest.mark.slow) for one in LOGS[:-1]), LOGS[-1]]
)
def test_another_process_makes_no_new_log_beside_one_that_uses_the_former(
    app: Flask, path: Path, suffixes: tuple[str, ...]
) -> None:
    """The last of those that use the former would delete it, and what it holds."""
    delete_logs(path, suffixes)
    added = flask(path, "users", "add", "new@example.org")
    assert (added.returncode, SENTENCE in added.stderr) == (1, True)
    assert SENTENCE in flask(path, "doctor").stdout
    assert not any(Path(f"{path}{suffix}").exists() for suffix in suffixes)
    close(app)
    assert flask(path, "users", "add", "new@example.org").returncode == 0


def test_log_that_the_last_connection_has_deleted_is_made_anew(app: Flask, path: Path) -> None:
    with app.app_context():
        watcher = CommitWatcher(db.engine)
        assert watcher.has_changed()
        for _ in range(2):
            db.engine.dispose()
            assert app.test_client().get("/readyz").status_code == 200
        db.engine.dispose()
        watcher.close()
        assert not Path(f"{path}-wal").exists()
        assert watcher.has_changed()
        assert call_back(app.test_client(), fields(sid(1), "read")).status_code == 204
        watcher.close()
