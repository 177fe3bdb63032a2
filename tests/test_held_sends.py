"""A restore holds scheduled messages, unless the database that it replaces has the same ones."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select

from smstracker.backups import backup_file
from smstracker.clock import utcnow
from smstracker.commands import backup as backup_commands
from smstracker.extensions import db, writing
from smstracker.models import Message, outbox
from tests.clients import Person
from tests.postgresql_programs import path_to_programs
from tests.serving import close

pytestmark = pytest.mark.both_databases

MakeApp = Callable[..., Flask]
LATER = timedelta(days=3)
SERVICE = "MG" + "1" * 32
HELD = "nobody knows whether they were sent, changed or cancelled"


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's programs of the server that the tests use."""
    monkeypatch.setenv("PATH", path_to_programs())


def run(make_app: MakeApp, *arguments: str | Path, exit_code: int = 0) -> str:
    app = make_app()
    result = app.test_cli_runner().invoke(args=[str(argument) for argument in arguments])
    close(app)
    assert result.exit_code == exit_code, result.output
    return result.output


def restore(make_app: MakeApp, backup: Path, exit_code: int = 0) -> str:
    for former in backup.parent.glob("*.before-*"):  # of the same second
        former.unlink()
    return run(make_app, "restore", backup, "--replace", exit_code=exit_code)


def claim_later(app: Flask, after: timedelta = 2 * LATER) -> list[int]:
    """What is sent first once the time of all has come."""
    with app.app_context(), db.engine.begin() as connection:
        return [message.id for message in outbox.claim(connection, 10, utcnow() + after)]


def held_for(app: Flask, message: Message) -> timedelta:
    with app.app_context():
        return utcnow() - db.session.get_one(Message, message.id).status_at


def edit(app: Flask, message: Message, **changes: Any) -> None:
    with app.app_context(), writing():
        row = db.session.get_one(Message, message.id)
        send_at = changes.pop("send_at", row.send_at)
        row.edit_queued(replace(row.content, **changes), send_at)


CONTENTS: dict[str, dict[str, object]] = {
    "text": {"body": "Another text"},
    "recipient": {"recipient": "+15558675319"},
    "pictures": {"media_urls": ("https://pictures.example.org/2.png",)},
    "sender": {"sender": "+15005550007"},
    "service": {"sender": "MG" + "2" * 32},
}


def change(app: Flask, message: Message, kind: str) -> None:
    if kind == "cancelled":
        with app.app_context(), db.engine.begin() as connection:
            assert outbox.cancel(connection, message.id)
    elif kind == "sent":
        edit(app, message, send_at=None)
        with app.app_context():
            with db.engine.begin() as connection:
                claimed = outbox.claim(connection, 10, utcnow() + timedelta(seconds=1))
            with db.engine.begin() as connection:
                assert len(outbox.begin_hand_over(connection, claimed)) == 1
    elif kind in CONTENTS:
        edit(app, message, **CONTENTS[kind])
    else:
        edit(app, message, send_at=utcnow() + 2 * LATER)


@pytest.mark.parametrize("kind", ["cancelled", "sent", "time", *CONTENTS])
def test_what_was_changed_since_the_backup_waits_for_its_sender(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path, kind: str
) -> None:
    with time_machine.travel(utcnow() - LATER):
        changed, same = (alice.queue(n, SERVICE, send_at=utcnow() + 2 * LATER) for n in (1, 2))
    run(make_app, "backup", tmp_path / "a")
    change(app, changed, kind)
    close(app)
    for _ in range(2):
        said = restore(make_app, tmp_path / "a")
        assert "1 scheduled message is held: " in said
    later = make_app()
    assert held_for(later, changed) < timedelta(minutes=5)
    assert claim_later(later) == [same.id]
    again = Person.signed_in(later, alice.email)
    page = f"/messages/{changed.public_id}"
    assert "It was scheduled when a backup was made" in again.get(page).text
    assert "held since a restore" in again.get("/messages?state=waiting").text
    assert again.get(f"{page}/edit").status_code == 200
    assert again.get(f"{page}/cancel").status_code == 200
    edit(later, changed, send_at=utcnow() + LATER / 2)
    assert changed.id in claim_later(later, 3 * LATER)


def test_nothing_is_held_of_what_is_still_scheduled(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    scheduled = alice.queue(1, send_at=utcnow() + LATER)
    run(make_app, "backup", tmp_path / "a")
    close(app)
    for _ in range(2):
        assert " held" not in restore(make_app, tmp_path / "a")
    assert claim_later(make_app()) == [scheduled.id]


def test_all_is_held_that_no_former_database_knows(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    for number in (1, 2):
        alice.queue(number, send_at=utcnow() + LATER)
    run(make_app, "backup", tmp_path / "a")
    with app.app_context(), writing():
        for message in db.session.scalars(select(Message)):
            message.public_id = uuid.uuid4()
    close(app)
    assert "2 scheduled messages are held: " in restore(make_app, tmp_path / "a")
    assert claim_later(make_app()) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_they_are_held_also_if_the_restore_is_killed_behind_psql(
    make_app: MakeApp,
    app: Flask,
    alice: Person,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changed, same = (alice.queue(n, send_at=utcnow() + LATER) for n in (1, 2))
    run(make_app, "backup", tmp_path / "a")
    change(app, changed, "cancelled")
    close(app)

    def end(*_: object) -> None:
        raise backup_file.BackupError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(backup_commands, "_bring_up_to_date", end)
        restore(make_app, tmp_path / "a", exit_code=1)
    killed = make_app()
    with killed.app_context():
        times = dict(db.session.execute(select(Message.id, Message.send_at)).tuples().all())
    assert held_for(killed, changed) < timedelta(minutes=5)
    close(killed)
    assert times == {changed.id: None, same.id: same.send_at}
    assert "1 scheduled message is held: " in restore(make_app, tmp_path / "a")
    assert claim_later(make_app()) == [same.id]


def test_held_message_is_never_sent_by_itself(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path
) -> None:
    message = alice.queue(1, send_at=utcnow() + LATER)
    run(make_app, "backup", tmp_path / "a")
    change(app, message, "cancelled")
    close(app)
    restore(make_app, tmp_path / "a")
    later = make_app()
    with time_machine.travel(utcnow() + 2 * LATER):
        with later.app_context(), db.engine.begin() as connection:
            assert outbox.find_misdated(connection, utcnow()) == []
            assert outbox.next_due_at(connection, utcnow()) is None
            assert outbox.read_backlog(connection, utcnow()).oldest_at is None
        assert claim_later(later) == []
