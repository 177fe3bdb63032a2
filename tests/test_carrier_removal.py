"""What is deleted here is redacted or deleted at Twilio too, against the simulated carrier."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select

from smstracker.carrier import current_carrier
from smstracker.carrier.errors import CarrierBusyError, CarrierQueryError
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import CarrierRemoval, Heartbeat, Message, RemovalCounter
from smstracker.models.carrier_removals import CarrierAction, RemovedMessage
from smstracker.models.jobs import JobName
from smstracker.models.removals import CounterName
from smstracker.privacy.carrier_removal import OTHER_ACCOUNT, remove_at_carrier
from smstracker.privacy.retention import remove_expired
from smstracker.privacy.status_report import build_privacy_report
from smstracker.simulator import SimulatorServer
from tests.clients import Person
from tests.retention_settings import let_settings_begin
from tests.signing import ACCOUNT_SID, sid
from tests.twilio_stub import TwilioStub, answer, wire
from tests.worker_runs import InstantWorker

MakeApp = Callable[..., Flask]
PICTURE = "https://pictures.example.org/1.png"
KEPT = {"KEEP_TEXT_DAYS": "1", "REDACT_AT_TWILIO": "on"}


@pytest.fixture
def connected(make_app: MakeApp, simulator: SimulatorServer) -> Iterator[Flask]:
    app = make_app(TWILIO_API_BASE_URL=simulator.url, **KEPT)
    with app.app_context():
        yield app


def sent_message(person: Person, simulator: SimulatorServer, recipient: str, media: str) -> str:
    """Send a message, let it come to its end, and make it old; return its SID."""
    answer = person.send(recipient=recipient, media_urls=media)
    assert answer.status_code == 303, answer.text
    simulator.ledger.wait_until_idle(20)
    message = person.messages()[-1]
    past = utcnow() - timedelta(days=2)
    final = {"status": "delivered", "created_at": past, "status_at": past, "final_at": past}
    with person.app.app_context():
        db.session.execute(db.update(Message).where(Message.id == message.id).values(final))
        db.session.commit()
    return message.twilio_sid or ""


def run_all(app: Flask) -> None:
    let_settings_begin(app)
    for _ in remove_expired(None):
        pass
    for _ in remove_at_carrier(None):
        pass
    db.session.remove()


def test_text_and_pictures_are_redacted(connected: Flask, simulator: SimulatorServer) -> None:
    alice = Person.signed_in(connected, "alice@example.org")
    message_sid = sent_message(alice, simulator, "+1 555 867 5310", PICTURE)
    before = simulator.ledger.get(message_sid)
    assert before
    assert (before.body, before.media) == ("Hello", (PICTURE,))
    run_all(connected)
    after = simulator.ledger.get(message_sid)
    assert after
    assert (after.body, after.media) == ("", ())
    report = build_privacy_report()
    assert (report.done_at_twilio, report.at_twilio.waiting) == (1, 0)


def test_deleted_message_is_deleted_at_twilio(
    make_app: MakeApp, simulator: SimulatorServer
) -> None:
    app = make_app(TWILIO_API_BASE_URL=simulator.url, KEEP_MESSAGE_DAYS="1", REDACT_AT_TWILIO="on")
    with app.app_context():
        alice = Person.signed_in(app, "alice@example.org")
        message_sid = sent_message(alice, simulator, "+1 555 867 5310", "")
        run_all(app)
        assert simulator.ledger.get(message_sid) is None
        assert RemovalCounter.read(db.session.connection(), CounterName.DELETED_AT_TWILIO) == 1


def test_nothing_is_asked_of_twilio_without_the_setting(make_app: MakeApp, alice: Person) -> None:
    past = utcnow() - timedelta(days=2)
    alice.has_message(twilio_sid=sid(1), status="delivered", created_at=past)
    app = make_app(KEEP_TEXT_DAYS="1")
    let_settings_begin(app)
    with app.app_context():
        list(remove_expired(None))
        assert db.session.scalars(select(CarrierRemoval)).all() == []


def test_message_that_is_not_final_is_refused(connected: Flask, simulator: SimulatorServer) -> None:
    alice = Person.signed_in(connected, "alice@example.org")
    alice.send()
    message_sid = alice.message().twilio_sid or ""
    simulator.ledger.wait_until_idle(20)
    message = simulator.ledger.get(message_sid)
    assert message
    object.__setattr__(message, "status", "sending")
    with pytest.raises(CarrierQueryError, match="not finished"):
        current_carrier().delete(message_sid, None)
    assert simulator.ledger.get(message_sid)


def _queue(account_sid: str | None = None, count: int = 1, **columns: object) -> None:
    row = {"account_sid": account_sid, "simulated": False, "tries": 0, "action": "delete"}
    row |= {"next_try_at": utcnow()} | columns
    with db.engine.begin() as connection:
        rows = [row | {"twilio_sid": sid(number)} for number in range(count)]
        connection.execute(db.insert(CarrierRemoval), rows)


def test_failure_is_tried_again_and_shown(make_app: MakeApp) -> None:
    failure = answer(503, {"code": 20503, "message": "x", "status": 503})
    with wire(failure, failure) as twilio, make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
        _queue()
        list(remove_at_carrier(None))
        report = build_privacy_report()
        assert report.at_twilio.waiting == 1
        [(reason, count)] = report.at_twilio.problems
        assert ("HTTP 503" in reason, count) == (True, 1)
        row = db.session.scalars(select(CarrierRemoval)).one()
        assert row.next_try_at is not None
        assert row.next_try_at > utcnow() + timedelta(minutes=1)
        db.session.execute(db.update(CarrierRemoval).values(tries=19, next_try_at=utcnow()))
        db.session.commit()
        with time_machine.travel(utcnow() + timedelta(seconds=1)):
            list(remove_at_carrier(None))
        assert (
            build_privacy_report().at_twilio.waiting,
            build_privacy_report().at_twilio.failed,
        ) == (0, 1)


MISSING = answer(404, {"code": 20404, "message": "x", "status": 404})


def test_message_that_twilio_does_not_have_is_done(make_app: MakeApp) -> None:
    with wire(MISSING) as twilio, make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
        _queue()
        list(remove_at_carrier(None))
        assert build_privacy_report().done_at_twilio == 1


def test_message_of_an_account_without_token_is_left_and_shown(make_app: MakeApp) -> None:
    with wire(MISSING) as twilio, make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
        _queue("AC" + "9" * 32)
        list(remove_at_carrier(None))
        assert build_privacy_report().at_twilio.problems == [(OTHER_ACCOUNT, 1)]


NOT_FINISHED = answer(409, {"code": 20009, "message": "x", "status": 409})
REFUSED = answer(401, {"code": 20003, "message": "x", "status": 401})
DONE = answer(204, "")


@pytest.mark.slow
@pytest.mark.both_databases
def test_messages_that_twilio_does_not_delete_yet_hold_nothing_up(make_app: MakeApp) -> None:
    answers = [*[NOT_FINISHED] * 50, *[DONE] * 50]
    with wire(*answers) as twilio, make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
        _queue(count=50)
        worker = InstantWorker()
        worker._run_job(JobName.CARRIER_REMOVAL)
        assert len(twilio.requests) == 50
        assert db.session.scalar(select(Heartbeat.problem)) is None
        assert build_privacy_report().at_twilio.problems == [
            ("Twilio has not finished this message yet.", 50)
        ]
        db.session.remove()
        with time_machine.travel(utcnow() + timedelta(minutes=3)):
            worker._run_job(JobName.CARRIER_REMOVAL)
        assert (
            build_privacy_report().at_twilio.waiting,
            build_privacy_report().done_at_twilio,
        ) == (0, 50)


@pytest.mark.parametrize(
    ("refusal", "account_sid", "requests"),
    [
        (answer(400, {"code": 20001, "message": "x", "status": 400}), None, 5),
        (answer(400, "<html>proxy</html>", "text/html"), None, 3),
        (REFUSED, None, 3),
        (REFUSED, ACCOUNT_SID, 3),
        (REFUSED, "AC" + "9" * 32, 5),  # a subaccount that was closed
    ],
)
def test_twilio_is_asked_on_while_what_it_refuses_is_of_one_message(
    make_app: MakeApp, refusal: bytes, account_sid: str | None, requests: int
) -> None:
    answers = [refusal] * 5
    with wire(*answers) as twilio, make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
        _queue(account_sid, count=5)
        with suppress(CarrierQueryError):
            list(remove_at_carrier(None))
        assert len(twilio.requests) == requests


@pytest.mark.parametrize(("tries", "minutes"), [(0, 2), (3, 16), (18, 24 * 60)])
def test_failed_removal_is_tried_again_ever_later(
    make_app: MakeApp, tries: int, minutes: int
) -> None:
    with wire(NOT_FINISHED) as twilio, make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
        now = utcnow()
        _queue(tries=tries, next_try_at=now)
        with time_machine.travel(now, tick=False):
            list(remove_at_carrier(None))
        row = db.session.scalars(select(CarrierRemoval)).one()
        assert (row.next_try_at, row.tries) == (now + timedelta(minutes=minutes), tries + 1)


def test_rate_limit_is_not_the_last_try(make_app: MakeApp) -> None:
    busy = answer(429, {"code": 20429, "message": "x", "status": 429})
    with wire(busy) as twilio, make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
        _queue(tries=19)
        with pytest.raises(CarrierBusyError):
            list(remove_at_carrier(None))
        assert (
            build_privacy_report().at_twilio.waiting,
            build_privacy_report().at_twilio.failed,
        ) == (1, 0)


@contextmanager
def deletion_asked_for_meanwhile(make_app: MakeApp, *answers: bytes) -> Iterator[TwilioStub]:
    """A Twilio that gives these answers; during its first one, an erasure asks for a deletion."""
    with wire(*answers) as twilio, make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
        engine = db.engine

        def delete() -> None:
            twilio.on_request = lambda: None
            message = RemovedMessage(sid(0), None, False, CarrierAction.DELETE)
            with engine.begin() as connection:
                CarrierRemoval.request(connection, [message], utcnow())

        twilio.on_request = delete
        yield twilio


@pytest.mark.both_databases
def test_message_is_deleted_that_was_to_be_redacted_only_when_asked(make_app: MakeApp) -> None:
    redacted = answer(200, {"sid": sid(0), "status": "delivered"})
    with deletion_asked_for_meanwhile(make_app, redacted, DONE) as twilio:
        _queue(action="redact")
        list(remove_at_carrier(None))
        assert len(twilio.requests) == 2
        connection = db.session.connection()
        assert RemovalCounter.read(connection, CounterName.DELETED_AT_TWILIO) == 1
        assert db.session.scalars(select(CarrierRemoval)).all() == []


@pytest.mark.both_databases
@pytest.mark.parametrize("action", ["redact", "delete"])
@pytest.mark.parametrize("failure", [NOT_FINISHED, MISSING])
def test_failure_postpones_no_deletion_that_is_asked_for_meanwhile(
    make_app: MakeApp, action: str, failure: bytes
) -> None:
    account_sid = "AC" + "9" * 32 if failure == MISSING else None
    with deletion_asked_for_meanwhile(make_app, failure, DONE) as twilio:
        _queue(account_sid, action=action, tries=19)
        list(remove_at_carrier(None))
        assert len(twilio.requests) == 2
        assert db.session.scalars(select(CarrierRemoval)).all() == []
