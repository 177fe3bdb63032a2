"""A database that takes nothing is told as such, and not as Twilio's silence or a lost worker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from threading import current_thread
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import create_engine, delete, event, select, text

from smstracker.clock import utcnow
from smstracker.connection.report import ConnectionReport, build_report
from smstracker.connection.storage_probe import find_storage_problem
from smstracker.connection.summary import SummaryKind, summarize
from smstracker.database.problems import DISK_FULL, LOCKED
from smstracker.extensions import db
from smstracker.models import CallbackTally, Heartbeat
from smstracker.models.events import StatusUpdate
from smstracker.sms.status import Source
from smstracker.webhooks import writer
from smstracker.webhooks.writer import Callback, CallbackWriter, PendingWrite, current_writer
from tests.clients import Person, words
from tests.serving import await_writer, close
from tests.signing import call_back, fields, sid

MINUTE = timedelta(minutes=1)


@contextmanager
def read_only(app: Flask) -> Iterator[None]:
    """No write goes through, as on a disk that was mounted anew after an error."""
    with app.app_context():
        engine = db.engine
    is_sqlite = engine.dialect.name == "sqlite"
    on = "PRAGMA query_only = on" if is_sqlite else "SET default_transaction_read_only = on"

    def refuse(connection: Any, *_: object) -> None:
        connection.cursor().execute(on)
        if is_sqlite:
            connection.set_query_only = lambda _: None  # no transaction ends it
        else:
            connection.commit()

    engine.dispose()
    event.listen(engine, "connect", refuse)
    try:
        yield
    finally:
        event.remove(engine, "connect", refuse)
        engine.dispose()


@contextmanager
def reading_role(url: str) -> Iterator[str]:
    """The URL of the same PostgreSQL database for a role that may read the tables and no more."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE ROLE reader LOGIN"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"))
        try:
            yield engine.url.set(username="reader").render_as_string(hide_password=False)
        finally:
            connection.execute(text("DROP OWNED BY reader"))
            connection.execute(text("DROP ROLE reader"))
    engine.dispose()


def judged(app: Flask) -> ConnectionReport:
    with app.app_context():
        return build_report(utcnow())


def beat(app: Flask, age: timedelta = timedelta()) -> None:
    at = utcnow() - age
    with app.app_context():
        db.session.add(Heartbeat(worker="w", started_at=at, beat_at=at, problem=None))
        db.session.commit()


def test_callbacks_that_cannot_be_stored_are_not_told_as_silence(app: Flask, alice: Person) -> None:
    beat(app)
    client = app.test_client()
    call_back(client, fields(sid(1), "sent"))
    alice.has_message(status="sent", status_source="send", accepted_at=utcnow() + 10 * MINUTE)
    with time_machine.travel(utcnow() + 30 * MINUTE, tick=False), read_only(app):
        assert call_back(client, fields(sid(2), "sent")).status_code == 503
        numbers = judged(app)
        sentence = summarize(numbers)
        assert numbers.waiting_since_last_callback == 1
        assert sentence.kind is SummaryKind.NOT_STORING
        assert sentence.finding.endswith(
            "the database file cannot be written"
            if app.config["SETTINGS"].database_url.startswith("sqlite")
            else "the database is read-only"
        )
        page = words(alice.get("/messages").text)
        assert "Nothing can be stored, and callbacks are answered with 503" in page
        assert "Twilio has not reached this app" not in page
    with time_machine.travel(utcnow() + 30 * MINUTE, tick=False):  # it beats no more, and can write
        app.extensions["callback_writer"].failure = None
        assert summarize(judged(app)).kind is SummaryKind.NO_WORKER, "which is so now"
        with app.app_context():
            db.session.execute(delete(Heartbeat))
            db.session.commit()
        beat(app)
        assert summarize(judged(app)).kind is SummaryKind.NOT_STORED


def test_callbacks_that_could_not_be_stored_are_counted_with_the_next_one(app: Flask) -> None:
    beat(app)
    client = app.test_client()
    with time_machine.travel(utcnow(), tick=False) as clock:
        with read_only(app):
            for number in range(3):
                assert call_back(client, fields(sid(number), "sent")).status_code == 503
        assert judged(app).hour.not_stored == 3
        call_back(client, fields(sid(9), "sent"))
        with app.app_context():
            assert db.session.scalars(select(CallbackTally.not_stored)).all() == [3]
        sentence = summarize(judged(app))
        assert (sentence.kind, judged(app).hour.not_stored) == (SummaryKind.NOT_STORED, 3)
        assert sentence.finding.startswith("3 callbacks could not be stored in the last hour")
        clock.shift(70 * MINUTE)
        assert summarize(judged(app)).kind is not SummaryKind.NOT_STORED


