"""The rate at which Twilio is asked, shared by look-ups, listing and commands, and the pauses."""

from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta

import pytest
from flask import Flask

from smstracker.clock import utcnow
from smstracker.commands import message_status as command
from smstracker.extensions import db
from smstracker.models import ScheduledJob
from smstracker.models.lookup_queue import OpenMessage
from smstracker.sms.lookup_schedule import LONGEST_WAIT
from smstracker.worker.lookup_throttle import (
    MAX_SLOT_WAIT,
    LookupBatch,
    LookupThrottle,
    postpone_lookup,
)
from smstracker.worker.loop import MAX_CONSECUTIVE_FAILURES, Worker
from tests.clients import Person
from tests.signing import sid
from tests.twilio_stub import answer, wire
from tests.worker_runs import MINUTE, in_minutes

pytestmark = pytest.mark.both_databases


MakeApp = Callable[..., Flask]
YEAR = 60 * 24 * 365


def silent_messages(alice: Person, count: int) -> None:
    for number in range(count):
        alice.has_message(twilio_sid=sid(number), status="sent")


def due_in() -> timedelta:
    """How far ahead the next request may be made."""
    with db.engine.connect() as connection:
        return ScheduledJob.lock(connection, "lookups") - utcnow()


def test_look_ups_take_their_turn_among_the_requests_of_a_listing(
    make_app: MakeApp, alice: Person
) -> None:
    silent_messages(alice, 9)
    with make_app(LOOKUPS_PER_SECOND="1").app_context(), in_minutes(6) as clock:
        looked_up = 0
        for _page in range(6):
            clock.shift(LookupThrottle().reserve() + 0.2)
            looked_up += len(LookupThrottle().claim().messages)
        assert looked_up == 6


def test_look_ups_and_listing_share_one_rate(make_app: MakeApp, alice: Person) -> None:
    silent_messages(alice, 5)
    with make_app(LOOKUPS_PER_SECOND="2").app_context(), in_minutes(6):
        turns = [LookupThrottle().reserve()]
        for _ in range(3):
            messages, wait = LookupThrottle().claim()
            turns += [wait] * len(messages)
            turns.append(LookupThrottle().reserve())
        assert turns == [0, 0.5, 0.5, 1.5, 2, 2, 3, 3.5, 4]


def test_claim_waits_for_no_turn_that_is_far_away(make_app: MakeApp, alice: Person) -> None:
    silent_messages(alice, 9)
    with make_app(LOOKUPS_PER_SECOND="1").app_context(), in_minutes(6):
        claims = [LookupThrottle().claim() for _ in range(9)]
        assert sum(len(claim.messages) for claim in claims) == 6
        assert max(claim.wait for claim in claims) == MAX_SLOT_WAIT.total_seconds()


def test_pause_holds_for_listing_and_look_ups(app: Flask, alice: Person) -> None:
    silent_messages(alice, 1)
    with app.app_context(), in_minutes(6):
        throttle = LookupThrottle()
        for _ in range(10):
            throttle.back_off([])
        assert LookupThrottle().claim() == LookupBatch([], 0)
        assert LookupThrottle().reserve() >= 30


def test_short_pause_does_not_cut_a_long_one_short(app: Flask) -> None:
    with app.app_context(), in_minutes(0):
        throttle = LookupThrottle()
        for _ in range(10):
            throttle.back_off([])
        LookupThrottle().back_off([])
        assert LookupThrottle().reserve() >= 30


def test_clock_that_was_ahead_does_not_stop_the_listing(app: Flask) -> None:
    with app.app_context():
        with in_minutes(YEAR):
            LookupThrottle().back_off([])
        with in_minutes(0):
            assert LookupThrottle().reserve() == 0


def test_pauses_grow_until_twilio_answers_again(app: Flask) -> None:
    throttle = LookupThrottle()
    for _ in range(6):
        throttle.next_pause()
    assert throttle.next_pause() >= timedelta(seconds=30)
    for _ in range(1100):  # 2 to this power is no float
        assert throttle.next_pause() <= timedelta(seconds=60)
    throttle.reset_failures()
    assert throttle.next_pause() <= timedelta(seconds=2)


