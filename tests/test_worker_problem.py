"""A worker's problem is reported until Twilio answers again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from sqlalchemy import select
from time_machine import Traveller

from smstracker.extensions import db
from smstracker.models import Heartbeat
from smstracker.worker.loop import (
    JOB_CHECK_INTERVAL,
    JOBS,
    PROBLEM_CHECK_INTERVAL,
    RETRY_INTERVAL,
    Worker,
)
from tests.clients import Person
from tests.signing import ACCOUNT_SID, sid
from tests.twilio_stub import TwilioStub, answer, listing, wire
from tests.worker_runs import MINUTE, InstantWorker, in_minutes

MakeApp = Callable[..., Flask]
REFUSED = answer(401, {"code": 20003, "message": "x", "status": 401})
FOREIGN = "AC" + "9" * 32


@contextmanager
def refused_worker(
    make_app: MakeApp, *answers: bytes
) -> Iterator[tuple[Worker, Traveller, TwilioStub]]:
    """A worker and the clock, right after Twilio refused the credentials of a look-up."""
    with (
        wire(REFUSED, *answers) as twilio,
        make_app(TWILIO_API_BASE_URL=twilio.url).app_context(),
        in_minutes(6) as clock,
    ):
        worker = Worker()
        worker._look_up_silent()
        yield worker, clock, twilio


def problem() -> str | None:
    with db.engine.connect() as connection:
        return connection.scalar(select(Heartbeat.problem))


def run_once(worker: Worker) -> None:
    worker.work()
    worker.join_threads()


@pytest.fixture
def without_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(JOBS, "listing")


def test_problem_is_still_reported_minutes_and_many_jobs_later(
    make_app: MakeApp, alice: Person, without_listing: None
) -> None:
    alice.has_message(status="sent", twilio_sid=sid(1))
    with refused_worker(make_app) as (worker, clock, _twilio):
        for _ in range(11):
            clock.shift(10)
            run_once(worker)
        assert "TWILIO_AUTH_TOKEN" in (problem() or "")


@pytest.mark.parametrize(
    ("response", "is_over"),
    [
        (answer(200, {"sid": ACCOUNT_SID, "status": "active", "type": "Full"}), True),
        (answer(404, {"code": 20404, "message": "x", "status": 404}), True),
        (REFUSED, False),
    ],
)
def test_problem_ends_when_the_account_can_be_asked_for(
    make_app: MakeApp, alice: Person, without_listing: None, response: bytes, is_over: bool
) -> None:
    alice.has_message(status="sent", twilio_sid=sid(1))
    with refused_worker(make_app, response) as (worker, clock, twilio):
        run_once(worker)
        assert len(twilio.requests) == 1
        clock.shift(PROBLEM_CHECK_INTERVAL)
        run_once(worker)
        assert len(twilio.requests) == 2
        assert (problem() is None) == is_over


def test_failed_listing_is_logged_and_tried_again_after_a_minute(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        wire(REFUSED, listing()) as twilio,
        make_app(TWILIO_API_BASE_URL=twilio.url).app_context(),
        in_minutes(0) as clock,
    ):
        worker = InstantWorker()
        run_once(worker)
        assert "TWILIO_AUTH_TOKEN" in (problem() or "")
        [line] = [record for record in caplog.records if record.msg == "lookup_failed"]
        assert "credentials" in line.reason  # type: ignore[attr-defined]
        clock.shift(MINUTE)
        run_once(worker)
        assert problem() is None
        assert RETRY_INTERVAL + JOB_CHECK_INTERVAL < PROBLEM_CHECK_INTERVAL


def test_problem_ends_with_a_listing(make_app: MakeApp, alice: Person) -> None:
    alice.has_message(status="sent", twilio_sid=sid(1))
    with refused_worker(make_app, listing()) as (worker, clock, _twilio):
        clock.shift(10)
        run_once(worker)
        clock.shift(10)
        worker._send_heartbeat()
        assert problem() is None


def test_problem_ends_with_a_look_up_that_is_answered(make_app: MakeApp, alice: Person) -> None:
    alice.has_message(status="sent", twilio_sid=sid(1))
    delivered = answer(200, {"sid": sid(1), "status": "delivered"})
    with refused_worker(make_app, delivered) as (worker, clock, _twilio):
        clock.shift(10 * MINUTE)
        worker._look_up_silent()
        clock.shift(10)
        worker._send_heartbeat()
        assert problem() is None


def test_problem_is_not_mended_by_a_message_that_cannot_be_asked_about(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_message(status="sent", twilio_sid=sid(1))
    alice.has_message(status="sent", twilio_sid=sid(2), account_sid=FOREIGN)
    with refused_worker(make_app, REFUSED) as (worker, clock, twilio):
        assert len(twilio.requests) == 2
        clock.shift(10)
        worker._send_heartbeat()
        assert problem() is not None
