"""Several who erase one number at once: nothing stays, and the receipts add up."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from flask import Flask
from sqlalchemy import func, select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import AuditEntry, CarrierRemoval, Erasure, PendingRemoval
from smstracker.privacy import erasure
from smstracker.privacy.erasure import ErasureResult
from tests.clients import Person
from tests.databases import await_lock_wait
from tests.refused_callbacks import refusal
from tests.signing import call_back, fields, sid

pytestmark = pytest.mark.both_databases

NUMBER = "+15558675310"
COUNT = 5
ANN, BOB = "ann@example.org", "bob@example.org"


@pytest.fixture
def held(app: Flask, alice: Person) -> None:
    """Messages to the number, a callback without a message, and a refused one."""
    for number in range(COUNT):
        alice.has_message(twilio_sid=sid(number), recipient=NUMBER, status="delivered")
    assert call_back(app.test_client(), fields(sid(COUNT), "sent")).status_code == 204
    with app.app_context():
        db.session.add(refusal(utcnow(), body=b"To=%2B15558675310", twilio_sid=sid(COUNT + 1)))
        db.session.commit()


def erase(app: Flask, actor: str, at_twilio: bool = False) -> ErasureResult:
    with app.app_context():
        return erasure.erase(NUMBER, at_twilio=at_twilio, actor=actor)


def read_counts(app: Flask) -> list[tuple[int, int, int]]:
    """What the receipts say, the oldest first."""
    columns = (Erasure.messages, Erasure.events, Erasure.refused_callbacks)
    with app.app_context():
        rows = db.session.execute(select(*columns).order_by(Erasure.requested_at)).all()
        assert db.session.scalar(select(func.count(PendingRemoval.row_id))) == 0
    return [tuple(row) for row in rows]


def erase_between(
    app: Flask, monkeypatch: pytest.MonkeyPatch, at_twilio: bool = False
) -> tuple[ErasureResult, ErasureResult]:
    """Ann's request is stored, then Bob's comes and ends, then Ann's goes on."""
    remove_pending, results = erasure.remove_pending, list[ErasureResult]()

    def let_bob_erase(number_hash: bytes) -> Iterator[int]:
        monkeypatch.setattr(erasure, "remove_pending", remove_pending)
        results.append(erasure.erase(NUMBER, at_twilio=at_twilio, actor=BOB))
        return remove_pending(number_hash)

    monkeypatch.setattr(erasure, "remove_pending", let_bob_erase)
    return erase(app, ANN), results[0]


def test_second_request_shares_the_receipt_of_the_first(
    app: Flask, held: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = erase_between(app, monkeypatch)
    assert second.receipt == first.receipt
    assert (first.is_shared, second.is_shared) == (False, True)
    assert read_counts(app) == [(COUNT, 1, 1)]
    with app.app_context():
        assert erasure.count_left(first.receipt) == 0
        subjects = db.session.execute(select(AuditEntry.actor, AuditEntry.subject)).all()
        assert [tuple(row) for row in subjects] == [
            (actor, f"receipt {first.receipt}") for actor in (ANN, BOB)
        ]


def test_request_that_asks_twilio_too_takes_over_what_is_left(
    app: Flask, held: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = erase_between(app, monkeypatch, at_twilio=True)
    assert second.receipt != first.receipt
    assert not second.is_shared
    assert read_counts(app) == [(0, 1, 1), (COUNT, 0, 0)]
    with app.app_context():
        assert db.session.scalar(select(func.count(CarrierRemoval.twilio_sid))) == COUNT


def test_what_comes_after_the_first_request_is_on_a_receipt_of_its_own(
    app: Flask, alice: Person, held: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_request = erasure._store_request

    def send_another(*arguments: object) -> object:
        request = store_request(*arguments)  # type: ignore[arg-type]
        if len(alice.messages()) == COUNT:
            alice.has_message(twilio_sid=sid(COUNT + 2), recipient=NUMBER, status="delivered")
        return request

    monkeypatch.setattr(erasure, "_store_request", send_another)
    first, second = erase_between(app, monkeypatch)
    assert second.receipt != first.receipt
    assert read_counts(app) == [(COUNT, 1, 1), (1, 0, 0)]


def test_three_at_once_leave_nothing_and_count_each_row_once(app: Flask, held: None) -> None:
    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(partial(erase, app), (ANN, BOB, "carol@example.org")))
    assert [result.is_shared for result in results].count(False) == 1
    assert read_counts(app) == [(COUNT, 1, 1)]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_erasure_waits_for_another_process_that_removes_the_rest(
    app: Flask, alice: Person, held: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would call messages under way that are being erased."""
    with monkeypatch.context() as patch:
        patch.setattr(erasure, "remove_pending", lambda _number_hash: [])
        erase(app, ANN)
    with app.app_context(), ThreadPoolExecutor(1) as thread, db.engine.begin() as connection:
        connection.execute(select(PendingRemoval.row_id).with_for_update())
        result = thread.submit(erase, app, BOB)
        await_lock_wait()
        connection.rollback()
        assert result.result(30).is_shared
    assert alice.messages() == []
