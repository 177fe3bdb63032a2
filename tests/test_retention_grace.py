"""A time of keeping that is new or shorter deletes only after a day, and says before how much."""

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
import time_machine
from flask import Flask
from sqlalchemy import delete, func, select, update

from smstracker.clock import DAY, HOUR, utcnow
from smstracker.doctor.privacy_checks import check_privacy
from smstracker.extensions import db
from smstracker.models import (
    AuditEntry,
    Heartbeat,
    Message,
    RefusedCallback,
    ScheduledJob,
    User,
    audit_log,
)
from smstracker.models.keep_settings import is_keep_setting
from smstracker.privacy.retention import remove_expired
from smstracker.worker.maintenance import purge
from tests.clients import Person, words
from tests.postgresql_programs import path_to_programs
from tests.refused_callbacks import refusal
from tests.retention_settings import let_settings_begin
from tests.serving import close
from tests.signing import sid

MakeApp = Callable[..., Flask]
NOW, HALF_HOUR = timedelta(0), timedelta(minutes=30)


@pytest.fixture
def make_app(make_app: MakeApp) -> MakeApp:
    """The same app for the same settings: what these tests look at is in the database."""
    return cache(make_app)


def add_old(person: Person, days: float, count: int = 1) -> None:
    at = utcnow() - DAY * days
    final = {"status": "delivered", "created_at": at, "status_at": at, "final_at": at}
    for _ in range(count):
        person.has_message(twilio_sid=sid(len(person.messages()) + 1), **final)


def run(make_app: MakeApp, after: timedelta = timedelta(0), **changed: str) -> int:
    """Run the job as a worker that has just started would; return how many messages are left."""
    return run_through(make_app, after, after, **changed)


def run_through(
    make_app: MakeApp,
    start: timedelta,
    end: timedelta,
    *,
    clock: timedelta = timedelta(0),
    **changed: str,
) -> int:
    """Run the job each half hour; return how many messages are left. Their clock is wrong by
    `clock`.
    """
    app, after = make_app(**changed), start
    with app.app_context():
        while after <= end:
            with time_machine.travel(utcnow() + after + clock):
                list(remove_expired(None))
            after += HALF_HOUR
        return db.session.scalar(select(func.count()).select_from(Message)) or 0


def overview(app: Flask) -> str:
    admin = Person.signed_in(app, "carol@example.org")
    with app.app_context():
        db.session.execute(db.update(User).values(administrator=True))
        db.session.commit()
    return words(admin.get("/privacy").text)


def findings(app: Flask) -> list[str]:
    with app.app_context():
        return [result.detail for result in check_privacy()]


@pytest.mark.both_databases
def test_new_setting_deletes_nothing_for_a_day(make_app: MakeApp, alice: Person) -> None:
    add_old(alice, 40, 3)
    assert run_through(make_app, NOW, 23.5 * HOUR, KEEP_MESSAGE_DAYS="30") == 3
    assert run_through(make_app, 24 * HOUR, 25 * HOUR, KEEP_MESSAGE_DAYS="30") == 0


def test_new_setting_deletes_no_text_for_a_day(make_app: MakeApp, alice: Person) -> None:
    add_old(alice, 40)
    run(make_app, KEEP_TEXT_DAYS="30")
    assert alice.message().body == "Hello"
    run_through(make_app, NOW, 25 * HOUR, KEEP_TEXT_DAYS="30")
    assert alice.message().body == ""


def test_shorter_setting_waits_while_the_former_one_goes_on(
    make_app: MakeApp, alice: Person
) -> None:
    run_through(make_app, NOW, 25 * HOUR, KEEP_MESSAGE_DAYS="100")
    add_old(alice, 200)
    add_old(alice, 40)
    assert run(make_app, 25 * HOUR, KEEP_MESSAGE_DAYS="30") == 1
    assert run_through(make_app, 25 * HOUR, 48.5 * HOUR, KEEP_MESSAGE_DAYS="30") == 1
    assert run_through(make_app, 49 * HOUR, 50 * HOUR, KEEP_MESSAGE_DAYS="30") == 0


def test_setting_that_was_set_back_waits_anew(make_app: MakeApp, alice: Person) -> None:
    add_old(alice, 40)
    run_through(make_app, NOW, 12 * HOUR, KEEP_MESSAGE_DAYS="3")
    run(make_app, 12 * HOUR, KEEP_MESSAGE_DAYS="365")
    assert run_through(make_app, 12 * HOUR, 35 * HOUR, KEEP_MESSAGE_DAYS="3") == 1
    run(make_app, 35 * HOUR)
    assert run_through(make_app, 35 * HOUR, 58 * HOUR, KEEP_MESSAGE_DAYS="3") == 1


