"""A message that Twilio has no more: it says so everywhere, and nobody waits for it."""

import csv
import io
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import insert, select, text

from smstracker.clock import utcnow
from smstracker.connection.report import build_report
from smstracker.extensions import db
from smstracker.insights.query import measure
from smstracker.models import Message, StatusEvent
from smstracker.models.event_store import append_event
from smstracker.models.events import StatusUpdate
from smstracker.sms.status import Source, State
from smstracker.web.time_range import TimeRange
from smstracker.worker.loop import Worker
from tests.clients import Person, words
from tests.signing import call_back, fields, sid
from tests.twilio_stub import answer, wire

BEFORE = "0010-1"
NO_LISTING = answer(200, {"messages": [], "next_page_uri": None, "page_size": 1000, "page": 0})
DELETED = answer(404, {"code": 20404, "message": "x", "status": 404})


@pytest.fixture
def app_of_deleted(make_app: Callable[..., Flask], alice: Person) -> Iterator[Flask]:
    """Alice's only message was deleted at Twilio, and a look-up has found out."""
    alice.has_message(twilio_sid=sid(1), status="sent", status_source="send")
    later = time_machine.travel(utcnow() + timedelta(minutes=6), tick=False)
    with wire(DELETED, NO_LISTING) as twilio, later:
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        with app.app_context():
            worker = Worker()
            worker.work()
            worker.join_threads()
        yield app


@pytest.mark.slow
def test_message_that_twilio_has_deleted_is_said_to_be_deleted(
    app_of_deleted: Flask, alice: Person
) -> None:
    message = alice.message()
    page = words(alice.get(f"/messages/{message.public_id}").text)
    assert "was deleted at Twilio; its outcome will not be known" in page
    assert "Deleted at Twilio look-up at Twilio" in page  # the badge and how it is known
    assert "ask the recipient before you send it again" in page
    for untrue in ("unknown word", "On its way", "checking", "do not know yet"):
        assert untrue not in page
    assert "Deleted at Twilio Its outcome will not be known" in words(alice.get("/messages").text)


@pytest.mark.slow
def test_deleted_message_counts_as_unknown_everywhere(app_of_deleted: Flask, alice: Person) -> None:
    [row] = alice.get("/messages.json").json["messages"]  # type: ignore[index]
    told = (row["status"], row["status_label"], row["state"], row["reason"])
    expected = ("deleted", "Deleted at Twilio", "unknown", "Its outcome will not be known")
    assert told == expected
    exported = alice.get("/messages/export.csv").text.removeprefix("\ufeff")
    [cells] = csv.DictReader(io.StringIO(exported))
    assert (cells["status"], cells["state"], cells["reason"]) == (told[0], told[2], told[3])
    owner = alice.id
    with app_of_deleted.app_context():
        [outcomes] = measure(owner, TimeRange(), utcnow()).outcomes
    assert {state: count for state, count in outcomes.items() if count} == {State.UNKNOWN: 1}
    assert "Unknown 1" in words(alice.get("/messages?state=unknown").text)
    assert str(alice.message().public_id) in alice.get("/messages?state=unknown").text


def test_deleted_message_is_not_asked_about_again(app_of_deleted: Flask, alice: Person) -> None:
    message = alice.message()
    assert (message.next_lookup_at, message.final_at) == (None, message.status_at)
    run = app_of_deleted.test_cli_runner().invoke
    assert "Nothing to look up" in run(args=["messages", "reconcile", "--all"]).output
    page = alice.get(f"/messages/{message.public_id}").text
    assert "data-waiting" not in page + alice.get("/messages").text


def test_deleted_message_is_no_callback_that_was_missed(app_of_deleted: Flask) -> None:
    with app_of_deleted.app_context():
        numbers = build_report(utcnow())
    assert (
        numbers.day.by_lookup,
        numbers.looked_up_since_last_callback,
        numbers.without_callback,
    ) == (0, 0, 0)


def test_deleted_message_is_not_sent_again_from_its_page(
    app_of_deleted: Flask, alice: Person
) -> None:
    path = f"/messages/{alice.message().public_id}/again"
    page = alice.get(path)
    assert page.status_code == 409
    assert "may have arrived. Ask the recipient first" in words(page.text)
    assert alice.post(path, page="/messages/new").status_code == 409
    assert len(alice.messages()) == 1


