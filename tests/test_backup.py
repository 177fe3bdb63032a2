"""Backups are of one moment and whole; a restore brings back all of it, or changes nothing."""

import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import func, select, text

from smstracker.backups import backup_file, postgresql_backup, sqlite_backup
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Message, SignInToken
from smstracker.models.users import UserSession
from tests.clients import Person
from tests.postgresql_programs import path_to_programs
from tests.serving import close
from tests.signing import call_back, fields, sid

pytestmark = pytest.mark.both_databases

MakeApp = Callable[..., Flask]
ALICE = "alice@example.org"


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's programs of the server that the tests use."""
    monkeypatch.setenv("PATH", path_to_programs())


def run(make_app: MakeApp, *arguments: str | Path) -> Result:
    """Run a command as its own process would: with an app of its own."""
    app = make_app()
    result = app.test_cli_runner().invoke(args=[str(argument) for argument in arguments])
    close(app)
    return result


def bodies(app: Flask) -> list[str]:
    with app.app_context():
        return list(db.session.scalars(select(Message.body).order_by(Message.id)))


def test_restore_brings_back_what_the_backup_held(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    alice.has_message(twilio_sid=sid(1), body="Grüße 🎉", next_lookup_at=None)
    alice.has_message(twilio_sid=sid(2), body="Final", status="delivered", final_at=utcnow())
    path = tmp_path / "nightly.backup"
    made = run(make_app, "backup", path)
    assert (made.exit_code, "keep it where nobody else" in made.output) == (0, True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    alice.has_message(body="Sent after the backup")
    assert call_back(app.test_client(), fields(sid(1), "delivered")).status_code == 204
    close(app)

    refused = run(make_app, "restore", path)
    assert (refused.exit_code, "add --replace" in refused.output) == (1, True)
    restored = run(make_app, "restore", path, "--replace")
    assert restored.exit_code == 0, restored.output
    assert "1 message is not final: the worker asks Twilio about them" in restored.output

    later = make_app()
    assert bodies(later) == ["Grüße 🎉", "Final"]
    with later.app_context():
        first = db.session.scalars(select(Message).order_by(Message.id)).first()
        assert first.status == "queued"
        assert first.next_lookup_at <= utcnow()
        for table in (UserSession, SignInToken):
            assert db.session.scalar(select(func.count()).select_from(table)) == 0
    again = Person.signed_in(later, ALICE)
    assert "Grüße" in again.get("/messages?text=grüße").text, "the search index works"
    assert call_back(later.test_client(), fields(sid(1), "delivered")).status_code == 204
    assert "Delivered" in again.get("/messages").text


def test_backup_never_overwrites_and_leaves_nothing_behind(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "a").write_text("of yesterday")
    assert "never overwrites" in run(make_app, "backup", folder / "a").output
    assert "is a folder" in run(make_app, "backup", folder).output
    assert "cannot be written" in run(make_app, "backup", folder / "none" / "a").output
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [("a", "of yesterday")]


def test_full_disk_leaves_no_part_of_a_backup(
    make_app: MakeApp, app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()

    def fail(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_file, "_sync", fail)
    result = run(make_app, "backup", folder / "a")
    assert (result.exit_code, "No space left on device" in result.output) == (1, True)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "missing"])
def test_damaged_backup_changes_nothing(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path, damage: str
) -> None:
    for number in range(20):
        alice.has_message(body=f"{number} " + "x" * 1000)
    path = tmp_path / "a"
    run(make_app, "backup", path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "text": b"hello" * 999}.get(damage, whole[: len(whole) // 2]))
    if damage == "missing":
        path.unlink()
    close(app)
    result = run(make_app, "restore", path, "--replace")
    assert result.exit_code == 1
    assert str(path) in result.output
    assert len(bodies(make_app())) == 20


def test_backup_of_a_newer_version_changes_nothing(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice.has_message()
    path = tmp_path / "a"
    run(make_app, "backup", path)
    close(app)
    monkeypatch.setattr("smstracker.commands.backup.known_revisions", lambda: {"0001"})
    result = run(make_app, "restore", path, "--replace")
    assert (result.exit_code, "newer version" in result.output) == (1, True)
    assert len(bodies(make_app())) == 1


def test_database_in_use_is_not_replaced(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    alice.has_message()
    run(make_app, "backup", path)
    with app.app_context(), db.engine.connect():
        result = run(make_app, "restore", path, "--replace")
    assert result.exit_code == 1
    assert "Stop the web server and the worker first" in result.output
    assert len(bodies(app)) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite_is_copied_while_it_is_written_and_the_former_file_is_kept(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    alice.has_message(body="before")
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE message SET body = 'not committed'"))
        assert run(make_app, "backup", path).exit_code == 0
    with closing(sqlite3.connect(path)) as copy:
        assert copy.execute("SELECT body FROM message").fetchall() == [("before",)]
    assert not Path(f"{path}-wal").exists()
    close(app)
    assert "is kept as" in run(make_app, "restore", path, "--replace").output
    [kept] = tmp_path.glob("test.sqlite.before-*")
    with closing(sqlite3.connect(kept)) as former:
        assert former.execute("SELECT body FROM message").fetchall() == [("not committed",)]
    assert bodies(make_app()) == ["before"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("can_copy", [True, False])
def test_former_file_is_kept_without_hard_links_or_nothing_is_replaced(
    make_app: MakeApp,
    app: Flask,
    alice: Person,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    can_copy: bool,
) -> None:
    def refuse(*_paths: object) -> None:
        raise OSError(1, "Operation not permitted")

    path = tmp_path / "a"
    alice.has_message(body="before")
    run(make_app, "backup", path)
    alice.has_message(body="after")
    close(app)
    monkeypatch.setattr(sqlite_backup.os, "link", refuse)
    if not can_copy:
        monkeypatch.setattr(sqlite_backup.shutil, "copy2", refuse)
    result = run(make_app, "restore", path, "--replace")
    assert result.exit_code == (0 if can_copy else 1)
    assert ("is kept as" if can_copy else "cannot be written: Operation not") in result.output
    assert bodies(make_app()) == (["before"] if can_copy else ["before", "after"])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_backup_becomes_the_database_of_a_new_machine(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    alice.has_message()
    run(make_app, "backup", path)
    close(app)
    for file in tmp_path.glob("test.sqlite*"):
        file.unlink()
    assert run(make_app, "restore", path).exit_code == 0
    assert len(bodies(make_app())) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_that_cannot_be_restored_stays_as_it_is(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    alice.has_message()
    run(make_app, "backup", path)
    close(app)
    broken = "DROP TABLE message CASCADE; SELECT no_such_function()"
    monkeypatch.setattr(postgresql_backup, "LIMITS", broken)
    result = run(make_app, "restore", path, "--replace")
    assert (result.exit_code, "psql failed" in result.output) == (1, True)
    assert len(bodies(make_app())) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_missing_programs_of_postgresql_are_named_with_the_command_to_run(
    make_app: MakeApp, app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _program: None)
    result = run(make_app, "backup", tmp_path / "a")
    assert result.exit_code == 1
    assert "apt install postgresql-client" in result.output
    assert "pg_dump --format=custom --no-owner --no-privileges" in result.output
    assert f"--file={tmp_path / 'a'}" in result.output
