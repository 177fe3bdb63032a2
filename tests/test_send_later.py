"""Messages that people schedule: shown, changed and cancelled until they are handed over."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import SenderPace
from smstracker.worker.hand_over import claim_sendable, submit_claimed
from tests.clients import Person, hidden, words
from tests.hand_overs import dispatch, submit
from tests.signing import sid
from tests.twilio_stub import created, wire

MakeApp = Callable[..., Flask]
LATER = {"send_day": "2026-12-01", "send_time": "14:30", "send_zone": "Europe/Berlin"}
SEND_AT = datetime(2026, 12, 1, 13, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _clock() -> object:
    with time_machine.travel(datetime(2026, 11, 28, 9, 0, tzinfo=UTC), tick=False) as clock:
        yield clock


@pytest.mark.both_databases
def test_message_is_sent_at_its_time(make_app: MakeApp) -> None:
    with wire(created(sid(1))) as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        alice = Person.signed_in(app, "alice@example.org")
        reply = alice.send(**LATER)
        assert reply.status_code == 303
        message = alice.message()
        assert (message.status, message.send_at) == ("outbox", SEND_AT)
        dispatch(app)
        assert twilio.requests == []
        with time_machine.travel(SEND_AT, tick=False):
            dispatch(app)
    message = alice.message()
    assert (message.status, message.handed_over_at) == ("queued", SEND_AT)


def test_scheduled_message_says_when_it_is_sent(app: Flask, alice: Person) -> None:
    alice.send(**LATER)
    message = alice.message()
    page = words(alice.get(f"/messages/{message.public_id}").text)
    assert "Scheduled for 1 Dec 2026, 13:30:00 UTC" in page
    assert "Scheduled to be sent to +1 555-867-5310" in page
    assert "Scheduled for 1 Dec 2026, 13:30:00 UTC saved here" in words(alice.get("/messages").text)
    [row] = alice.get("/messages.json").json["messages"]  # type: ignore[index]
    assert (row["status_label"], row["state"]) == ("Scheduled", "waiting")
    assert row["send_at"] == SEND_AT.isoformat()
    assert message.display_changes_at(utcnow()) == SEND_AT
    with time_machine.travel(SEND_AT, tick=False):
        assert "Queued here" in words(alice.get("/messages").text)


def test_same_form_schedules_one_message(app: Flask, alice: Person) -> None:
    form = alice.compose(**LATER)
    locations = {alice.client.post("/messages", data=form).location for _ in range(2)}
    assert locations == {f"/messages/{alice.message().public_id}"}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"send_time": ""}, "Choose the time too"),
        ({"send_day": "2026-11-27"}, "That time has passed"),
        ({"send_day": "2027-11-27"}, "Choose a time within 30 days"),
        ({"send_zone": "Nowhere"}, "No time zone is called “Nowhere”"),
    ],
)
def test_time_that_cannot_be_is_refused_and_kept(
    app: Flask, alice: Person, changed: dict[str, str], problem: str
) -> None:
    reply = alice.send(**LATER | changed)
    assert reply.status_code == 422
    assert problem in words(reply.text)
    assert alice.messages() == []
    for name, value in (LATER | changed).items():
        assert hidden(reply.text, name) == value


def test_time_that_comes_twice_has_to_be_chosen(app: Flask, alice: Person) -> None:
    twice = LATER | {"send_day": "2026-10-25", "send_time": "02:30"}
    with time_machine.travel(datetime(2026, 10, 20, tzinfo=UTC), tick=False):
        bob = Person.signed_in(app, "bob@example.org")
        reply = bob.send(**twice)
        assert reply.status_code == 422
        assert "The first: 02:30 CEST The second: 02:30 CET" in words(reply.text)
        bob.send(**twice, send_fold="1")
    assert bob.message().send_at == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_time_that_clocks_skip_is_refused(app: Flask) -> None:
    with time_machine.travel(datetime(2027, 3, 20, tzinfo=UTC), tick=False):
        bob = Person.signed_in(app, "bob@example.org")
        reply = bob.send(**LATER | {"send_day": "2027-03-28", "send_time": "02:30"})
    assert "there is no 02:30 in Europe/Berlin" in words(reply.text)


@pytest.mark.both_databases
def test_waiting_message_is_changed(app: Flask, alice: Person) -> None:
    alice.send(**LATER)
    path = f"/messages/{alice.message().public_id}/edit"
    page = alice.get(path).text
    assert hidden(page, "send_day") == "2026-12-01"
    assert (hidden(page, "send_time"), hidden(page, "send_zone")) == ("13:30", "UTC")
    form = alice.compose(recipient="+15558675311", body="Changed", **LATER)
    reply = alice.client.post(path, data=form | {"send_time": "15:30"})
    message = alice.message()
    assert reply.location == f"/messages/{message.public_id}"
    assert (message.recipient, message.body) == ("+15558675311", "Changed")
    assert message.recipient_reversed == "11357685551"
    assert message.send_at == SEND_AT + timedelta(hours=1)
    assert "Changed" in alice.get("/messages?text=changed").text


def test_time_without_a_zone_is_in_the_zone_of_the_settings(app: Flask, alice: Person) -> None:
    alice.post("/settings", {"time_zone": "Asia/Tokyo", "appearance": "system"})
    refused = alice.send(**LATER | {"send_zone": "", "recipient": "12"}).text
    assert (hidden(refused, "send_time"), hidden(refused, "send_zone")) == ("14:30", "Asia/Tokyo")
    alice.send(**LATER | {"send_zone": ""})
    assert alice.message().send_at == datetime(2026, 12, 1, 5, 30, tzinfo=UTC)


def test_changed_message_must_be_valid(app: Flask, alice: Person) -> None:
    alice.send(**LATER)
    path = f"/messages/{alice.message().public_id}/edit"
    reply = alice.client.post(path, data=alice.compose(recipient="12", body="Changed"))
    assert reply.status_code == 422
    assert "Edit message" in words(reply.text)
    assert alice.message().body == "Hello"


@pytest.mark.both_databases
def test_change_between_claim_and_hand_over_ends_the_claim(make_app: MakeApp) -> None:
    with wire() as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        alice = Person.signed_in(app, "alice@example.org")
        message = alice.queue()
        with app.app_context():
            [claimed] = claim_sendable(10)
            form = alice.compose(body="Changed", **LATER)
            alice.client.post(f"/messages/{message.public_id}/edit", data=form)
            submit_claimed([claimed], submit)
        assert twilio.requests == []
    assert (alice.message().status, alice.message().body) == ("outbox", "Changed")


@pytest.mark.both_databases
def test_waiting_message_is_cancelled(app: Flask, alice: Person) -> None:
    alice.send(**LATER)
    path = f"/messages/{alice.message().public_id}"
    assert f'href="{path}/cancel"' in alice.get(path).text
    question = words(alice.get(f"{path}/cancel").text)
    assert "Cancel this message? " in question
    assert "Text Hello Scheduled for 1 Dec 2026, 13:30:00 UTC" in question
    assert alice.message().status == "outbox"
    assert alice.post(f"{path}/cancel").location == path
    message = alice.message()
    assert (message.status, message.status_source, message.accepted_at) == (
        *("canceled", "app"),
        None,
    )
    [event] = alice.events(message)
    assert (event.status, event.source) == ("canceled", "app")
    page = words(alice.get(path).text)
    assert "Cancelled this app" in page
    assert "Cancelled before it was sent to" in page
    assert "Cancel this message" not in page
    assert "Hello</textarea>" in alice.get(f"/messages/new?text_of={message.public_id}").text
    assert "Use this text in a new message" in page
    with time_machine.travel(SEND_AT, tick=False):
        dispatch(app)
    assert alice.message().status == "canceled"


@pytest.mark.parametrize(("action", "verb"), [("cancel", "cancelled"), ("edit", "changed")])
def test_message_that_was_handed_over_is_neither_changed_nor_cancelled(
    app: Flask, alice: Person, action: str, verb: str
) -> None:
    message = alice.has_message(status="queued")
    path = f"/messages/{message.public_id}"
    form = alice.compose(body="Changed")
    reply = alice.client.post(f"{path}/{action}", data=form)
    assert reply.status_code == 409
    sentence = f"This message no longer waits here, so it cannot be {verb} any more."
    assert sentence in words(reply.text)
    assert (page := alice.get(f"{path}/{action}")).status_code == 409
    assert sentence in words(page.text)
    assert (alice.message().status, alice.message().body) == ("queued", "Hello")


@pytest.mark.parametrize("action", ["cancel", "edit"])
def test_message_of_somebody_else_is_not_found(
    app: Flask, alice: Person, bob: Person, action: str
) -> None:
    message = alice.queue()
    path = f"/messages/{message.public_id}/{action}"
    assert bob.get(path).status_code == 404
    assert bob.client.post(path, data=bob.compose()).status_code == 404
    assert alice.message().status == "outbox"


def test_pause_of_the_sender_is_shown(app: Flask, alice: Person) -> None:
    message = alice.queue()
    with app.app_context(), db.engine.begin() as connection:
        until = SenderPace.pause(connection, "+15005550006", "20429", utcnow())
    time = f"{until:%-d %b %Y, %H:%M:%S UTC}"
    log = words(alice.get("/messages").text)
    page = words(alice.get(f"/messages/{message.public_id}").text)
    assert f"Queued here Twilio asks to slow down; next try at {time}" in log
    assert "Twilio asks to slow down, so the messages of this sender wait" in page
    assert f"Next try at {time}" in page
    rows = words(alice.get(f"/messages/rows?ids={message.public_id}").text)
    assert "Twilio asks to slow down" in rows
    with time_machine.travel(until, tick=False):
        assert "slow down" not in words(alice.get("/messages").text)
