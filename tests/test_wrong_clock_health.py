"""What a clock that was a month ahead has stored makes the service look neither well nor sick."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from sqlalchemy import delete

from smstracker.alerts.alert_page import read_alert_page
from smstracker.clock import utcnow
from smstracker.connection.report import ConnectionReport, build_report
from smstracker.connection.summary import SummaryKind, summarize
from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.health_facts import WorkerStatus, read_workers
from smstracker.metrics.metric_queries import last_accepted_at
from smstracker.models import CallbackTally, Heartbeat, ScheduledJob
from smstracker.worker.loop import Worker
from tests import alert_scenes as scenes
from tests.clients import Person
from tests.signing import call_back, fields, sid

MONTH = timedelta(days=30)
SLIGHTLY = timedelta(minutes=4)  # as the clocks of two machines may differ


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """A month ahead, until it is set right by `shift(-MONTH)`."""
    with time_machine.travel(utcnow() + MONTH, tick=False) as traveller:
        yield traveller


def report(app: Flask) -> ConnectionReport:
    with app.app_context():
        return build_report(utcnow())


def workers(app: Flask) -> tuple[WorkerStatus, ...]:
    with app.app_context(), reading_connection(db.engine) as connection:
        return read_workers(connection, utcnow())


def test_killed_worker_is_neither_alive_nor_missed(
    app: Flask, clock: time_machine.Traveller
) -> None:
    scenes.add_worker(app, "killed")
    clock.shift(-SLIGHTLY)
    assert [worker.is_alive for worker in workers(app)] == [True]
    clock.shift(SLIGHTLY - MONTH)
    assert workers(app) == ()
    scenes.add_worker(app, "new")
    assert scenes.found(app, "worker-gone") is None
    with app.app_context(), db.engine.begin() as connection:
        assert Heartbeat.purge(connection) == 1
    assert [worker.name for worker in workers(app)] == ["new"]


def test_worker_that_runs_on_began_when_its_clock_was_set_right(
    app: Flask, clock: time_machine.Traveller
) -> None:
    with app.app_context():
        worker = Worker()
        worker._send_heartbeat()
        clock.shift(-MONTH)
        worker._send_heartbeat()
    assert [worker.started_at for worker in workers(app)] == [utcnow()]


def test_callbacks_of_a_wrong_time_are_not_of_the_last_hour(
    app: Flask, clock: time_machine.Traveller
) -> None:
    scenes.add_refused(app, 3)
    scenes.add_tally(app, accepted=5, not_stored=9)
    found = {"callbacks-refused", "callbacks-not-stored"}
    assert found <= {finding.rule for finding in scenes.find(app)}
    clock.shift(-MONTH)
    assert scenes.find(app) == []
    week = report(app).week
    assert (week.accepted, week.not_stored, report(app).causes) == (0, 0, ())
    assert report(app).last_callback_at is None
    with app.app_context(), reading_connection(db.engine) as connection:
        assert last_accepted_at(connection, utcnow()) is None


def test_message_that_was_looked_up_is_no_silence(
    app: Flask, clock: time_machine.Traveller
) -> None:
    final = {"status": "delivered", "status_source": "lookup", "final_at": utcnow() - MONTH}
    scenes.add_messages(app, 1, accepted_at=utcnow(), **final)
    clock.shift(-MONTH)
    assert (report(app).week.by_lookup, report(app).looked_up_since_last_callback) == (1, 0)


def test_outcomes_of_a_wrong_time_are_not_of_the_last_hour(
    app: Flask, clock: time_machine.Traveller
) -> None:
    alice = Person.signed_in(app, "alice@example.org")
    alice.has_message(status="sent", twilio_sid=sid(1), accepted_at=utcnow())
    call_back(app.test_client(), fields(sid(1), "delivered"))
    scenes.add_outcomes(app, delivered=2)
    with scenes.storing(app) as session:
        session.execute(delete(CallbackTally))  # an old database has none
    scenes.add_outcomes(app, delivered=3, status_source="lookup")
    assert (report(app).hour.by_callback, report(app).hour.by_lookup) == (3, 3)
    assert report(app).to_final.sample_size == 1
    clock.shift(-MONTH)
    assert (report(app).week.by_callback, report(app).week.by_lookup) == (0, 0)
    assert (report(app).sent_in_day, report(app).to_final.sample_size) == (0, 0)
    assert report(app).last_callback_at is None


def test_repeat_counts_once_if_its_beginning_is_of_a_wrong_time(
    app: Flask, clock: time_machine.Traveller
) -> None:
    scenes.add_refused(app, 1, diagnosis=None)
    began_at = utcnow()
    clock.shift(-MONTH)
    scenes.add_refused(app, 1, diagnosis=None, first_at=began_at, count=5)
    [cause] = report(app).causes
    assert (cause.hour, cause.newest_at) == (1, utcnow() - scenes.MINUTE)


def test_refused_credentials_are_over_and_a_missing_worker_is_told(
    app: Flask, clock: time_machine.Traveller
) -> None:
    scenes.add_messages(app, 1, status="refused", error_code="20003")
    assert summarize(report(app)).kind is SummaryKind.NO_CREDENTIALS
    clock.shift(-MONTH)
    assert summarize(report(app)).kind is SummaryKind.NO_WORKER


def test_page_of_alerts_is_not_current(app: Flask, clock: time_machine.Traveller) -> None:
    with scenes.storing(app) as session:
        session.add(ScheduledJob(name="alerts", due_at=utcnow(), done_at=utcnow()))
    with app.app_context():
        assert read_alert_page(utcnow()).is_current(utcnow())
        clock.shift(-MONTH)
        assert not read_alert_page(utcnow()).is_current(utcnow())
