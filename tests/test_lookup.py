"""Look-ups of silent messages at Twilio: when, how often, and what they change."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Message, ScheduledJob
from smstracker.models.lookup_queue import claim_due_messages
from smstracker.simulator import SimulatorServer
from smstracker.sms import lookup_schedule
from smstracker.sms.lookup_schedule import next_lookup
from tests.clients import Person
from tests.signing import call_back, fields, sid
from tests.twilio_stub import answer, listing, wire
from tests.worker_runs import HOUR, MINUTE, in_minutes, work

NOON = datetime(2026, 5, 3, 12, tzinfo=UTC)
WINDOW = timedelta(hours=72)


def due_ages(word: str, window: timedelta = WINDOW) -> list[timedelta]:
    """The ages of the silence at which a message is looked up."""
    ages, now = [], NOON
    while following := next_lookup(word, NOON, now=now, receipt_window=window):
        ages.append(following - NOON)
        now = following
    return ages


def test_silent_message_is_asked_about_less_and_less_until_the_window_ends() -> None:
    expected = [5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, 24 * HOUR, 48 * HOUR, 72 * HOUR]
    assert due_ages("sent") == due_ages("queued") == expected


def test_short_window_ends_the_look_ups_early() -> None:
    assert due_ages("sent", HOUR) == [5 * MINUTE, 15 * MINUTE, HOUR]


def test_unknown_outcome_is_looked_for_early_and_often() -> None:
    assert due_ages("unknown")[:5] == [MINUTE, 3 * MINUTE, 5 * MINUTE, 6 * MINUTE, 10 * MINUTE]


@pytest.mark.parametrize("word", ["delivered", "failed", "refused", "untraced", "canceled"])
def test_final_message_is_never_asked_about(word: str) -> None:
    assert due_ages(word) == []


def test_lost_receipt_is_fetched_with_its_source_price_and_segments(
    live: Flask, simulator: SimulatorServer
) -> None:
    alice = Person.signed_in(live, "alice@example.org")
    alice.send(recipient="+15005550104")
    assert simulator.ledger.wait_until_idle(30)
    assert alice.message().status == "queued"
    with in_minutes(6):
        work(live)
    message = alice.message()
    assert (message.status, message.status_source) == ("delivered", "lookup")
    assert (message.price_micros, message.price_unit) == (7900, "USD")
    assert (message.segments, message.next_lookup_at) == (1, None)
    event = alice.events(message)[-1]
    assert (event.status, event.source) == ("delivered", "lookup")
    page = alice.get(f"/messages/{message.public_id}").text
    assert "look-up at Twilio" in page
    assert "found by a look-up 6 minutes after you sent it" in page


def test_sent_message_is_asked_about_too_and_a_failure_keeps_its_code(
    app: Flask, make_app: Callable[..., Flask], alice: Person
) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent")
    failed = {"sid": sid(1), "status": "undelivered", "error_code": 30005, "num_segments": "2"}
    with wire(answer(200, failed), listing()) as twilio, in_minutes(6):
        work(make_app(TWILIO_API_BASE_URL=twilio.url))
    message = alice.message()
    assert (message.status, message.error_code) == ("undelivered", "30005")
    assert (message.status_source, message.segments) == ("lookup", 2)


def test_message_is_left_alone_while_it_is_not_silent(make_app: Callable[..., Flask]) -> None:
    app = make_app(TWILIO_API_BASE_URL="http://127.0.0.1:9")
    alice = Person.signed_in(app, "alice@example.org")
    message = alice.has_message(twilio_sid=sid(1))
    with in_minutes(4):
        call_back(app.test_client(), fields(sid(1), "sent"))
        work(app)
        assert alice.events(alice.message())[-1].source == "callback"
        assert alice.message().next_lookup_at == utcnow() + 5 * MINUTE
    assert message.next_lookup_at is not None


def test_look_up_that_tells_nothing_new_is_kept_and_comes_back_later(
    make_app: Callable[..., Flask], alice: Person
) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent")
    same = {"sid": sid(1), "status": "sent"}
    with wire(answer(200, same), listing()) as twilio, in_minutes(6):
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        work(app)
        work(app)
        assert len(twilio.requests) == 2  # the message, and once the listing of the day
        message = alice.message()
        assert message.next_lookup_at == message.status_at + 15 * MINUTE
    assert [event.source for event in alice.events(message)] == ["lookup"]


def test_late_receipt_still_wins_after_the_window(client: FlaskClient, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent")
    with time_machine.travel(utcnow() + 80 * HOUR):
        assert "Sent, no receipt" in alice.get("/messages").text
        call_back(client, fields(sid(1), "delivered"))
        assert alice.message().status == "delivered"


def test_busy_twilio_is_left_alone_by_every_worker(
    make_app: Callable[..., Flask], alice: Person
) -> None:
    for number in (1, 2, 3):
        alice.has_message(twilio_sid=sid(number), status="sent")
    busy = answer(429, {"code": 20429, "message": "x", "status": 429})
    with wire(busy, listing()) as twilio, in_minutes(6):
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        work(app)
        work(app)
        assert len(twilio.requests) == 2
        with app.app_context():
            pause = db.session.get_one(ScheduledJob, "lookups").due_at - utcnow()
        assert timedelta(seconds=0.9) < pause < timedelta(seconds=2.5)  # the listing waits too
    assert {message.status for message in alice.messages()} == {"sent"}


def test_two_workers_share_the_work_and_never_ask_twice(app: Flask, alice: Person) -> None:
    for number in range(1, 9):
        alice.has_message(twilio_sid=sid(number), status="sent")
    with app.app_context(), in_minutes(6):
        with db.engine.begin() as connection:
            first = claim_due_messages(connection, 5)
        with db.engine.begin() as connection:
            second = claim_due_messages(connection, 5)
        assert (len(first), len(second)) == (5, 3)
        assert not {one.id for one in first} & {one.id for one in second}


def test_many_workers_at_once_claim_each_message_once(app: Flask, alice: Person) -> None:
    for number in range(1, 25):
        alice.has_message(twilio_sid=sid(number), status="sent")

    def claim_all() -> list[int]:
        claimed: list[int] = []
        with app.app_context():
            for _ in range(10):
                with db.engine.begin() as connection:
                    claimed += [one.id for one in claim_due_messages(connection, 3)]
        return claimed

    with in_minutes(6), ThreadPoolExecutor(4) as threads:
        claims = [threads.submit(claim_all) for _ in range(4)]
        claimed = [one for done in claims for one in done.result()]
    assert sorted(claimed) == [message.id for message in alice.messages()]


def test_claim_of_a_killed_worker_lapses(app: Flask, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent")
    with app.app_context(), in_minutes(6) as clock:
        for expected in (1, 0, 1):
            with db.engine.begin() as connection:
                assert len(claim_due_messages(connection, 5)) == expected
            clock.shift(lookup_schedule.LEASE / 1.9)


def test_simulated_messages_are_not_asked_of_twilio(app: Flask, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent", simulated=True)
    with app.app_context(), in_minutes(6), db.engine.begin() as connection:
        assert claim_due_messages(connection, 5) == []


def test_daily_listing_catches_what_look_ups_missed_and_learns_prices(
    make_app: Callable[..., Flask], alice: Person
) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent", next_lookup_at=None)
    alice.has_message(twilio_sid=sid(2), status="delivered", next_lookup_at=None)
    with make_app().app_context():
        db.session.execute(update(Message).values(price_micros=None))
        db.session.commit()
    listed = [
        {"sid": sid(1), "status": "failed", "error_code": 30008},
        {"sid": sid(2), "status": "delivered", "price": "-0.01500", "price_unit": "USD"},
        {"sid": sid(3), "status": "delivered"},
    ]
    with wire(listing(*listed)) as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        work(app)
        work(app)
        assert len(twilio.requests) == 1
    first, second = alice.messages()
    assert (first.status, first.error_code, first.status_source) == ("failed", "30008", "lookup")
    assert (second.price_micros, second.price_unit) == (15000, "USD")
    assert alice.events(second) == []


def test_failing_listing_is_tried_again_before_the_day_is_over(
    make_app: Callable[..., Flask], alice: Person
) -> None:
    with wire(answer(500, {}), listing()) as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        work(app)
        with in_minutes(20):
            work(app)
            work(app)
        assert len(twilio.requests) == 2
