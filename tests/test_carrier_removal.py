"""What is deleted here is redacted or deleted at Twilio too, against the simulated carrier."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select

from smstracker.carrier import current_carrier
from smstracker.carrier.errors import CarrierQueryError
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import CarrierRemoval, Message, RemovalCounter
from smstracker.models.removals import Counter
from smstracker.privacy.carrier_removal import OTHER_ACCOUNT, remove_at_carrier
from smstracker.privacy.retention import remove_expired
from smstracker.privacy.status_report import build_report
from smstracker.simulator import SimulatorServer
from tests.clients import Person
from tests.signing import sid
from tests.twilio_stub import answer, wire

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
    report = build_report()
    assert (report.done_at_twilio, report.waiting_at_twilio) == (1, 0)


def test_deleted_message_is_deleted_at_twilio(
    make_app: MakeApp, simulator: SimulatorServer
) -> None:
    app = make_app(TWILIO_API_BASE_URL=simulator.url, KEEP_MESSAGE_DAYS="1", REDACT_AT_TWILIO="on")
    with app.app_context():
        alice = Person.signed_in(app, "alice@example.org")
        message_sid = sent_message(alice, simulator, "+1 555 867 5310", "")
        run_all(app)
        assert simulator.ledger.get(message_sid) is None
        assert RemovalCounter.read(db.session.connection(), Counter.DELETED_AT_TWILIO) == 1


def test_nothing_is_asked_of_twilio_without_the_setting(make_app: MakeApp, alice: Person) -> None:
    past = utcnow() - timedelta(days=2)
    alice.has_message(twilio_sid=sid(1), status="delivered", created_at=past)
    with make_app(KEEP_TEXT_DAYS="1").app_context():
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


def _queue(account_sid: str | None = None) -> None:
    row = {"twilio_sid": sid(1), "account_sid": account_sid, "simulated": False, "tries": 0}
    with db.engine.begin() as connection:
        due = {"action": "delete", "next_try_at": utcnow()}
        connection.execute(db.insert(CarrierRemoval).values(row | due))


def test_failure_is_tried_again_and_shown(make_app: MakeApp) -> None:
    failure = answer(503, {"code": 20503, "message": "x", "status": 503})
    with wire(failure, failure) as twilio, make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
        _queue()
        list(remove_at_carrier(None))
        report = build_report()
        assert report.waiting_at_twilio == 1
        [(reason, count)] = report.problems
        assert ("HTTP 503" in reason, count) == (True, 1)
        row = db.session.scalars(select(CarrierRemoval)).one()
        assert row.next_try_at is not None
        assert row.next_try_at > utcnow() + timedelta(minutes=1)
        db.session.execute(db.update(CarrierRemoval).values(tries=19, next_try_at=utcnow()))
        db.session.commit()
        with time_machine.travel(utcnow() + timedelta(seconds=1)):
            list(remove_at_carrier(None))
        assert (build_report().waiting_at_twilio, build_report().failed_at_twilio) == (0, 1)


def test_message_that_twilio_does_not_have_is_done(make_app: MakeApp) -> None:
    missing = answer(404, {"code": 20404, "message": "x", "status": 404})
    with wire(missing) as twilio, make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
        _queue()
        list(remove_at_carrier(None))
        assert build_report().done_at_twilio == 1


def test_message_of_an_account_without_token_is_left_and_shown(make_app: MakeApp) -> None:
    missing = answer(404, {"code": 20404, "message": "x", "status": 404})
    with wire(missing) as twilio, make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
        _queue("AC" + "9" * 32)
        list(remove_at_carrier(None))
        assert build_report().problems == [(OTHER_ACCOUNT, 1)]
