"""What Twilio answers to several calls at once is stored in one transaction, or each by itself."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import pytest
import time_machine
from flask import Flask
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.messages import result_writer, sending
from smstracker.messages.result_writer import SendResultWriter
from smstracker.models import Message
from smstracker.models.callback_store import store_callback
from smstracker.models.event_store import apply_send_results
from smstracker.models.events import SendResult, StatusUpdate
from smstracker.models.outbox import OutboxMessage
from smstracker.sms.status import Source
from smstracker.worker.hand_over import claim_sendable, submit_claimed
from tests.clients import Person
from tests.hand_overs import dispatch
from tests.signing import ACCOUNT_SID, sid
from tests.twilio_stub import created, wire

pytestmark = pytest.mark.both_databases

MakeApp = Callable[..., Flask]
AWAY = OperationalError("INSERT", {}, Exception("away"))


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(SEND_PER_SECOND="10000")


def answer(number: int, **payload: object) -> SendResult:
    return SendResult(StatusUpdate("queued", Source.SEND, payload, sid(number)), True, segments=1)


@contextmanager
def busy(writer: SendResultWriter, count: int) -> Iterator[None]:
    """Keep a writer from storing until so many results have come."""
    with writer._lock:
        yield
        while writer._pending.qsize() < count:
            pass


def hand_over_together(app: Flask, count: int) -> None:
    """Hand over what waits, each message in a thread; the answers come together."""
    writer = SendResultWriter()

    def submit(message: OutboxMessage) -> None:
        with app.app_context():
            sending.submit_from_outbox(message, writer)

    with ThreadPoolExecutor(count) as pool, app.app_context(), busy(writer, count):
        submit_claimed(claim_sendable(count), partial(pool.submit, submit))


@contextmanager
def commits(app: Flask) -> Iterator[list[Connection]]:
    """The connections that commit."""
    seen: list[Connection] = []

    def note(connection: Connection) -> None:
        seen.append(connection)

    with app.app_context():
        event.listen(db.engine, "commit", note)
        yield seen
        event.remove(db.engine, "commit", note)


def store_together(app: Flask, results: dict[int, SendResult]) -> list[bool]:
    """Store results that come while the writer is busy."""
    writer = SendResultWriter()

    def store(message_id: int, result: SendResult) -> bool:
        with app.app_context():
            return writer.store(message_id, result)

    with ThreadPoolExecutor(len(results)) as pool:
        with busy(writer, len(results)):
            stored = [pool.submit(store, *item) for item in results.items()]
        return [future.result() for future in stored]


def pending_messages(alice: Person, count: int) -> list[Message]:
    return [alice.has_message(status="pending", account_sid=ACCOUNT_SID) for _ in range(count)]


def test_results_that_come_together_are_stored_in_one_transaction(
    app: Flask, alice: Person
) -> None:
    messages = pending_messages(alice, 5)
    with commits(app) as seen:
        results = {message.id: answer(n) for n, message in enumerate(messages)}
        assert all(store_together(app, results))
    assert len(seen) == 1
    stored = [(message.status, message.twilio_sid) for message in alice.messages()]
    assert stored == [("queued", sid(number)) for number in range(5)]
    for message in messages:
        [stored_event] = alice.events(message)
        assert (stored_event.status, stored_event.source) == ("queued", "send")


def test_callbacks_that_came_before_the_answers_are_attached(app: Flask, alice: Person) -> None:
    messages = pending_messages(alice, 3)
    delivered = StatusUpdate("delivered", Source.CALLBACK, {}, sid(1), account_sid=ACCOUNT_SID)
    with app.app_context(), db.engine.begin() as connection:
        store_callback(connection, None, delivered)
    store_together(app, {message.id: answer(n) for n, message in enumerate(messages)})
    assert [message.status for message in alice.messages()] == ["queued", "delivered", "queued"]
    assert len(alice.events(messages[1])) == 2


def test_sid_that_two_answers_name_belongs_to_one_message(
    app: Flask, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = pending_messages(alice, 2)
    with app.app_context(), db.engine.begin() as connection:
        apply_send_results(connection, {first.id: answer(1), second.id: answer(1)})
    assert [message.twilio_sid for message in alice.messages()] == [sid(1), None]
    assert caplog.messages == ["sid_already_held"]


def test_answer_that_cannot_be_stored_loses_no_other(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [alice.queue(number).id for number in range(3)]
    results = {key: answer(number) for number, key in enumerate(ids)}
    results[ids[1]] = answer(1, bad=object())  # no JSON
    monkeypatch.setattr(sending, "_request", lambda message: results[message.id])
    hand_over_together(app, 3)
    assert [message.status for message in alice.messages()] == ["queued", "pending", "queued"]


@pytest.mark.parametrize(("failures", "word"), [(1, "queued"), (None, "pending")])
def test_database_that_is_away_after_the_answers_makes_none_be_sent_again(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, failures: int | None, word: str
) -> None:
    with wire(*(created(sid(number)) for number in range(3))) as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url, SEND_PER_SECOND="10000")
        alice = Person.signed_in(app, "alice@example.org")
        for number in range(3):
            alice.queue(number)

        def fail(*_arguments: object) -> None:
            raise AWAY

        monkeypatch.setattr(result_writer, "apply_send_results", fail)
        if failures is None:
            monkeypatch.setattr(sending, "apply_send_result", fail)
        hand_over_together(app, 3)
        assert [message.status for message in alice.messages()] == [word] * 3
        with time_machine.travel(utcnow() + timedelta(days=1)):
            dispatch(app)
        assert len(twilio.requests) == 3


class KilledError(BaseException):
    """Ends a worker between two of its calls."""


def test_worker_that_is_killed_amid_a_claim_leaves_nothing_that_is_sent_again(
    make_app: MakeApp,
) -> None:
    with wire(created(sid(1))) as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url, SEND_PER_SECOND="10000")
        alice = Person.signed_in(app, "alice@example.org")
        for number in range(3):
            alice.queue(number)

        def submit(message: OutboxMessage) -> None:
            if twilio.requests:
                raise KilledError
            sending.submit_from_outbox(message, SendResultWriter())

        with app.app_context(), pytest.raises(KilledError):
            submit_claimed(claim_sendable(8), submit)
        assert [message.status for message in alice.messages()] == ["queued", "pending", "pending"]
        with time_machine.travel(utcnow() + timedelta(minutes=3)):
            dispatch(app)
            assert "Outcome unknown" in alice.get("/messages").text
        assert len(twilio.requests) == 1
