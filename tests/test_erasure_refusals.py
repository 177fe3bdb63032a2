"""Callbacks that come while a person is being erased: none is left at the end."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Erasure, Message, RefusedCallback, StatusEvent
from smstracker.models.callback_store import store_callbacks
from smstracker.privacy import erasure
from smstracker.privacy.removal import delete_messages
from smstracker.privacy.retention import remove_expired
from tests.callback_writers import callback_of, status_update
from tests.clients import Person
from tests.databases import await_lock_wait
from tests.refused_callbacks import refusal, replayed
from tests.serving import await_writer
from tests.signing import STATUS_PATH, call_back, fields, sid

pytestmark = pytest.mark.both_databases

NUMBER, OTHER = "+15558675310", "+15558675399"
FOREIGN_TOKEN = "f" * 32


def refuse(app: Flask, number: int, status: str = "delivered", to: str = NUMBER) -> None:
    form = fields(sid(number), status, To=to)
    assert call_back(app.test_client(), form, token=FOREIGN_TOKEN).status_code == 403


def left_sids(app: Flask) -> list[str | None]:
    with app.app_context():
        return list(db.session.scalars(select(RefusedCallback.twilio_sid)))


def finish(app: Flask) -> None:
    """Let the worker erase what was under way."""
    with app.app_context(), time_machine.travel(utcnow().timestamp() + 120):
        list(remove_expired(None))


def test_one_of_a_message_under_way_goes_with_the_message(app: Flask, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1), recipient=NUMBER, status="sent")
    alice.has_message(twilio_sid=sid(2), recipient=OTHER, status="sent")
    with app.app_context():
        receipt = erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org").receipt
    refuse(app, 1)
    refuse(app, 2, to=OTHER)
    assert call_back(app.test_client(), fields(sid(1), "delivered")).status_code == 204
    finish(app)
    assert left_sids(app) == [sid(2)]
    with app.app_context():
        assert erasure.count_left(receipt) == 0
        assert db.session.scalars(select(Erasure.refused_callbacks)).all() == [1]


@pytest.mark.parametrize("kind", ["message", "callback", "refused callback"])
def test_one_that_comes_after_the_search_goes_too(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "message":
        alice.has_message(twilio_sid=sid(1), recipient=NUMBER, status="delivered")
    elif kind == "callback":
        assert call_back(app.test_client(), fields(sid(1), "sent")).status_code == 204
    else:
        refuse(app, 1, "sent")
    remove_pending = erasure.remove_pending

    def come_before(receipt: str) -> object:
        refuse(app, 1)
        return remove_pending(receipt)

    monkeypatch.setattr(erasure, "remove_pending", come_before)
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
    assert left_sids(app) == []


@pytest.mark.parametrize("kind", ["replayed", "second callback"])
def test_callback_without_a_message_that_is_stored_after_the_search_goes_too(
    app: Flask, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    client, other = app.test_client(), fields(sid(2), "sent", To=OTHER)
    assert call_back(client, other).status_code == 204
    if kind == "replayed":
        path = f"{STATUS_PATH}/{uuid4()}/refused"
        assert call_back(client, fields(sid(1), "sent"), path).status_code == 404
    else:
        assert call_back(client, fields(sid(1), "sent")).status_code == 204
    remove_pending = erasure.remove_pending

    def come_before(number_hash: bytes) -> object:
        if kind == "replayed":
            assert replayed(app) == (1, 0)
        else:
            assert call_back(app.test_client(), fields(sid(1), "delivered")).status_code == 204
        monkeypatch.setattr(erasure, "remove_pending", remove_pending)
        return remove_pending(number_hash)

    monkeypatch.setattr(erasure, "remove_pending", come_before)
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
        payloads = db.session.scalars(select(StatusEvent.payload)).all()
        assert [payload["To"] for payload in payloads if payload] == [OTHER]
        counts = (Erasure.events, Erasure.refused_callbacks)
        expected = (1, 1) if kind == "replayed" else (2, 0)
        assert tuple(db.session.execute(select(*counts)).one()) == expected


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_callback_that_is_being_stored_is_waited_for(app: Flask) -> None:
    """It has looked for a tombstone already, and nobody else sees it yet."""
    assert call_back(app.test_client(), fields(sid(1), "sent")).status_code == 204

    def erase() -> object:
        with app.app_context():
            return erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")

    with app.app_context(), ThreadPoolExecutor(1) as pool, db.engine.connect() as connection:
        store_callbacks(connection, [callback_of(None, status_update(1, "delivered"))])
        result = pool.submit(erase)
        await_lock_wait()
        connection.commit()
        result.result(30)
        assert db.session.scalars(select(StatusEvent.status)).all() == []


@pytest.mark.slow
def test_one_that_comes_while_its_message_is_being_deleted_is_not_stored(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1), recipient=NUMBER, status="delivered")
    with app.app_context(), ThreadPoolExecutor(1) as pool, db.engine.begin() as connection:
        options = {"at_twilio": False, "created_before": None}
        removal = delete_messages(connection, [message.id], utcnow(), **options)
        assert removal.message_ids == [message.id]
        refusal_thread = pool.submit(refuse, app, 1)
        with pytest.raises(TimeoutError):
            refusal_thread.result(0.5)
        connection.commit()
        refusal_thread.result()
    await_writer(app)
    assert left_sids(app) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("locks", ["its row", "its message"])
def test_message_waits_for_one_that_another_transaction_has_locked(
    app: Flask, alice: Person, locks: str
) -> None:
    """Waiting for it could deadlock with a replay; leaving it would leave the number."""
    alice.has_message(twilio_sid=sid(1), recipient=NUMBER, status="delivered")
    query = select(RefusedCallback.id).with_for_update()
    if locks == "its message":
        query = select(Message.id).with_for_update(read=True, key_share=True)
    with app.app_context():
        db.session.add(refusal(utcnow(), twilio_sid=sid(1)))
        db.session.commit()
        with db.engine.begin() as connection:
            assert len(connection.scalars(query).all()) == 1
            with db.engine.begin() as deletion:
                removal = delete_messages(
                    deletion, [1], utcnow(), at_twilio=False, created_before=None
                )
            assert removal.message_ids == []
    assert len(alice.messages()) == 1