def test_worker_that_was_answered_pauses_briefly_again(make_app: MakeApp, alice: Person) -> None:
    silent_messages(alice, 1)
    with (
        wire(answer(200, {"sid": sid(0), "status": "delivered"})) as twilio,
        make_app(TWILIO_API_BASE_URL=twilio.url).app_context(),
        in_minutes(6),
    ):
        worker = Worker()
        for _ in range(9):
            worker._throttle.next_pause()
        worker._look_up_silent()
        assert worker._throttle.next_pause() <= timedelta(seconds=2)


def test_failures_in_a_row_end_the_asking_until_after_a_pause(
    make_app: MakeApp, alice: Person
) -> None:
    assert MAX_CONSECUTIVE_FAILURES == 3
    silent_messages(alice, 5)
    with wire(*[answer(500, {})] * 3) as twilio, in_minutes(6):
        with make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
            Worker()._look_up_silent()
            assert len(twilio.requests) == 3
            until = utcnow() + due_in()
        unasked = alice.messages()[3:]
        assert [message.next_lookup_at for message in unasked] == [until, until]
        assert until > utcnow()


def test_failures_between_answers_end_nothing(make_app: MakeApp, alice: Person) -> None:
    silent_messages(alice, 5)
    fails, same = answer(500, {}), answer(200, {"sid": sid(2), "status": "delivered"})
    with wire(fails, fails, same, fails, fails) as twilio, in_minutes(6):
        with make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
            Worker()._look_up_silent()
        assert len(twilio.requests) == 5


@pytest.mark.parametrize(
    ("minutes", "delay"),
    [(2, 5 * MINUTE), (60, 30 * MINUTE), (48 * 60, LONGEST_WAIT), (74 * 60, None)],
)
def test_look_up_that_failed_is_postponed_by_half_the_age_of_its_message(
    app: Flask, alice: Person, minutes: int, delay: timedelta | None
) -> None:
    with app.app_context(), in_minutes(0):
        created_at = utcnow() - minutes * MINUTE
        message = alice.has_message(twilio_sid=sid(1), status="sent", created_at=created_at)
        columns = {field.name: getattr(message, field.name) for field in fields(OpenMessage)}
        postpone_lookup(OpenMessage(**columns))
        assert alice.message().next_lookup_at == (delay and utcnow() + delay)


def test_worker_waits_for_the_turn_of_its_look_ups(
    make_app: MakeApp, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent_messages(alice, 1)
    waits: list[float] = []
    with (
        wire(answer(200, {"sid": sid(0), "status": "delivered"})) as twilio,
        make_app(TWILIO_API_BASE_URL=twilio.url, LOOKUPS_PER_SECOND="1").app_context(),
        in_minutes(6),
    ):
        worker = Worker()
        monkeypatch.setattr(worker, "_sleep", waits.append)
        worker._throttle.reserve()
        worker._look_up_silent()
    assert (waits, alice.message().status) == ([1], "delivered")


@pytest.mark.slow
def test_worker_ends_while_its_look_ups_wait_for_their_turn(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent_messages(alice, 1)
    monkeypatch.setattr(LookupThrottle, "claim", lambda _self: LookupBatch([alice.message()], 60))  # type: ignore[list-item]
    with app.app_context():
        worker = Worker()
        worker.stop()
        worker._look_up_silent()
    assert alice.events(alice.message()) == []


def test_command_keeps_to_the_rate_of_the_workers(
    make_app: MakeApp, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent_messages(alice, 2)
    waits: list[float] = []

    class Clock:
        def wait(self, seconds: float) -> None:
            waits.append(seconds)

    monkeypatch.setattr(command, "Event", Clock)
    same = answer(200, {"sid": sid(0), "status": "sent"})
    with wire(same, *[answer(429, {"code": 20429})] * 3, same) as twilio, in_minutes(1):
        app = make_app(TWILIO_API_BASE_URL=twilio.url, LOOKUPS_PER_SECOND="2")
        with app.app_context():
            LookupThrottle().reserve()
        app.test_cli_runner().invoke(args=["messages", "reconcile", "--all"])
    assert waits[:2] == [0.5, 1]
    assert waits[4] >= 4  # the pause is everybody's