def test_callbacks_that_could_not_be_stored_are_counted_without_a_next_one(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RECOUNT_SECONDS", 60)
    monkeypatch.setattr(writer, "IDLE_SECONDS", 0.01)
    beat(app)
    with read_only(app):
        assert call_back(app.test_client(), fields(sid(1), "sent")).status_code == 503
    await_writer(app)
    with app.app_context():
        assert db.session.scalars(select(CallbackTally.not_stored)).all() == [1]
    told = app.test_cli_runner().invoke(args=["doctor"]).stdout
    assert "warning  connection: 1 callback could not be stored in the last hour" in told
    assert "callbacks in 1 hour: 0 accepted, 0 of them repeated, 0 refused, 1 could not" in told


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_full_disk_is_said_before_a_callback_fails_and_no_longer_once_there_is_room(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat(app)
    sentence = "Nothing can be stored, and callbacks are answered with 503: the disk is full"
    with monkeypatch.context() as disk:
        disk.setattr(
            import_module("smstracker.web.health").shutil,
            "disk_usage",
            lambda _: SimpleNamespace(free=0),
        )
        assert summarize(judged(app)).finding == sentence
        assert sentence in words(alice.get("/messages").text)
    assert sentence not in words(alice.get("/messages").text)
    assert summarize(judged(app)).kind is SummaryKind.WELL


def test_worker_that_cannot_store_its_beat_is_not_told_as_gone(app: Flask) -> None:
    beat(app, age=10 * MINUTE)
    assert summarize(judged(app)).kind is SummaryKind.NO_WORKER
    with read_only(app):
        assert summarize(judged(app)).kind is SummaryKind.NOT_STORING
        sentence = app.test_cli_runner().invoke(args=["doctor"]).stdout
    assert "worker: No" not in sentence
    assert "worker: The" not in sentence
    assert "start flask worker" not in sentence


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("has_failed", [False, True])
def test_right_to_write_that_is_missing_is_told_and_no_lost_worker(
    make_app: Callable[..., Flask], app: Flask, has_failed: bool
) -> None:
    """It is found by a trial write alone, and long after a callback has failed by it."""
    beat(app, age=10 * MINUTE)
    with reading_role(app.config["SETTINGS"].database_url) as url:
        reader = make_app(DATABASE_URL=url)
        if has_failed:
            assert call_back(reader.test_client(), fields(sid(1), "sent")).status_code == 503
        with time_machine.travel(utcnow() + MINUTE, tick=False):
            assert summarize(judged(reader)).finding == (
                "Nothing can be stored, and callbacks are answered with 503: "
                "the user of the database lacks a right"
            )
        sentence = reader.test_cli_runner().invoke(args=["doctor"]).stdout
        close(reader)
    assert "start flask worker" not in sentence


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_lock_that_somebody_holds_is_no_problem_of_the_disk(
    make_app: Callable[..., Flask], app: Flask
) -> None:
    beat(app, age=10 * MINUTE)
    other = make_app()

    def hurry(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA busy_timeout = 10")

    with app.app_context():
        db.engine.dispose()
        event.listen(db.engine, "connect", hurry)
    with other.app_context(), db.engine.begin():
        assert summarize(judged(app)).kind is SummaryKind.NO_WORKER


@pytest.mark.parametrize(("age", "is_told"), [(9, True), (11, False), (-9, True), (-11, False)])
def test_failure_to_store_is_told_for_a_moment(app: Flask, age: int, is_told: bool) -> None:
    now = utcnow()
    with app.app_context():
        current_writer().failure = (DISK_FULL, now - timedelta(seconds=age))
        assert find_storage_problem(now, must_write=True) == (DISK_FULL if is_told else None)


def test_failure_of_another_kind_ends_the_one_before() -> None:
    callback_writer = CallbackWriter(100)
    callback_writer.failure = (DISK_FULL, utcnow())
    update = StatusUpdate("sent", Source.CALLBACK, {}, sid(1))
    callback_writer._fail([PendingWrite(Callback(None, update))], ValueError("not of the database"))
    assert (callback_writer.failure, callback_writer.not_stored) == (None, 1)


def test_failure_is_over_once_something_is_stored(app: Flask) -> None:
    with app.app_context():
        current_writer().failure = (DISK_FULL, utcnow())
        assert call_back(app.test_client(), fields(sid(1), "sent")).status_code == 204
        assert current_writer().failure is None


def test_callback_that_failed_by_a_lock_is_no_problem_of_the_database(app: Flask) -> None:
    now = utcnow()
    with app.app_context():
        current_writer().failure = (LOCKED, now)
        assert find_storage_problem(now, must_write=True) is None


def test_callback_that_waits_for_its_message_alone_is_no_failure() -> None:
    callback_writer = CallbackWriter(100)
    callback_writer._thread = current_thread()
    callback_writer.failure = failure = (DISK_FULL, utcnow())
    update = StatusUpdate("sent", Source.CALLBACK, {}, sid(1))
    callback_writer._postpone([PendingWrite(Callback(None, update))])
    assert (callback_writer.failure, callback_writer.not_stored) == (failure, 0)
