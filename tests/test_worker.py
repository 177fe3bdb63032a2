"""`flask worker`: it says that it lives, waits for what is away, and ends when it is told to."""

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import Connection, select
from sqlalchemy.exc import OperationalError

from config import ROOT
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Heartbeat, RefusedCallback, ScheduledJob, SignInToken
from smstracker.models.events import StatusUpdate
from smstracker.models.jobs import JobName
from smstracker.sms.lookup_schedule import LEASE
from smstracker.worker import lookup, loop
from smstracker.worker.lookup_throttle import LookupThrottle
from smstracker.worker.loop import Worker
from tests.clients import Person
from tests.live_settings import live_environment
from tests.signing import fields, sid
from tests.twilio_stub import SILENCE, answer, wire
from tests.worker_runs import MINUTE, InstantEvent, InstantWorker, in_minutes, look_up, work

pytestmark = pytest.mark.both_databases


MakeApp = Callable[..., Flask]


def heartbeats(app: Flask) -> list[Heartbeat]:
    with app.app_context():
        return list(db.session.scalars(select(Heartbeat)))


@contextmanager
def running_worker(database_url: str, **changed: str) -> Any:
    """`flask worker` as a process of its own."""
    env = live_environment(DATABASE_URL=database_url, **changed)
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "worker"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(condition: Callable[[], object]) -> None:
    for _ in range(800):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it never came about")


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_worker_lives_and_ends_cleanly_when_told_to(
    app: Flask, database_url: str, ending: signal.Signals
) -> None:
    with running_worker(database_url) as process:
        wait_for(lambda: heartbeats(app))
        process.send_signal(ending)
        assert process.wait(60) == 0
        assert '"worker_stopped"' in process.stderr.read()
    assert heartbeats(app) == []


@pytest.mark.slow
def test_killed_worker_leaves_a_heartbeat_that_grows_old(app: Flask, database_url: str) -> None:
    with running_worker(database_url) as process:
        wait_for(lambda: heartbeats(app))
        process.kill()
        process.wait(60)
    [left] = heartbeats(app)
    assert left.beat_at <= utcnow()