def test_longer_setting_holds_at_once(make_app: MakeApp, alice: Person) -> None:
    run_through(make_app, NOW, 25 * HOUR, KEEP_MESSAGE_DAYS="3")
    add_old(alice, 400)
    add_old(alice, 40)
    assert run(make_app, 25 * HOUR, KEEP_MESSAGE_DAYS="365") == 1


def test_setting_that_an_older_version_had_waits_after_an_upgrade(
    make_app: MakeApp, alice: Person
) -> None:
    add_old(alice, 40)
    assert run_through(make_app, NOW, 25 * HOUR, KEEP_MESSAGE_DAYS="30") == 0
    with alice.app.app_context():  # an older version stores none
        db.session.execute(delete(ScheduledJob).where(is_keep_setting()))
        db.session.commit()
    add_old(alice, 40)
    [result] = findings(make_app(KEEP_MESSAGE_DAYS="30"))
    assert "deleted a day after the worker has seen it" in result
    assert run_through(make_app, NOW, 23 * HOUR, KEEP_MESSAGE_DAYS="30") == 1
    assert run_through(make_app, 23 * HOUR, 25 * HOUR, KEEP_MESSAGE_DAYS="30") == 0


def test_setting_that_was_noted_without_a_day_waits(make_app: MakeApp, alice: Person) -> None:
    add_old(alice, 40)
    run(make_app, KEEP_MESSAGE_DAYS="30")
    with alice.app.app_context():  # an older version stored only when it begins
        begun = {"due_at": utcnow() - DAY, "done_at": None}
        db.session.execute(update(ScheduledJob).where(is_keep_setting()).values(begun))
        db.session.commit()
    assert run_through(make_app, NOW, 23 * HOUR, KEEP_MESSAGE_DAYS="30") == 1


@pytest.mark.parametrize("clock", [-400 * DAY, -2 * DAY, 2 * DAY, 400 * DAY], ids=str)
@pytest.mark.parametrize("wrong_hours", [0, 5])
def test_wrong_clock_neither_shortens_nor_lengthens_the_day(
    make_app: MakeApp, alice: Person, clock: timedelta, wrong_hours: int
) -> None:
    add_old(alice, 500)
    kept = {"KEEP_MESSAGE_DAYS": "30"}
    start = wrong_hours * HOUR
    assert run_through(make_app, NOW, start, clock=clock, **kept) == 1
    assert run_through(make_app, start, 23 * HOUR, **kept) == 1
    assert run_through(make_app, 23 * HOUR, 25 * HOUR, **kept) == 0


@pytest.mark.parametrize("clock", [-10 * DAY, -40 * timedelta(minutes=1), 10 * DAY], ids=str)
def test_clock_that_goes_back_and_forth_shortens_no_day(
    make_app: MakeApp, alice: Person, clock: timedelta
) -> None:
    add_old(alice, 40)
    for hours in range(23):
        assert run(make_app, hours * HOUR, KEEP_MESSAGE_DAYS="30") == 1
        assert run(make_app, hours * HOUR, KEEP_MESSAGE_DAYS="30") == 1
        assert run_through(
            make_app, hours * HOUR, hours * HOUR, clock=clock, KEEP_MESSAGE_DAYS="30"
        )


def test_time_without_a_worker_does_not_count(make_app: MakeApp, alice: Person) -> None:
    add_old(alice, 40)
    run_through(make_app, NOW, 5 * HOUR, KEEP_MESSAGE_DAYS="30")
    assert run_through(make_app, 100 * HOUR, 118 * HOUR, KEEP_MESSAGE_DAYS="30") == 1
    assert run_through(make_app, 118 * HOUR, 120 * HOUR, KEEP_MESSAGE_DAYS="30") == 0


@pytest.mark.both_databases
def test_workers_with_another_setting_are_told(make_app: MakeApp, alice: Person) -> None:
    add_old(alice, 40)
    for days in ("30", "365"):
        worker = make_app(KEEP_MESSAGE_DAYS=days)
        with worker.app_context(), db.engine.begin() as connection:
            Heartbeat.beat(connection, f"host{days}:7:ab12", utcnow(), None)
    app, said = (
        make_app(KEEP_MESSAGE_DAYS="30"),
        "is 30 days here, but 365 days in the worker host365:7",
    )
    [result] = [result for result in findings(app) if " here, " in result]
    assert result == f"KEEP_MESSAGE_DAYS {said}: the longest is in force"
    assert f"{said}. The longest is in force." in overview(app)
    for hours in range(30):
        run(make_app, hours * HOUR, KEEP_MESSAGE_DAYS="365")
        assert run(make_app, hours * HOUR, KEEP_MESSAGE_DAYS="30") == 1
    with time_machine.travel(utcnow() + HOUR):
        assert "but 365 days" not in overview(app), "the worker runs no more"


