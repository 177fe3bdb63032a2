"""The receipt of an erasure says what Twilio still has, and that all is gone only when it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import time_machine
from flask import Flask
from sqlalchemy import func, select

from smstracker.carrier.errors import CarrierQueryError
from smstracker.clock import HOUR, utcnow
from smstracker.doctor.privacy_checks import check_privacy
from smstracker.extensions import db
from smstracker.models import CarrierRemoval, Erasure, User
from smstracker.privacy import erasure
from smstracker.privacy.carrier_removal import OTHER_ACCOUNT, remove_at_carrier
from tests.clients import Person, words
from tests.signing import sid
from tests.twilio_stub import answer, wire

pytestmark = pytest.mark.both_databases

MakeApp = Callable[..., Flask]
NUMBER, OTHER = "+15558675310", "+15558675399"
DONE = answer(204, "")
BROKEN = answer(503, {"code": 20503, "message": "x", "status": 503})
MISSING = answer(404, {"code": 20404, "message": "x", "status": 404})
GONE = "Everything is erased, here and at Twilio"


@contextmanager
def erased(make_app: MakeApp, alice: Person, *answers: bytes) -> Iterator[tuple[Person, str]]:
    """An administrator, and the receipt of two messages that these answers of Twilio are about."""
    for number in (1, 2):
        alice.has_message(twilio_sid=sid(number), status="delivered", recipient=NUMBER)
    with wire(*answers) as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        admin = Person.signed_in(app, "carol@example.org")
        with app.app_context():
            db.session.execute(db.update(User).values(administrator=True))
            db.session.commit()
            receipt = erasure.erase(NUMBER, at_twilio=True, actor="carol@example.org").receipt
            yield admin, receipt


def run_job() -> None:
    with suppress(CarrierQueryError):
        list(remove_at_carrier(None))
    db.session.remove()


def read(admin: Person, receipt: str) -> str:
    db.session.remove()  # the page gets the session of this context, with what it has read
    return words(admin.get(f"/privacy/receipts/{receipt}").text)


def test_all_is_gone_at_twilio_only_when_it_is(make_app: MakeApp, alice: Person) -> None:
    with erased(make_app, alice, DONE, DONE) as (admin, receipt):
        page = read(admin, receipt)
        assert "Everything is erased here. Still at Twilio: 2 messages" in page
        assert "Deleted at Twilio 0 of 2 messages" in page
        assert GONE not in page
        assert ": not finished" in words(admin.get("/privacy").text)
        run_job()
        page = read(admin, receipt)
        assert GONE in page
        assert "Still at Twilio" not in page
        assert "Deleted at Twilio 2 of 2 messages" in page
        assert "not finished" not in words(admin.get("/privacy").text)


def test_failure_at_twilio_is_on_the_receipt(make_app: MakeApp, alice: Person) -> None:
    with erased(make_app, alice, DONE, BROKEN) as (admin, receipt):
        run_job()
        page = read(admin, receipt)
        assert "Still at Twilio: 1 message. The last try failed for 1: " in page
        assert "HTTP 503" in page
        assert "Tried again at " in page
        assert "Deleted at Twilio 1 of 2 messages" in page
        assert GONE not in page


def test_what_is_not_tried_again_is_on_the_receipt(make_app: MakeApp, alice: Person) -> None:
    with erased(make_app, alice, MISSING) as (admin, receipt):
        first = select(func.min(CarrierRemoval.twilio_sid)).scalar_subquery()
        db.session.execute(db.delete(CarrierRemoval).where(CarrierRemoval.twilio_sid != first))
        db.session.execute(db.update(CarrierRemoval).values(account_sid="AC" + "9" * 32))
        db.session.commit()
        run_job()
        page = read(admin, receipt)
        assert f"Still at Twilio: 1 message. The last try failed for 1: {OTHER_ACCOUNT}" in page
        assert "Not tried again: 1. Delete it in Twilio's Console" in page
        assert "Tried again at" not in page


def test_erasure_of_a_number_waits_for_all_of_its_requests(
    make_app: MakeApp, alice: Person
) -> None:
    with erased(make_app, alice, DONE, DONE) as (admin, _first):
        alice.has_message(status="refused", recipient=NUMBER)
        second = erasure.erase(NUMBER, at_twilio=True, actor="carol@example.org").receipt
        assert "Still at Twilio: 2 messages" in read(admin, second)
        alice.has_message(status="refused", recipient=OTHER)
        other = erasure.erase(OTHER, at_twilio=True, actor="carol@example.org").receipt
        page = read(admin, other)
        assert "Still at Twilio" not in page
        assert "Deleted at Twilio 0 of 0 messages" in page
        assert GONE not in page


def test_receipt_of_an_older_version_does_not_claim_more(make_app: MakeApp, alice: Person) -> None:
    with erased(make_app, alice) as (admin, receipt):
        db.session.execute(db.delete(CarrierRemoval))
        db.session.execute(db.update(Erasure).values(deleted_at_twilio=None))
        db.session.commit()
        page = read(admin, receipt)
        assert "asked for, but not counted at that time" in page
        assert GONE not in page


def test_erasure_here_alone_says_so(make_app: MakeApp, alice: Person) -> None:
    with erased(make_app, alice) as (admin, _receipt):
        alice.has_message(twilio_sid=sid(3), status="delivered", recipient=OTHER)
        receipt = erasure.erase(OTHER, at_twilio=False, actor="carol@example.org").receipt
        page = read(admin, receipt)
        assert "Everything is erased here." in page
        assert "Deleted at Twilio not asked for" in page
        assert "Another erasure" not in page


def test_receipt_tells_of_what_an_earlier_erasure_left_at_twilio(
    make_app: MakeApp, alice: Person
) -> None:
    with erased(make_app, alice, *[DONE] * 3) as (admin, _receipt):
        for number, at_twilio in ((3, False), (4, True)):
            alice.has_message(twilio_sid=sid(number), status="delivered", recipient=OTHER)
            receipt = erasure.erase(OTHER, at_twilio=at_twilio, actor="carol@example.org").receipt
        run_job()
        page = read(admin, receipt)
        assert "Deleted at Twilio 1 of 1 message" in page
        assert "did not ask Twilio, and deleted 1 message here alone" in page
        assert GONE not in page


def test_doctor_and_privacy_tell_of_what_keeps_failing(make_app: MakeApp, alice: Person) -> None:
    with erased(make_app, alice, *[BROKEN] * 10) as (admin, _receipt):
        for hour in range(5):
            assert list(check_privacy()) == []
            assert "cannot be removed" not in words(admin.get("/privacy").text)
            with time_machine.travel(utcnow() + hour * HOUR):
                run_job()
        [result] = check_privacy()
        assert "2 messages cannot be removed at Twilio: " in result.detail
        assert "tried again at" in result.detail
        page = words(admin.get("/privacy").text)
        assert "2 messages cannot be removed at Twilio. The last try failed for 2: " in page
        db.session.execute(db.update(CarrierRemoval).values(next_try_at=None))
        db.session.commit()
        [result] = check_privacy()
        assert "2 not tried again" in result.detail
