"""Backups are of one moment and whole; a restore brings back all of it, or changes nothing."""

import os
import shutil
import signal
import sqlite3
import stat
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import time_machine
from click.testing import Result
from flask import Flask
from sqlalchemy import delete, func, select, text

from config import load
from smstracker import create_app
from smstracker.backups import backup_file, postgresql_backup, sqlite_backup
from smstracker.batches.control import RESTORED
from smstracker.clock import utcnow
from smstracker.commands import backup as backup_commands
from smstracker.database import engine
from smstracker.extensions import db, writing
from smstracker.models import (
    Batch,
    Heartbeat,
    Message,
    ScheduledJob,
    SignInToken,
    StatusEvent,
    outbox,
)
from smstracker.models.batches import BatchState
from smstracker.models.jobs import JobName
from smstracker.models.users import UserSession
from smstracker.privacy.erasure import erase
from tests.batches import (
    check,
    people,
    queue,
    read_batch,
    read_messages,
    ready_batch,
    start,
    upload,
)
from tests.clients import Person
from tests.full_disk import full_disk
from tests.postgresql_programs import path_to_programs
from tests.programs import Program
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


def test_restored_message_that_may_have_been_sent_since_is_not_sent(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    due = alice.queue(1)
    scheduled = alice.queue(2, send_at=utcnow() + timedelta(days=1))
    with time_machine.travel(utcnow() + timedelta(days=2)):
        of_wrong_clock = alice.queue(3)
    with app.app_context(), db.engine.begin() as connection:
        outbox.claim(connection, 1, utcnow())
    path = tmp_path / "nightly.backup"
    run(make_app, "backup", path)
    close(app)
    restored = run(make_app, "restore", path, "--replace")
    assert "2 messages are not final: the worker asks Twilio about them" in restored.output
    later = make_app()
    with later.app_context():
        statuses = {row.id: row.status for row in db.session.scalars(select(Message))}
        assert statuses == {
            due.id: "pending",
            scheduled.id: "outbox",
            of_wrong_clock.id: "pending",
        }
        message = db.session.get(Message, due.id)
        assert message.handed_over_at == due.send_at
        assert message.next_lookup_at <= utcnow()
        db.session.rollback()
        with db.engine.begin() as connection:
            assert outbox.claim(connection, 10, utcnow() + timedelta(minutes=2)) == []


def test_restored_batches_wait_for_people_to_look_at_twilios_log(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    running, ready, done = (ready_batch(alice, people(count)) for count in (3, 2, 1))
    start(app, running)
    start(app, done)
    unchecked = upload(alice, people(4))
    with app.app_context(), writing():
        Batch.lock(unchecked).start_count = 4
        Batch.lock(done).state = BatchState.DONE
    run(make_app, "backup", tmp_path / "a")
    close(app)
    restored = run(make_app, "restore", tmp_path / "a", "--replace")
    assert "3 batches wait for a person" in restored.output, restored.output
    later = make_app()
    check(later)
    queue(later)
    batches = [read_batch(later, batch_id) for batch_id in (running, ready, unchecked, done)]
    assert [(batch.state, batch.problem) for batch in batches] == [
        ("paused", RESTORED),
        ("ready", RESTORED),
        ("ready", RESTORED),
        ("done", None),
    ]
    assert read_messages(later, running) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_worker_that_waits_for_a_restore_sends_nothing_of_the_backup(
    make_app: MakeApp,
    app: Flask,
    alice: Person,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It goes on as soon as psql has ended, even if the restore is killed then."""
    alice.queue(1)
    scheduled = alice.queue(2, send_at=utcnow() + timedelta(days=1))
    running = ready_batch(alice, people(3))
    start(app, running)
    run(make_app, "backup", tmp_path / "a")
    close(app)

    def end(*_: object) -> None:
        raise backup_file.BackupError("killed")

    monkeypatch.setattr(backup_commands, "_bring_up_to_date", end)
    assert run(make_app, "restore", tmp_path / "a", "--replace").exit_code == 1
    later = make_app()
    queue(later)
    assert read_batch(later, running).problem == RESTORED
    assert read_messages(later, running) == []
    with later.app_context(), db.engine.begin() as connection:
        claimed = outbox.claim(connection, 10, utcnow() + timedelta(days=2))
    assert [message.id for message in claimed] == [scheduled.id]


def test_restored_database_has_no_worker_and_each_job_is_due(
    make_app: MakeApp, app: Flask, tmp_path: Path
) -> None:
    with app.app_context(), db.engine.begin() as connection:
        Heartbeat.beat(connection, "of then", utcnow(), None)
        for name in (JobName.MAINTENANCE, JobName.ALERTS):
            ScheduledJob.mark_done(connection, name, utcnow(), timedelta(days=1))
        ScheduledJob.mark_failed(connection, JobName.MAINTENANCE, "nothing listens on that port")
    run(make_app, "backup", tmp_path / "a")
    close(app)
    assert run(make_app, "restore", tmp_path / "a").exit_code == 0
    restored = make_app()
    assert "Restored a backup" in run(make_app, "audit", "list").output
    with restored.app_context():
        assert db.session.scalars(select(Heartbeat)).all() == []
        # Else the time since the backup would be one without a worker.
        assert ScheduledJob.last_done_at(db.session.connection(), JobName.ALERTS) is None
        job = ScheduledJob.read(db.session.connection(), JobName.MAINTENANCE)
        assert (job.due_at <= utcnow(), job.failed_at, job.failure) == (True, None, None)


def test_restore_reminds_of_tokens_that_may_have_been_revoked_since(
    make_app: MakeApp, app: Flask, tmp_path: Path
) -> None:
    token_id = Program(app).token_id
    run(make_app, "backup", tmp_path / "a")
    run(make_app, "tokens", "revoke", str(token_id))
    close(app)
    restored = run(make_app, "restore", tmp_path / "a")
    assert "1 token of programs is as in the backup: revoke again" in restored.output


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


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_full_disk_of_the_backup_is_not_told_as_that_of_the_database(
    make_app: MakeApp, app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_source: sqlite3.Connection, _target: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(sqlite_backup, "_copy_pages", fail)
    result = run(make_app, "backup", tmp_path / "a")
    assert (result.exit_code, f"{tmp_path / 'a'} cannot be written" in result.output) == (1, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended_backup_leaves_no_part(
    make_app: MakeApp, app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    former = signal.getsignal(number)
    monkeypatch.setattr(backup_file, "_sync", lambda _path: signal.raise_signal(number))
    assert run(make_app, "backup", folder / "a").exit_code == 128 + number
    assert not list(folder.iterdir())
    assert signal.getsignal(number) is former


def test_database_of_another_program_changes_nothing(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    alice.has_message()
    with app.app_context(), db.engine.begin() as connection:
        kept = connection.scalar(text("SELECT version_num FROM alembic_version"))
        is_sqlite = connection.dialect.name == "sqlite"
        if not is_sqlite:
            connection.execute(text("CREATE SCHEMA other_program"))
            connection.execute(
                text("CREATE TABLE other_program.alembic_version (version_num text)")
            )
            connection.execute(
                text("INSERT INTO other_program.alembic_version VALUES (:kept)"), {"kept": kept}
            )
    try:
        if is_sqlite:
            with closing(sqlite3.connect(path)) as other, other:
                other.execute("CREATE TABLE alembic_version (version_num)")
                other.execute("INSERT INTO alembic_version VALUES (?)", [kept])
        else:
            with app.app_context():
                arguments = ("--format=custom", "--schema=other_program", f"--file={path}")
                target = postgresql_backup._target(db.engine)
                postgresql_backup._run(db.engine, "pg_dump", *arguments, target)
        close(app)
        result = run(make_app, "restore", path, "--replace")
        assert (result.exit_code, "is no backup of smstracker" in result.output) == (1, True)
        assert len(bodies(make_app())) == 1
    finally:
        if not is_sqlite:
            with make_app().app_context(), db.engine.begin() as connection:
                connection.execute(text("DROP SCHEMA other_program CASCADE"))


def damage_index(connection: sqlite3.Connection) -> None:
    """Change the last entry of an index, which then matches no row."""
    query = "SELECT rootpage FROM sqlite_master WHERE name = 'ix_message_twilio_sid'"
    [page] = connection.execute(query).fetchone()
    [_number, _name, path] = connection.execute("PRAGMA database_list").fetchone()
    connection.execute("PRAGMA shrink_memory")  # forgets the pages that it has read
    with open(path, "r+b") as file:
        file.seek(page * 4096 - 2)
        file.write(b"\xff\xff")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_backup_with_a_damaged_index_changes_nothing(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    alice.has_message(twilio_sid=sid(1))
    run(make_app, "backup", tmp_path / "a")
    alice.has_message()
    close(app)
    with closing(sqlite3.connect(tmp_path / "a")) as connection:
        damage_index(connection)
    result = run(make_app, "restore", tmp_path / "a", "--replace")
    assert (result.exit_code, "is damaged or incomplete" in result.output) == (1, True)
    assert len(bodies(make_app())) == 2


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


@pytest.mark.slow
def test_database_in_use_is_not_replaced(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    alice.has_message()
    run(make_app, "backup", path)
    with app.app_context():
        connection = db.engine.connect()
    with connection:  # outside of the context, which the command would take for its own
        result = run(make_app, "restore", path, "--replace")
    assert result.exit_code == 1
    assert "Stop the web server and the worker first" in result.output
    assert len(bodies(app)) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite_is_copied_while_it_is_written_and_the_former_file_is_kept(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 20)
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
def test_backup_of_sqlite_stays_one_file_while_it_is_read(
    make_app: MakeApp, app: Flask, tmp_path: Path
) -> None:
    """One with logs beside it could not be read where nothing may be written."""
    path = tmp_path / "a"
    run(make_app, "backup", path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (0,)
        assert [file.name for file in tmp_path.glob("a*")] == ["a"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nothing_is_replaced_if_the_former_content_cannot_be_kept(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a"
    alice.has_message(body="before")
    run(make_app, "backup", path)
    alice.has_message(body="after")
    close(app)
    monkeypatch.setattr(backup_file, "_sync", fail)
    result = run(make_app, "restore", path, "--replace")
    assert (result.exit_code, "cannot be written: No space" in result.output) == (1, True)
    assert bodies(make_app()) == ["before", "after"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("copy_number", [2, 3])  # the first is the working copy
def test_callback_during_a_restore_is_not_acknowledged(
    make_app: MakeApp,
    app: Flask,
    alice: Person,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    copy_number: int,
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 300)
    path = tmp_path / "a"
    alice.has_message(twilio_sid=sid(1), body="before")
    run(make_app, "backup", path)
    close(app)
    copy_pages, codes = sqlite_backup._copy_pages, [0]

    def call_back_and_copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
        if len(codes) == copy_number:
            started = make_app()
            codes.append(call_back(started.test_client(), fields(sid(1), "delivered")).status_code)
            close(started)
        else:
            codes.append(0)
        copy_pages(source, target)

    monkeypatch.setattr(sqlite_backup, "_copy_pages", call_back_and_copy)
    assert run(make_app, "restore", path, "--replace").exit_code == 0
    assert codes[copy_number] == 503
    assert not Path(f"{tmp_path}/test.sqlite-wal").exists()
    with closing(sqlite3.connect(tmp_path / "test.sqlite")) as restored:
        assert restored.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert restored.execute("SELECT status FROM message").fetchall() != [("delivered",)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_damaged_database_is_moved_away(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    alice.has_message(body="before")
    run(make_app, "backup", path)
    close(app)
    (tmp_path / "test.sqlite").write_bytes(b"no database" * 999)
    (tmp_path / "test.sqlite-wal").write_bytes(b"of it")
    result = run(make_app, "restore", path, "--replace")
    assert (result.exit_code, backup_commands.UNKNOWN_ERASURES in result.output) == (0, True), (
        result.output
    )
    assert bodies(make_app()) == ["before"]
    [kept] = tmp_path.glob("test.sqlite.before-*[0-9]")
    assert kept.read_bytes().startswith(b"no database")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_database_that_another_program_has_locked_is_not_taken_for_damaged(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_backup, "MAX_WAIT_SECONDS", 0.05)
    close(app)
    with closing(sqlite3.connect(tmp_path / "test.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode=delete")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite_backup.is_damaged(tmp_path / "test.sqlite")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_database_without_a_log_that_another_program_writes_to_is_in_use(
    app: Flask, tmp_path: Path
) -> None:
    close(app)
    with closing(sqlite3.connect(tmp_path / "test.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode=delete")
        connection.execute("BEGIN IMMEDIATE")
        alone = sqlite_backup.open_alone(tmp_path / "test.sqlite")
        with pytest.raises(backup_file.BackupError, match="The database is in use"), alone:
            pass


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
    result = run(make_app, "restore", path)
    assert (result.exit_code, backup_commands.UNKNOWN_ERASURES in result.output) == (0, True), (
        result.output
    )
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
    assert (result.exit_code, "psql failed: " in result.output) == (1, True), result.output
    assert "no_such_function() does not exist" in result.output
    assert len(bodies(make_app())) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_restore_names_the_folder_for_temporary_files_that_is_full(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    alice.has_message()
    run(make_app, "backup", path)
    close(app)
    with full_disk():
        result = run(make_app, "restore", path, "--replace")
    assert result.exit_code == 1
    sentence = f"{tempfile.gettempdir()}, the folder for temporary files, is full."
    assert sentence in result.output
    assert len(bodies(make_app())) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_tables_of_others_in_the_schema_are_neither_copied_nor_restored(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    alice.has_message(body="before")
    foreign = [
        "CREATE FUNCTION crm_one() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION fold_text(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1'",
        "CREATE TYPE crm_mood AS ENUM ('glad')",
        "CREATE DOMAIN crm_rank AS integer DEFAULT crm_one() CHECK (VALUE > fold_text(0))",
        "CREATE AGGREGATE crm_sum(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0')",
        "CREATE OPERATOR ==== (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq)",
        'CREATE COLLATION crm_order FROM "C"',
        "CREATE TEXT SEARCH CONFIGURATION crm_search (COPY = simple)",
        """
        CREATE TABLE "Crm customer" (
            id serial PRIMARY KEY,
            rank crm_rank CHECK (rank ==== 1),
            mood crm_mood,
            name text COLLATE crm_order,
            words tsvector GENERATED ALWAYS AS (to_tsvector('crm_search'::regconfig, name)) STORED
        )
        """,
        'CREATE VIEW crm_view AS SELECT crm_sum(rank) FROM "Crm customer"',
        'INSERT INTO "Crm customer" DEFAULT VALUES',
    ]
    with app.app_context(), db.engine.begin() as connection:
        for statement in foreign:
            connection.execute(text(statement))
    try:
        run(make_app, "backup", path)
        assert b"Crm customer" not in path.read_bytes()
        with app.app_context(), db.engine.begin() as connection:
            connection.execute(text(foreign[-1]))
        close(app)
        result = run(make_app, "restore", path, "--replace")
        assert result.exit_code == 0, result.output
        restored = make_app()
        assert bodies(restored) == ["before"]
        with restored.app_context(), db.engine.begin() as connection:
            rows = connection.execute(text('SELECT id, rank FROM "Crm customer"')).all()
        assert rows == [(1, 1), (2, 1)]
    finally:
        with make_app().app_context(), db.engine.begin() as connection:
            connection.execute(text('DROP TABLE "Crm customer" CASCADE'))
            for kind, name in (
                ("DOMAIN", "crm_rank"),
                ("TYPE", "crm_mood"),
                ("AGGREGATE", "crm_sum(integer)"),
                ("OPERATOR", "====(integer, integer)"),
                ("COLLATION", "crm_order"),
                ("TEXT SEARCH CONFIGURATION", "crm_search"),
                ("FUNCTION", "fold_text(integer)"),
                ("FUNCTION", "crm_one()"),
            ):
                connection.execute(text(f"DROP {kind} {name}"))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_view_of_others_is_named_instead_of_dropped(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    run(make_app, "backup", path)
    alice.has_message(body="after")
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("CREATE VIEW crm_view AS SELECT id FROM message"))
    close(app)
    try:
        result = run(make_app, "restore", path, "--replace")
        assert result.exit_code == 1
        assert "other objects depend on" in result.output
        assert bodies(make_app()) == ["after"]
    finally:
        with make_app().app_context(), db.engine.begin() as connection:
            connection.execute(text("DROP VIEW crm_view"))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_functions_of_the_tables_are_known_to_the_restore(app: Flask) -> None:
    functions = text("""
        SELECT replace(CAST(CAST(oid AS regprocedure) AS text), ',', ', ') FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
    """)
    with app.app_context(), db.engine.connect() as connection:
        assert set(connection.scalars(functions)) == set(postgresql_backup.FUNCTIONS)


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


@pytest.fixture
def older_backup(make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path) -> Path:
    """A backup with a session and one message, made before the message "after"."""
    path = tmp_path / "nightly"
    alice.has_message(body="before", next_lookup_at=None)
    run(make_app, "backup", path)
    alice.has_message(body="after")
    close(app)
    return path


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_file_of_another_program_with_our_revision_changes_nothing(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    alice.has_message(body="before")
    foreign = tmp_path / "foreign"
    with app.app_context(), closing(sqlite3.connect(foreign)) as connection:
        [revision] = db.session.scalars(db.text("SELECT version_num FROM alembic_version"))
        connection.execute("CREATE TABLE alembic_version (version_num)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", [revision])
        connection.execute("CREATE TABLE message (id)")
        connection.commit()
    close(app)
    result = run(make_app, "restore", foreign, "--replace")
    assert (result.exit_code, "no backup of smstracker" in result.output) == (1, True)
    assert bodies(make_app()) == ["before"]
    assert not list(tmp_path.glob("test.sqlite.*"))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_demo_takes_no_backup_of_a_live_installation(
    older_backup: Path, tmp_path: Path, migrated_sqlite: Path
) -> None:
    shutil.copy(migrated_sqlite, tmp_path / "demo.sqlite")
    demo = create_app(load({}, instance=tmp_path))
    Person.signed_in(demo, "me@home.example").has_message(simulated=True, body="of the demo")
    result = demo.test_cli_runner().invoke(args=["restore", str(older_backup)])
    assert (result.exit_code, "This is demo mode" in result.output) == (1, True)
    assert bodies(demo) == ["of the demo"]
    close(demo)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_full_disk_during_a_restore_names_the_former_database(
    make_app: MakeApp, older_backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_pages = sqlite_backup._copy_pages

    def copy_or_fail(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
        if target.execute("PRAGMA locking_mode").fetchone() == ("exclusive",):
            [size] = target.execute("PRAGMA page_count").fetchone()
            target.execute(f"PRAGMA max_page_count={size}")
        copy_pages(source, target)

    with closing(sqlite3.connect(older_backup)) as larger:
        larger.execute("CREATE TABLE filling AS SELECT zeroblob(9000000) AS bytes")
        larger.commit()
    monkeypatch.setattr(sqlite_backup, "_copy_pages", copy_or_fail)
    result = run(make_app, "restore", older_backup, "--replace")
    assert (result.exit_code, "disk is full" in result.output) == (1, True), result.output
    [former] = tmp_path.glob("test.sqlite.before-*")
    assert f"The former database is kept as {former}. Delete it" in result.output
    assert bodies(make_app()) == ["before", "after"]


@pytest.mark.parametrize("step", ["upgrade", "_prepare"])
def test_restore_that_is_interrupted_leaves_no_session_of_the_backup(
    make_app: MakeApp, older_backup: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    former = make_app()
    with former.app_context(), db.engine.begin() as connection:
        connection.execute(delete(UserSession))
    close(former)
    monkeypatch.setattr(backup_commands, step, interrupt)
    assert run(make_app, "restore", older_backup, "--replace").exit_code == 1
    app = make_app()
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(UserSession)) == 0
        assert db.session.scalar(select(func.count()).select_from(SignInToken)) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("step", ["upgrade", "_prepare"])
def test_restore_that_is_interrupted_changes_nothing_on_sqlite(
    make_app: MakeApp,
    older_backup: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backup_commands, step, interrupt)
    assert run(make_app, "restore", older_backup, "--replace").exit_code == 1
    assert bodies(make_app()) == ["before", "after"]
    assert {path.name for path in tmp_path.glob("*.part*")} == set()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_is_restored_in_one_transaction(
    make_app: MakeApp, older_backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_backup, "_end_sign_ins", lambda: "SELECT no_such_function()")
    result = run(make_app, "restore", older_backup, "--replace")
    assert (result.exit_code, "no_such_function() does not exist" in result.output) == (1, True)
    assert bodies(make_app()) == ["before", "after"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_restore_does_not_wait_for_ever_for_another_program(
    make_app: MakeApp, older_backup: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = postgresql_backup.LIMITS.replace("5s", "50ms")
    monkeypatch.setattr(postgresql_backup, "LIMITS", shorter)
    with psycopg.connect(database_url) as other:
        other.execute("SET idle_in_transaction_session_timeout = '10s'")
        other.execute("SELECT count(*) FROM message")
        result = run(make_app, "restore", older_backup, "--replace")
    assert (result.exit_code, result.stderr) == (1, f"Error: {postgresql_backup.IN_USE}\n")
    assert bodies(make_app()) == ["before", "after"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_restore_drops_nothing_that_a_process_stores_after_the_first_look(
    make_app: MakeApp, older_backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts before the tables are locked, as systemd starts a web server again."""
    server, run_program = make_app(), postgresql_backup._run

    def start_before(*arguments: Any, **options: Any) -> str:
        if arguments[1] == "psql":
            form = fields(sid(1), "delivered")
            assert call_back(server.test_client(), form).status_code == 204
        return run_program(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(postgresql_backup, "_run", start_before)
        patch.setattr(postgresql_backup, "ENDING_SECONDS", 0.1)
        result = run(make_app, "restore", older_backup, "--replace")
    assert (result.exit_code, result.stderr) == (1, f"Error: {postgresql_backup.IN_USE}\n")
    assert bodies(server) == ["before", "after"]
    with server.app_context():
        assert db.session.scalars(select(StatusEvent.twilio_sid)).all() == [sid(1)]
    close(server)
    assert run(make_app, "restore", older_backup, "--replace").exit_code == 0
    assert bodies(make_app()) == ["before"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_damaged_copy_is_not_called_complete(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_pages = sqlite_backup._copy_pages

    def copy_and_damage(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
        copy_pages(source, target)
        damage_index(target)

    alice.has_message(twilio_sid=sid(1))
    monkeypatch.setattr(sqlite_backup, "_copy_pages", copy_and_damage)
    result = run(make_app, "backup", tmp_path / "a")
    assert (result.exit_code, "MB, complete" in result.output) == (1, False)
    assert "is damaged or incomplete" in result.output
    assert not list(tmp_path.glob("a*"))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_file_that_appears_during_a_backup_is_not_overwritten(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_pages, path = sqlite_backup._copy_pages, tmp_path / "a"

    def copy_beside_another(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
        copy_pages(source, target)
        path.write_text("of another")

    monkeypatch.setattr(sqlite_backup, "_copy_pages", copy_beside_another)
    result = run(make_app, "backup", path)
    assert (result.exit_code, "never overwrites" in result.output) == (1, True)
    assert path.read_text() == "of another"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_programs_may_be_newer_than_the_server(
    make_app: MakeApp, older_backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They set what older servers do not know: SET transaction_timeout since version 17."""
    newer = tmp_path / "newer/pg_restore"
    newer.parent.mkdir()
    newer.write_text(
        f"""#!/bin/sh
        {shutil.which("pg_restore")} "$@" || exit 1
        for argument; do
            case $argument in
                --file=/dev*) file=${{argument#--file=}}
                    printf -- '--\n\nSET new_timeout = 0;\nSET new = off;\n' > {newer}.out
                    cat $file >> {newer}.out
                    cat {newer}.out > $file ;;
            esac
        done
        """
    )
    newer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{newer.parent}:{os.environ['PATH']}")
    result = run(make_app, "restore", older_backup, "--replace")
    assert "SET new_timeout" in Path(f"{newer}.out").read_text(errors="replace")
    assert result.exit_code == 0, result.output
    assert bodies(make_app()) == ["before"]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("pg_dump: error: aborting because of server version mismatch", "of the server's version"),
        ("pg_restore: error: unsupported version (1.16) in file header", "made by newer programs"),
    ],
)
def test_programs_that_are_too_old_are_named_as_the_cause(error: str, advice: str) -> None:
    assert advice in postgresql_backup._first_error(error)


def test_error_of_postgresql_quotes_no_rows() -> None:
    output = (
        "psql:/dev/fd/5:812: ERROR:  duplicate key value violates unique constraint\n"
        "DETAIL:  Key (recipient)=(+15558675310) already exists.\n"
    )
    reason = postgresql_backup._first_error(output)
    assert reason.endswith("violates unique constraint")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("option", [[], ["--replace"]])
def test_tables_of_another_program_with_our_names_are_not_dropped(
    make_app: MakeApp, older_backup: Path, database_url: str, option: list[str]
) -> None:
    app = make_app()
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA crm"))
        connection.execute(text('CREATE TABLE crm."user" AS SELECT 7 AS id'))
    close(app)
    mark = "&" if "?" in database_url else "?"
    other = make_app(DATABASE_URL=f"{database_url}{mark}options=-csearch_path%3Dcrm")
    try:
        arguments = ["restore", str(older_backup), *option]
        result = other.test_cli_runner().invoke(args=arguments)
        assert (result.exit_code, "tables of another program" in result.output) == (1, True)
    finally:
        close(other)
        with make_app().app_context(), db.engine.begin() as connection:
            assert connection.scalars(text('SELECT id FROM crm."user"')).all() == [7]
            connection.execute(text("DROP SCHEMA crm CASCADE"))


def test_restore_names_the_erasures_that_it_undoes(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    alice.has_message(status="delivered", final_at=utcnow())
    with app.app_context():
        before = erase("+15558675999", at_twilio=False, actor="test").receipt
    run(make_app, "backup", tmp_path / "a")
    with app.app_context():
        after = erase("+15558675310", at_twilio=False, actor="test").receipt
    close(app)
    result = run(make_app, "restore", tmp_path / "a", "--replace")
    assert result.exit_code == 0, result.output
    assert f"They were: {after}." in result.output
    assert before not in result.output
    assert backup_commands.UNKNOWN_ERASURES not in result.output


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_restore_on_a_new_machine_says_that_erasures_are_not_known(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path, migrated_sqlite: Path
) -> None:
    alice.has_message(status="delivered", final_at=utcnow())
    run(make_app, "backup", tmp_path / "a")
    shutil.copy(migrated_sqlite, tmp_path / "new.sqlite")
    new = make_app(DATABASE_URL=f"sqlite:///{tmp_path / 'new.sqlite'}")
    restored = new.test_cli_runner().invoke(args=["restore", str(tmp_path / "a")])
    assert (restored.exit_code, backup_commands.UNKNOWN_ERASURES in restored.output) == (0, True)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["before", "after"])
def test_restore_that_is_killed_has_named_the_erasures_and_the_next_one_does(
    make_app: MakeApp,
    older_backup: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    """It is killed just before the content is replaced, or just after."""
    app = make_app()
    with app.app_context():
        receipt = erase("+15558675310", at_twilio=False, actor="test").receipt
    close(app)
    is_sqlite = app.config["SETTINGS"].database_url.startswith("sqlite")
    module, name = (sqlite_backup, "replace_content") if is_sqlite else (postgresql_backup, "_run")
    step = getattr(module, name)

    def die(*arguments: Any, **options: Any) -> object:
        is_last = is_sqlite or arguments[1] == "psql"
        result = step(*arguments, **options) if point == "after" or not is_last else None
        if is_last:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch:
        patch.setattr(module, name, die)
        killed = run(make_app, "restore", older_backup, "--replace")
    assert (killed.exit_code, f"They were: {receipt}." in killed.output) == (1, True)
    app = make_app()
    assert bodies(app) == (["before"] if point == "after" else ["before", "after"])
    close(app)
    for _ in range(2):
        for former in tmp_path.glob("*.before-*"):  # of the same second
            former.unlink()
        result = run(make_app, "restore", older_backup, "--replace")
        assert (result.exit_code, f"They were: {receipt}." in result.output) == (0, True)
    assert f"receipt {receipt}" in run(make_app, "audit", "list").output


def test_folder_that_may_not_be_entered_is_said_in_one_sentence(
    make_app: MakeApp, app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As for a service whose command names a file in /root."""

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    result = run(make_app, "restore", tmp_path / "a")
    [line] = result.output.splitlines()
    assert line.startswith("Error: The user ")
    assert f" cannot read {tmp_path / 'a'}. Restore a copy of its own: install " in line