def test_worker_says_what_keeps_it_from_asking(make_app: MakeApp, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent")
    refused = answer(401, {"code": 20003, "message": "x", "status": 401})
    with wire(refused, refused) as twilio, in_minutes(6):
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        work(app)
        [beat] = heartbeats(app)
    assert beat.problem is not None
    assert "TWILIO_AUTH_TOKEN" in beat.problem


def test_worker_that_is_told_to_stop_leaves_the_rest_to_the_next(
    make_app: MakeApp, alice: Person
) -> None:
    for number in (1, 2, 3):
        alice.has_message(twilio_sid=sid(number), status="sent")
    with wire(answer(200, {"sid": sid(1), "status": "delivered"})) as twilio, in_minutes(6):
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        with app.app_context():
            worker = Worker()
            twilio.on_request = worker.stop
            worker._look_up_silent()
        assert len(twilio.requests) == 1
    assert [message.status for message in alice.messages()] == ["delivered", "sent", "sent"]


def test_database_that_is_away_is_waited_for(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker()

    def away() -> None:
        raise OperationalError("UPDATE", {}, Exception("away"))

    with app.app_context(), caplog.at_level(logging.WARNING):
        monkeypatch.setattr(worker, "work", away)
        waits = [worker._work_or_wait() for _ in range(1100)]  # 2 to this power is no float
        monkeypatch.undo()
        assert worker._work_or_wait() == loop.POLL_SECONDS
        worker.join_threads()
    assert waits == [2, 4, 8, 16] + [30] * 1096
    assert {(r.levelname, bool(r.exc_info)) for r in caplog.records} == {("WARNING", False)}
    assert caplog.messages.count("worker_waits") == 1100


def test_error_that_nobody_expects_is_logged_with_its_trace(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker()
    monkeypatch.setattr(worker, "work", lambda: 1 / 0)
    with app.app_context(), caplog.at_level(logging.WARNING):
        worker._work_or_wait()
    [record] = caplog.records
    assert (record.levelname, record.msg, bool(record.exc_info)) == ("ERROR", "worker_waits", True)


def test_one_message_that_breaks_the_look_up_does_not_end_the_worker(
    make_app: MakeApp, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(loop.JOBS, "listing")
    alice.has_message(twilio_sid=sid(1), status="sent")
    alice.has_message(twilio_sid=sid(2), status="sent")
    fine = answer(200, {"sid": sid(2), "status": "delivered"})
    another = answer(200, {"sid": sid(9), "status": "delivered"})
    with wire(another, fine) as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url, LOOKUPS_PER_SECOND="1")
        with in_minutes(6) as clock:
            work(app)
            clock.shift(10)
            work(app)
    assert [message.status for message in alice.messages()] == ["sent", "delivered"]


def test_message_that_cannot_be_stored_does_not_hold_up_those_behind_it(
    make_app: MakeApp, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent")
    alice.has_message(twilio_sid=sid(2), status="sent")
    real = lookup.append_event

    def store(connection: Connection, message_id: int, update: StatusUpdate) -> bool:
        if update.twilio_sid == sid(1):
            raise OverflowError("no column holds it")
        return real(connection, message_id, update)

    monkeypatch.setattr(lookup, "append_event", store)
    monkeypatch.delitem(loop.JOBS, "listing")
    replies = (answer(200, {"sid": sid(number), "status": "delivered"}) for number in (1, 2))
    with wire(*replies) as twilio, in_minutes(6):
        work(make_app(TWILIO_API_BASE_URL=twilio.url))
    assert [message.status for message in alice.messages()] == ["sent", "delivered"]


def test_database_that_fails_a_look_up_postpones_no_message(
    make_app: MakeApp, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: object) -> bool:
        raise OperationalError("UPDATE", {}, Exception("away"))

    alice.has_message(twilio_sid=sid(1), status="sent")
    alice.has_message(twilio_sid=sid(2), status="sent")
    monkeypatch.setattr(lookup, "append_event", away)
    found = answer(200, {"sid": sid(1), "status": "delivered"})
    with wire(found) as twilio, in_minutes(6):
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        with pytest.raises(OperationalError):
            look_up(app)
        assert len(twilio.requests) == 1
        latest = utcnow() + LEASE
    assert all(m.next_lookup_at and m.next_lookup_at <= latest for m in alice.messages())


def test_look_ups_go_on_while_the_listing_waits_for_twilio(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent")
    fast = answer(200, {"sid": sid(1), "status": "delivered"})
    with wire(SILENCE) as hanging, wire(fast) as twilio, in_minutes(6) as clock:
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        at_hanging = make_app(TWILIO_API_BASE_URL=hanging.url)
        worker = Worker()
        with at_hanging.app_context():
            worker._start_thread(JobName.LISTING, partial(worker._run_in_thread, JobName.LISTING))
            wait_for(lambda: hanging.requests)
        clock.shift(1)  # the rate is shared
        with app.app_context():
            worker.work()
            assert alice.message().status == "delivered"
            assert worker._threads[JobName.LISTING].is_alive()
            assert len(heartbeats(app)) == 1
        hanging.close()
        worker.join_threads()


def test_worker_ends_while_its_listing_waits_for_its_turn(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[object] = []
    monkeypatch.setitem(loop.JOBS, "listing", (lambda _: pages, loop.DAY))
    monkeypatch.setattr(LookupThrottle, "reserve", lambda _self: 60.0)
    with app.app_context():
        worker = Worker()
        worker.work()
        worker.stop()
        worker.run()
        assert not worker._threads[JobName.LISTING].is_alive()
        assert ScheduledJob.last_done_at(db.session.connection(), "listing") is None
        db.session.remove()


def test_each_page_of_a_listing_waits_for_a_slot_of_the_shared_rate(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []

    class RecordingEvent(InstantEvent):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            return False

    monkeypatch.setitem(loop.JOBS, "listing", (lambda _: ["first page", "second page"], loop.DAY))
    with make_app(LOOKUPS_PER_SECOND="4").app_context(), in_minutes(1):
        worker = InstantWorker()
        worker._stopped = RecordingEvent()
        worker.work()
        worker.join_threads()
    assert waits == [0, 0.25, 0.5]


def test_job_is_claimed_by_one_worker_and_not_again_before_it_is_due(app: Flask) -> None:
    with app.app_context(), in_minutes(1) as clock:
        claimed = []
        for minutes in (0, 10, 20):
            clock.move_to(utcnow() + minutes * MINUTE)
            with db.engine.begin() as connection:
                claimed.append(ScheduledJob.claim(connection, "x", loop.JOB_LEASE, loop.DAY))
        assert claimed == [True, False, True]


def test_removal_of_a_killed_worker_is_taken_over_within_minutes(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[None] = []

    def end_in_the_middle(_last_done: datetime | None) -> Iterator[int]:
        runs.append(None)
        yield 1
        raise OperationalError("DELETE", {}, Exception("killed"))

    monkeypatch.setattr(loop, "JOBS", {JobName.REMOVAL: (end_in_the_middle, MINUTE)})
    with app.app_context(), in_minutes(0) as clock:
        for _ in range(2):
            worker = Worker()
            worker.work()
            worker.join_threads()
            clock.shift(3 * MINUTE)
    assert len(runs) == 2


def test_job_is_done_up_to_its_beginning_however_long_it_takes(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context(), in_minutes(0) as clock:
        started_at = utcnow()

        def listing(_last_done: datetime | None) -> Iterator[int]:
            clock.shift(600)
            yield 0

        monkeypatch.setitem(loop.JOBS, JobName.LISTING, (listing, loop.DAY))
        InstantWorker()._run_job(JobName.LISTING)
        with db.engine.connect() as connection:
            assert ScheduledJob.last_done_at(connection, JobName.LISTING) == started_at
            assert ScheduledJob.lock(connection, JobName.LISTING) == started_at + loop.DAY


def test_purge_forgets_what_is_past_its_time_and_no_message(app: Flask, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="delivered")
    with app.app_context(), db.engine.begin() as connection:
        Heartbeat.beat(connection, "killed long ago", utcnow(), None)
    with app.app_context():
        SignInToken.redeem_link(SignInToken.issue(alice.email).token)
        SignInToken.issue("carol@example.org")
        db.session.commit()
    runner: FlaskCliRunner = app.test_cli_runner()
    assert runner.invoke(args=["purge"]).exit_code == 0
    assert len(heartbeats(app)) == 1
    with in_minutes(25 * 60):
        printed = runner.invoke(args=["purge"]).output
    assert heartbeats(app) == []
    assert "1  entries of dead workers" in printed
    assert "2  sign-in tokens" in printed
    assert alice.message().id == message.id


def reconcile(app: Flask, *arguments: str) -> tuple[int, str]:
    result = app.test_cli_runner().invoke(args=["messages", "reconcile", *arguments])
    return result.exit_code, result.output


def test_reconcile_asks_about_all_that_is_not_final_whatever_the_schedule(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent", next_lookup_at=None)
    alice.has_message(twilio_sid=sid(2), status="queued")
    alice.has_message(twilio_sid=sid(3), status="delivered", final_at=utcnow())
    first = answer(200, {"sid": sid(1), "status": "undelivered", "error_code": 30003})
    with wire(first, answer(200, {"sid": sid(2), "status": "queued"})) as twilio:
        code, printed = reconcile(make_app(TWILIO_API_BASE_URL=twilio.url), "--all")
    assert code == 0
    assert "2 messages: 1 changed, 1 unchanged." in printed
    assert [m.status for m in alice.messages()] == ["undelivered", "queued", "delivered"]


def test_reconcile_asks_about_one_message_by_id_or_sid(make_app: MakeApp, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="sent")
    alice.has_message(twilio_sid=sid(2), status="sent")
    same = answer(200, {"sid": sid(1), "status": "sent"})
    with wire(same, same) as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        for wanted in (str(message.public_id), sid(1)):
            assert "1 message: 1 unchanged." in reconcile(app, wanted)[1]


def test_reconcile_without_arguments_asks_about_what_is_due(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent")
    with wire(answer(200, {"sid": sid(1), "status": "delivered"})) as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        assert "Nothing to look up." in reconcile(app)[1]
        with in_minutes(6):
            assert "1 changed" in reconcile(app)[1]


def test_reconcile_says_what_kept_it_from_asking(app: Flask, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent")
    code, printed = reconcile(app, "--all")
    assert code == 1
    assert "1 message: 1 could not be looked up." in printed
    assert "Error: 1 of 1 message could not be looked up. Twilio could not be reached." in printed


def test_reconcile_says_that_the_simulated_carrier_is_not_started(
    app: Flask, alice: Person
) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent", simulated=True)
    app.config["SETTINGS"] = replace(app.config["SETTINGS"], demo=True)
    code, printed = reconcile(app, "--all")
    assert code == 1
    assert "The simulated carrier does not answer: start the demo with make run, or" in printed


def test_reconcile_waits_for_a_busy_twilio(
    make_app: MakeApp, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smstracker.worker.lookup_throttle.MAX_PAUSE_SECONDS", 0.01)
    alice.has_message(twilio_sid=sid(1), status="sent")
    busy = answer(429, {"code": 20429, "message": "x", "status": 429})
    with wire(busy, busy, answer(200, {"sid": sid(1), "status": "delivered"})) as twilio:
        assert reconcile(make_app(TWILIO_API_BASE_URL=twilio.url), "--all")[0] == 0
    assert alice.message().status == "delivered"


@pytest.mark.parametrize("arguments", [("nothing",), (sid(9),), ("--all", sid(1))])
def test_reconcile_refuses_what_makes_no_sense(app: Flask, arguments: tuple[str, ...]) -> None:
    assert reconcile(app, *arguments)[0] != 0


def test_final_message_is_not_asked_about(app: Flask, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1), status="delivered", final_at=utcnow())
    assert reconcile(app, sid(1)) == (0, "It is final: there is nothing to look up.\n")


def test_message_of_a_demo_is_not_called_final_where_twilio_cannot_be_asked(
    app: Flask, alice: Person
) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent", simulated=True)
    code, printed = reconcile(app, sid(1))
    assert (code, printed.split(":")[0]) == (0, "It is a demo's message")
    assert "so it cannot be looked up" in printed


def test_message_of_twilio_is_not_called_final_in_a_demo(app: Flask, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent", simulated=False)
    app.config["SETTINGS"] = replace(app.config["SETTINGS"], demo=True)
    assert "where this demo cannot look it up" in reconcile(app, sid(1))[1]


def test_worker_explains_what_was_refused(app: Flask) -> None:
    app.test_client().post("/webhooks/twilio/status", data=fields(sid(1), "sent"))
    work(app)
    with app.app_context():
        diagnosis = db.session.scalars(select(RefusedCallback.diagnosis)).one()
    assert "It has no signature" in (diagnosis or "")


def test_purge_forgets_old_refusals_and_counts(app: Flask) -> None:
    app.test_client().post("/webhooks/twilio/status", data=fields(sid(1), "sent"))
    runner = app.test_cli_runner()
    assert "0  refused callbacks" in runner.invoke(args=["purge"]).output
    with in_minutes(15 * 24 * 60):
        printed = runner.invoke(args=["purge"]).output
    assert "1  refused callbacks" in printed
    assert "1  counts of callbacks" in printed