def test_worker_that_keeps_for_ever_or_tells_nothing(make_app: MakeApp, alice: Person) -> None:
    with alice.app.app_context(), db.engine.begin() as connection:
        Heartbeat.beat(connection, "host:7:ab12", utcnow(), None)
    app = make_app(KEEP_TEXT_DAYS="30")
    assert "KEEP_TEXT_DAYS is 30 days here, but for ever in the worker host:7" in overview(app)
    with app.app_context():
        db.session.execute(update(Heartbeat).values(keep_text_days=None))
        db.session.commit()
    assert "in the worker" not in overview(app)


@pytest.mark.both_databases
def test_all_that_holds_numbers_waits(make_app: MakeApp) -> None:
    app = make_app(KEEP_TEXT_DAYS="3", KEEP_MESSAGE_DAYS="3")
    with app.app_context():
        db.session.add(refusal(utcnow() - 5 * DAY))
        db.session.commit()
        list(remove_expired(None))
        purge()
        assert len(db.session.scalars(select(RefusedCallback)).all()) == 1
        db.session.rollback()
        let_settings_begin(app)
        purge()
        assert db.session.scalars(select(RefusedCallback)).all() == []


@pytest.mark.both_databases
def test_privacy_and_doctor_say_how_much_is_due(make_app: MakeApp, alice: Person) -> None:
    add_old(alice, 40, 3)
    add_old(alice, 1)
    app = make_app(KEEP_TEXT_DAYS="20", KEEP_MESSAGE_DAYS="30")
    for when in ("a day after the worker has seen it", "at "):
        page, results = overview(app), findings(app)
        for name, days in (("KEEP_TEXT_DAYS", 20), ("KEEP_MESSAGE_DAYS", 30)):
            said = f"{name} is new or shorter than before: 3 messages are older than {days} days"
            assert f"{said}. They go {when}" in page
            [result] = [result for result in results if result.startswith(name)]
            assert f"3 messages older than {days} days are deleted {when}" in result
        with app.app_context():
            list(remove_expired(None))
    let_settings_begin(app)
    assert "new or shorter" not in overview(app)
    assert findings(app) == []
    assert findings(make_app()) == []


@pytest.mark.both_databases
def test_run_that_deleted_something_is_logged_once(
    make_app: MakeApp, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    add_old(alice, 40, 2)
    add_old(alice, 10, 3)
    kept = {"KEEP_TEXT_DAYS": "5", "KEEP_MESSAGE_DAYS": "30"}
    run_through(make_app, NOW, 26 * HOUR, **kept)
    [record] = [record for record in caplog.records if record.msg == "retention_deleted"]
    assert (vars(record)["messages"], vars(record)["texts"]) == (2, 3)
    listed = alice.app.test_cli_runner().invoke(args=["audit", "list"]).output
    assert "worker  Deleted what was too old to keep  messages  2 within the hour" in listed
    assert "worker  Deleted what was too old to keep  texts  3 within the hour" in listed


def test_run_that_ends_half_way_tells_what_it_deleted(
    make_app: MakeApp, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    add_old(alice, 40, 2)
    app = make_app(KEEP_MESSAGE_DAYS="30")
    let_settings_begin(app)
    with app.app_context():
        steps = remove_expired(None)
        next(steps)
        steps.close()  # type: ignore[attr-defined]
    [record] = [record for record in caplog.records if record.msg == "retention_deleted"]
    assert vars(record)["messages"] == 2


def test_runs_of_one_hour_are_one_entry_of_the_audit_log(app: Flask) -> None:
    with time_machine.travel(utcnow().replace(minute=10), tick=False) as clock, app.app_context():
        for _ in range(3):
            with db.engine.begin() as connection:
                audit_log.count_deleted(connection, "texts", 1000)
            clock.shift(timedelta(minutes=29))
        counts = db.session.scalars(select(AuditEntry.count)).all()
    assert sorted(counts) == [1000, 2000]


@pytest.mark.both_databases
def test_restore_does_not_shorten_the_day(
    make_app: MakeApp, alice: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", path_to_programs())
    add_old(alice, 40)
    run(make_app, KEEP_MESSAGE_DAYS="30")
    close(alice.app)
    for command in (["backup", tmp_path / "a"], ["restore", tmp_path / "a", "--replace"]):
        app = make_app(KEEP_MESSAGE_DAYS="30")
        result = app.test_cli_runner().invoke(args=[str(part) for part in command])
        assert result.exit_code == 0, result.output
        close(app)
    assert run(make_app, KEEP_MESSAGE_DAYS="30") == 1
