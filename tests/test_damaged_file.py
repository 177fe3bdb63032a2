"""A backup or a copy beside the write-ahead log of another SQLite file: refused, or told."""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.exc import DatabaseError

from smstracker.doctor import machine_checks
from smstracker.extensions import db
from smstracker.webhooks import writer
from tests.clients import Person
from tests.serving import close
from tests.signing import call_back, fields, forge, sid

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

MakeApp = Callable[..., Flask]
ADVICE = "if only a backup is left, move the -wal file away and run flask restore BACKUP"


@pytest.fixture
def left(make_app: MakeApp, tmp_path: Path) -> Iterator[Path]:
    """A folder with `backup` and `copy`, and the `log` of the database that grew afterwards."""
    folder = tmp_path / "left"
    folder.mkdir()
    app = make_app(SEND_LIMIT_PER_MINUTE="1000", SEND_LIMIT_PER_DAY="1000")
    path = Path(app.config["SETTINGS"].database_url.removeprefix("sqlite:///"))
    alice = Person.signed_in(app, "alice@example.org")
    add_messages(alice, range(20))
    app.test_cli_runner().invoke(args=["backup", str(folder / "backup")])
    end_log(path)
    shutil.copy(path, folder / "copy")
    add_messages(alice, range(20, 80))
    end_log(path)
    add_messages(alice, range(80, 100))
    shutil.copy(f"{path}-wal", folder / "log")
    yield folder
    close(app)


def add_messages(owner: Person, numbers: range) -> None:
    for number in numbers:
        owner.has_message(twilio_sid=sid(number), body="x" * 500, status="sent")
        if number % 2:
            answer = call_back(owner.client, fields(sid(number), "delivered"))
            assert answer.status_code == 204


def end_log(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(truncate)").fetchone() == (0, 0, 0)


def put_beside_log(left: Path, name: str) -> Path:
    path = left / "moved.sqlite"
    shutil.copy(left / name, path)
    shutil.copy(left / "log", f"{path}-wal")
    return path


def test_backup_beside_the_log_of_another_file_is_refused_and_stays_whole(
    make_app: MakeApp, left: Path
) -> None:
    path = put_beside_log(left, "backup")
    log = Path(f"{path}-wal").read_bytes()
    app = make_app(DATABASE_URL=f"sqlite:///{path}")
    client, runner = app.test_client(), app.test_cli_runner()
    assert ADVICE in client.get("/readyz").json["problem"]
    for command in (["users", "list"], ["restore", str(left / "backup"), "--replace"]):
        assert ADVICE in runner.invoke(args=command).output
    assert call_back(client, fields(sid(1), "delivered")).status_code == 503
    assert path.read_bytes() == (left / "backup").read_bytes()
    assert Path(f"{path}-wal").read_bytes() == log
    Path(f"{path}-wal").unlink()
    assert client.get("/readyz").status_code == 200


def test_copy_that_a_log_has_damaged_is_not_ready_and_can_be_restored(
    make_app: MakeApp, left: Path
) -> None:
    path = put_beside_log(left, "copy")
    app = make_app(DATABASE_URL=f"sqlite:///{path}")
    assert "is damaged" in app.test_client().get("/readyz").json["problem"]
    assert "problem  database: the database file is damaged" in doctor(app)
    close(app)
    restored = make_app(DATABASE_URL=f"sqlite:///{path}")
    Path(f"{path}-wal").unlink(missing_ok=True)
    arguments = ["restore", str(left / "backup"), "--replace"]
    assert "Restored." in restored.test_cli_runner().invoke(args=arguments).output
    close(restored)
    assert (
        make_app(DATABASE_URL=f"sqlite:///{path}").test_client().get("/readyz").status_code == 200
    )


def doctor(app: Flask) -> str:
    return app.test_cli_runner().invoke(args=["doctor"]).stdout


def test_doctor_reads_the_whole_file(
    make_app: MakeApp, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_beside_log(left, "copy")
    monkeypatch.setattr("smstracker.web.health._READ_SAMPLE", db.text("SELECT 1"))
    app = make_app(DATABASE_URL=f"sqlite:///{path}")
    assert "problem  database file: the database file is damaged" in doctor(app)
    monkeypatch.setattr(machine_checks, "MAX_READING_SECONDS", -1)
    monkeypatch.setattr(machine_checks, "READING_STEPS", 1)
    assert "database file:" not in doctor(app), "a large file is read in part only"


def test_damage_that_a_callback_met_is_remembered_until_one_is_stored(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage = sqlite3.DatabaseError("database disk image is malformed")
    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def fail(*_arguments: object) -> None:
        raise DatabaseError("INSERT", {}, damage)

    client = app.test_client()
    with monkeypatch.context() as damaged:
        damaged.setattr(writer, "store_callbacks", fail)
        assert call_back(client, fields(sid(1), "sent")).status_code == 503
    assert "is damaged" in client.get("/readyz").json["problem"]
    with monkeypatch.context() as later:
        now = time.monotonic()
        later.setattr(writer.time, "monotonic", lambda: now + writer.DAMAGED_SECONDS)
        assert client.get("/readyz").status_code == 200
    forge(client)  # what is refused is stored elsewhere
    assert client.get("/readyz").status_code == 503
    assert call_back(client, fields(sid(1), "sent")).status_code == 204
    assert client.get("/readyz").status_code == 200