def test_same_text_is_warned_of_after_a_deletion(app_of_deleted: Flask, alice: Person) -> None:
    typed = alice.compose() | {"check": "1"}
    assert "You sent this text to this number" in words(
        alice.client.post("/messages", data=typed).text
    )


def test_message_that_the_simulated_carrier_has_forgotten_blames_nobody(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message(status="deleted", status_source="lookup", simulated=True)
    page = words(alice.get(f"/messages/{message.public_id}").text)
    assert "is lost to the simulated carrier; its outcome will not be known" in page
    assert "a person, a program" not in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "status", "late"),
    [("delivered", "delivered", 0), ("undelivered", "undelivered", 0), ("sent", "deleted", 1)],
)
def test_late_callback_still_counts_for_a_deleted_message(
    app_of_deleted: Flask, alice: Person, word: str, status: str, late: int
) -> None:
    assert call_back(app_of_deleted.test_client(), fields(sid(1), word)).status_code == 204
    message = alice.message()
    assert message.status == status
    assert message.next_lookup_at is None
    assert alice.get(f"/messages/{message.public_id}").text.count('"mark">late<') == late


def test_deletion_takes_no_outcome_back(app: Flask, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="delivered", final_at=utcnow())
    with app.app_context(), db.engine.begin() as connection:
        assert not append_event(
            connection, message.id, StatusUpdate("deleted", Source.LOOKUP, {}, sid(1))
        )
    assert alice.message().status == "delivered"


def test_migration_asks_once_more_about_what_was_found_deleted_before(
    app: Flask, alice: Person
) -> None:
    waiting = alice.has_message(twilio_sid=sid(1), status="sent")
    ended = alice.has_message(twilio_sid=sid(2), status="delivered", final_at=utcnow())
    found = {"source": "lookup", "payload": {}, "received_at": utcnow()}
    with app.app_context():
        downgrade(revision=BEFORE)
        with db.engine.begin() as connection:
            connection.execute(text("UPDATE message SET next_lookup_at = NULL"))
            for message in (waiting, ended):
                row = {"message_id": message.id, "status": "gone", "is_repeated": False, **found}
                connection.execute(insert(StatusEvent.__table__).values(row))
        upgrade()
        planned = dict(db.session.execute(select(Message.status, Message.next_lookup_at)).all())
        assert set(db.session.scalars(select(StatusEvent.status))) == {"deleted"}
        assert (planned["sent"], planned["delivered"]) == (waiting.created_at, None)


def test_migration_back_restores_the_highest_word_that_the_release_before_knows(
    app: Flask, alice: Person
) -> None:
    began = utcnow()
    message = alice.has_message(twilio_sid=sid(1), status="pending", status_at=began)
    told = ("sent", Source.CALLBACK), ("queued", Source.SEND), ("teleported", Source.CALLBACK)
    with app.app_context():
        with db.engine.begin() as connection:
            for minute, (word, source) in enumerate((*told, ("deleted", Source.LOOKUP))):
                at = began + timedelta(minutes=minute)
                append_event(
                    connection, message.id, StatusUpdate(word, source, {}, sid(1), received_at=at)
                )
        downgrade(revision=BEFORE)
        with db.engine.connect() as connection:
            row = connection.execute(text("SELECT status, final_at FROM message")).one()
            events = connection.execute(text("SELECT status FROM status_event ORDER BY id")).all()
        upgrade()
    assert tuple(row) == ("sent", None)
    assert [event.status for event in events] == ["sent", "queued", "teleported", "gone"]
    message = alice.message()
    assert (message.status, message.status_source) == ("sent", "callback")
    assert message.status_at == began
    assert alice.get("/messages").status_code == 200


def test_migration_back_leaves_a_message_without_a_known_word_accepted(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="queued")
    with app.app_context():
        with db.engine.begin() as connection:
            for word in ("teleported", "deleted"):
                append_event(connection, message.id, StatusUpdate(word, Source.LOOKUP, {}, sid(1)))
        downgrade(revision=BEFORE)
        upgrade()
    assert alice.message().status == "accepted"
