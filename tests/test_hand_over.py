"""The hand-over of what waits in the outbox: once, at the last moment only what may be sent."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
import time_machine
from flask import Flask
from sqlalchemy import event, select, update
from sqlalchemy.exc import OperationalError

from smstracker import create_app
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.messages.last_checks import MAX_LATE
from smstracker.messages.result_writer import SendResultWriter
from smstracker.models import SenderPace, User, outbox
from smstracker.models.outbox import MAX_REFUSALS, OutboxMessage
from smstracker.models.sender_pace import MAX_PAUSE
from smstracker.sms.error_guide import stop_reasons
from smstracker.sms.stop_reasons import StopReason
from smstracker.worker.hand_over import MAX_HAND_OVERS, Dispatcher, claim_sendable, submit_claimed
from tests.clients import Person, words
from tests.hand_overs import dispatch, submit
from tests.signing import STATUS_PATH, call_back, fields, sid
from tests.twilio_stub import HANG_UP, TwilioStub, answer, created, wire

MakeApp = Callable[..., Flask]
NUMBER = "+15005550006"
FAST = {"SEND_PER_SECOND": "10000", "SEND_LIMIT_PER_MINUTE": "100"}
SLOW_DOWN = answer(429, {"code": 20429, "message": "x", "status": 429})


def sender_at(make_app: MakeApp, twilio: TwilioStub, **changed: str) -> Person:
    app = make_app(TWILIO_API_BASE_URL=twilio.url, **FAST, **changed)
    return Person.signed_in(app, "alice@example.org")


def paused_until(app: Flask) -> datetime | None:
    with app.app_context():
        return db.session.scalar(select(SenderPace.paused_until))


@pytest.mark.both_databases
def test_waiting_message_is_handed_over(make_app: MakeApp) -> None:
    with wire(created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio)
        queued = alice.queue()
        dispatch(alice.app)
        dispatch(alice.app)
    message = alice.message()
    assert (message.status, message.status_source, message.twilio_sid) == ("queued", "send", sid(1))
    assert message.handed_over_at
    [request] = map(parse_qs, twilio.requests)
    assert (request["To"], request["Body"]) == (["+15558670000"], ["Hello"])
    assert str(queued.public_id) in request["StatusCallback"][0]
    [stored] = alice.events(message)
    assert (stored.status, stored.source) == ("queued", "send")


def test_worker_hands_over_without_the_pages_of_the_app(make_app: MakeApp) -> None:
    with wire(created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio)
        public_id = alice.queue().public_id
        app = create_app(alice.app.config["SETTINGS"], with_pages=False)
        dispatch(app)
        with app.app_context():
            db.engine.dispose()
        [address] = parse_qs(twilio.requests[0])["StatusCallback"]
    assert address.startswith(f"https://sms.example.org/webhooks/twilio/status/{public_id}#")


@pytest.mark.both_databases
def test_message_is_pending_and_committed_during_the_call(make_app: MakeApp) -> None:
    observations: list[tuple[str, int]] = []
    with wire(created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()

        def look() -> None:
            with alice.app.app_context():
                in_use = db.engine.pool.checkedout()  # type: ignore[attr-defined]
            observations.append((alice.message().status, in_use))

        twilio.on_request = look
        dispatch(alice.app)
    assert observations == [("pending", 0)]


@pytest.mark.both_databases
@pytest.mark.parametrize("code", [20429, 21611, 30001])
def test_message_waits_again_when_twilio_asks_to_slow_down(make_app: MakeApp, code: int) -> None:
    refusal = answer(429, {"code": code, "message": "x", "status": 429})
    with wire(refusal, created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()
        dispatch(alice.app)
        assert alice.message().status == "outbox"
        until = paused_until(alice.app)
        assert until
        dispatch(alice.app)
        assert len(twilio.requests) == 1
        with time_machine.travel(until):
            dispatch(alice.app)
    message = alice.message()
    assert (message.status, message.error_code) == ("queued", None)
    stored = [(event.status, event.error_code) for event in alice.events(message)]
    assert stored == [("outbox", str(code)), ("queued", None)]


def test_message_that_is_always_refused_for_now_holds_no_others_up_for_ever(
    make_app: MakeApp,
) -> None:
    with wire(*[SLOW_DOWN] * MAX_REFUSALS, created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue(1)
        with time_machine.travel(utcnow(), tick=False) as clock:
            for _ in range(MAX_REFUSALS):
                dispatch(alice.app)
                clock.shift(MAX_PAUSE)
            alice.queue(2)
            dispatch(alice.app)
            assert paused_until(alice.app)
    refused, other = alice.messages()
    assert (refused.status, refused.error_code) == ("refused", "20429")
    assert other.status == "queued"


@pytest.mark.both_databases
def test_failure_by_a_full_queue_pauses_the_sender(make_app: MakeApp) -> None:
    """A Messaging Service takes every message, and reports a full queue later."""
    app = make_app()
    alice = Person.signed_in(app, "alice@example.org")
    service = "MG" + "a" * 32
    message = alice.has_message(messaging_service_sid=service, twilio_sid=sid(1))
    path = f"{STATUS_PATH}/{message.public_id}"
    failure = fields(sid(1), "failed", ErrorCode="30001")
    assert call_back(app.test_client(), failure, path).status_code == 204
    assert alice.message().status == "failed"
    with app.app_context():
        pace = db.session.scalars(select(SenderPace)).one()
    assert (pace.sender, pace.pause_code) == (service, "30001")
    with time_machine.travel(utcnow() + MAX_PAUSE):  # the same failure, told once more
        token = {"I_Twilio_Idempotency_Token": "another"}
        assert call_back(app.test_client(), failure, path, **token).status_code == 204
    with app.app_context():
        assert db.session.scalars(select(SenderPace.paused_until)).one() == pace.paused_until


def test_answer_of_a_proxy_that_asks_to_slow_down_counts_too(make_app: MakeApp) -> None:
    with wire(answer(429, "Too many requests", "text/plain")) as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()
        dispatch(alice.app)
    assert alice.message().status == "outbox"


@pytest.mark.parametrize("reply", [answer(500, ""), answer(503, {"code": 20503}), HANG_UP])
def test_unknown_outcome_is_never_sent_again(make_app: MakeApp, reply: bytes) -> None:
    with wire(reply) as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()
        dispatch(alice.app)
        assert alice.message().status == "unknown"
        with time_machine.travel(utcnow() + timedelta(days=1)):
            dispatch(alice.app)
        assert len(twilio.requests) == 1


def test_refusal_of_the_message_is_final_and_holds_no_other_up(make_app: MakeApp) -> None:
    with wire(answer(400, {"code": 21211, "message": "x"}), created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue(1)
        alice.queue(2)
        dispatch(alice.app)
    assert [message.status for message in alice.messages()] == ["refused", "queued"]
    assert paused_until(alice.app) is None


@pytest.mark.parametrize("word", ["unreached", "refused"])
def test_sender_pauses_when_every_message_would_fail(make_app: MakeApp, word: str) -> None:
    with wire(answer(401, {"code": 20003, "message": "x", "status": 401})) as twilio:
        alice = sender_at(make_app, twilio)
        if word == "unreached":
            twilio.close()
        alice.queue()
        alice.queue()
        dispatch(alice.app)
    assert [message.status for message in alice.messages()] == [word, "outbox"]
    assert paused_until(alice.app)


def test_commit_that_fails_before_the_call_sends_nothing(make_app: MakeApp) -> None:
    with wire() as twilio:
        alice = sender_at(make_app, twilio)
        message = alice.queue()
        with alice.app.app_context():
            [claimed] = claim_sendable(10)
            with failing_commits(), pytest.raises(OperationalError):
                submit_claimed([claimed], submit)
        assert twilio.requests == []
    assert message.id == alice.message().id


@contextmanager
def failing_commits() -> Iterator[None]:
    """Let each COMMIT reach the database, and lose its answer."""

    def fail(connection: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("away"))

    event.listen(db.engine, "commit", fail)
    try:
        yield
    finally:
        event.remove(db.engine, "commit", fail)


def stop_reason(alice: Person) -> tuple[str, str | None, str | None]:
    message = alice.message()
    [stored] = alice.events(message)
    assert (stored.status, stored.source, stored.error_code) == (
        *("refused", "app"),
        message.error_code,
    )
    assert (message.accepted_at, message.next_lookup_at) == (None, None)
    return message.status, message.status_source, message.error_code


@pytest.mark.both_databases
def test_message_of_a_deactivated_person_is_not_sent(make_app: MakeApp) -> None:
    with wire() as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()
        with alice.app.app_context(), db.engine.begin() as connection:
            connection.execute(update(User).values(active=False))
        dispatch(alice.app)
    assert stop_reason(alice) == ("refused", "app", "no-access")


def test_message_of_a_person_whom_no_setting_admits_is_not_sent(make_app: MakeApp) -> None:
    with wire() as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()
        dispatch(make_app(SIGN_IN_ALLOW="@example.net", TWILIO_API_BASE_URL=twilio.url))
    assert stop_reason(alice) == ("refused", "app", "no-access")


def test_message_of_a_removed_sender_is_not_sent(make_app: MakeApp) -> None:
    with wire() as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()
        dispatch(make_app(TWILIO_PHONE_NUMBER="+15005550007", TWILIO_API_BASE_URL=twilio.url))
    assert stop_reason(alice) == ("refused", "app", "sender-removed")


def test_message_of_another_account_is_not_sent(make_app: MakeApp) -> None:
    with wire() as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()
        dispatch(make_app(TWILIO_ACCOUNT_SID="AC" + "2" * 32, TWILIO_API_BASE_URL=twilio.url))
    assert stop_reason(alice) == ("refused", "app", "other-account")


def test_message_that_waited_for_days_is_not_sent(make_app: MakeApp) -> None:
    with wire() as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()
        with time_machine.travel(utcnow() + MAX_LATE + timedelta(seconds=1)):
            dispatch(alice.app)
    assert stop_reason(alice) == ("refused", "app", "too-late")


@pytest.mark.both_databases
def test_message_to_somebody_who_opted_out_is_not_sent_and_shows_the_proof(
    make_app: MakeApp,
) -> None:
    with wire(created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio)
        alice.has_opt_out(recipient="+15558670001")
        alice.queue(1)
        alice.queue(2)
        dispatch(alice.app)
        proof, stopped, sent = alice.messages()
        assert (stopped.status, stopped.error_code) == ("refused", "opted-out")
        assert sent.status == "queued"
        [stored] = alice.events(stopped)
        assert stored.payload["message"] == str(proof.public_id)
        page = words(alice.get(f"/messages/{stopped.public_id}").text)
        assert "so this app did not hand the message to Twilio" in page
        assert "Not sent this app" in page
        # STOP is valid for the sender that it was sent to.
        assert len(twilio.requests) == 1


def test_every_reason_to_stop_is_explained() -> None:
    assert stop_reasons().keys() == set(StopReason)


def test_log_can_be_filtered_by_a_reason_to_stop(make_app: MakeApp) -> None:
    with wire() as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()
        dispatch(make_app(TWILIO_PHONE_NUMBER="+15005550007", TWILIO_API_BASE_URL=twilio.url))
        assert "Sender was removed" in words(alice.get("/messages?error=sender-removed").text)


@contextmanager
def running_dispatcher(app: Flask) -> Iterator[Dispatcher]:
    dispatcher = Dispatcher()
    thread = threading.Thread(target=dispatcher.run, args=[app])
    thread.start()
    try:
        yield dispatcher
    finally:
        dispatcher.stop()
        thread.join(60)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], object]) -> None:
    for _ in range(800):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it never came about")


@pytest.mark.slow
@pytest.mark.both_databases
def test_dispatcher_hands_over_all_that_comes(make_app: MakeApp) -> None:
    with wire(*(created(sid(number)) for number in range(40))) as twilio:
        alice = sender_at(make_app, twilio)
        for number in range(20):
            alice.queue(number)
        with running_dispatcher(alice.app):
            for number in range(20, 40):
                alice.queue(number)
            wait_for(lambda: {message.status for message in alice.messages()} == {"queued"})
        assert len(twilio.requests) == 40
        assert len({tuple(parse_qs(request)["To"]) for request in twilio.requests}) == 40


def test_dispatcher_that_is_told_to_stop_finishes_its_calls(make_app: MakeApp) -> None:
    with wire(created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()
        with running_dispatcher(alice.app) as dispatcher:
            twilio.on_request = dispatcher.stop
            wait_for(lambda: twilio.requests)
    assert alice.message().status == "queued"


@pytest.mark.slow
def test_dispatcher_waits_for_a_database_that_is_away(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wire(created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()
        failures = iter([OperationalError("SELECT", {}, Exception("away"))])
        real = claim_sendable

        def flaky(limit: int) -> object:
            for failure in failures:
                raise failure
            return real(limit)

        monkeypatch.setattr("smstracker.worker.hand_over.claim_sendable", flaky)
        with running_dispatcher(alice.app):
            wait_for(lambda: alice.message().status == "queued")


@pytest.mark.slow
@pytest.mark.both_databases
def test_claim_whose_hand_over_could_not_begin_does_not_wait_for_its_lease(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wire(created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()
        begin, failures = outbox.begin_hand_over, iter([OperationalError("X", {}, Exception())])

        def flaky(*arguments: Any) -> object:
            for failure in failures:
                raise failure
            return begin(*arguments)

        monkeypatch.setattr(outbox, "begin_hand_over", flaky)
        with running_dispatcher(alice.app):
            wait_for(lambda: alice.message().status == "queued")
        assert len(twilio.requests) == 1


def test_slow_answers_take_a_bounded_number_of_threads(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, answered = [], threading.Event()

    def wait_for_answer(message: OutboxMessage, _writer: SendResultWriter) -> None:
        started.append(message.id)
        answered.wait(60)

    monkeypatch.setattr("smstracker.worker.hand_over.submit_from_outbox", wait_for_answer)
    with wire() as twilio:
        alice = sender_at(make_app, twilio)
        for number in range(MAX_HAND_OVERS + 4):
            alice.queue(number)
        with running_dispatcher(alice.app):
            wait_for(lambda: len(started) == MAX_HAND_OVERS)
            with alice.app.app_context():  # the others are left for other workers
                assert len(claim_sendable(20)) == 4
            answered.set()
    assert len(started) == MAX_HAND_OVERS


def test_dispatcher_that_stops_gives_back_what_it_has_not_begun(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wire() as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue()
        dispatcher = Dispatcher()

        def stop(limit: int) -> list[OutboxMessage]:
            dispatcher.stop()
            return claim_sendable(limit)

        monkeypatch.setattr("smstracker.worker.hand_over.claim_sendable", stop)
        dispatcher.run(alice.app)
        assert twilio.requests == []
    assert (alice.message().status, alice.message().claimed_until) == ("outbox", None)


@pytest.mark.both_databases
def test_message_that_is_not_sent_any_more_holds_up_no_other_of_its_claim(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if the database fails right after the hand-over of the others has begun."""

    def fail(_connection: object, _message_id: int) -> None:
        raise OperationalError("UPDATE", {}, Exception("away"))

    with wire(*(created(sid(number)) for number in (1, 2))) as twilio:
        alice = sender_at(make_app, twilio)
        messages = [alice.queue(number) for number in range(3)]
        with alice.app.app_context():
            claimed = claim_sendable(10)
            with db.engine.begin() as connection:
                assert outbox.cancel(connection, messages[1].id)
            monkeypatch.setattr(outbox, "release", fail)
            with pytest.raises(OperationalError):
                submit_claimed(claimed, submit)
    assert [message.status for message in alice.messages()] == ["queued", "canceled", "queued"]


def test_text_that_still_holds_a_field_is_stopped_at_the_last_moment(make_app: MakeApp) -> None:
    with wire() as twilio:
        alice = sender_at(make_app, twilio)
        alice.queue(body="Dear ((name))")
        dispatch(alice.app)
        assert not twilio.requests
    message = alice.message()
    assert (message.status, message.error_code) == ("refused", StopReason.UNFILLED_FIELD)
