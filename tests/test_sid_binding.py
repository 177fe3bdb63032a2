"""A SID belongs to one message, with the events that came before the two were bound."""

import logging

import pytest
from flask import Flask

from smstracker.extensions import db
from smstracker.models.callback_store import store_callback
from smstracker.models.event_store import append_event, apply_send_result, link_to_sid
from smstracker.models.events import SendResult, StatusUpdate
from smstracker.sms.status import Source
from tests.clients import Person
from tests.refused_callbacks import stored_events
from tests.signing import ACCOUNT_SID, sid

pytestmark = pytest.mark.both_databases

FOREIGN = "AC" + "2" * 32


def callback(word: str, number: int = 1, account: str | None = ACCOUNT_SID) -> StatusUpdate:
    return StatusUpdate(word, Source.CALLBACK, {}, sid(number), account_sid=account)


def lookup(word: str, number: int = 1) -> StatusUpdate:
    return StatusUpdate(word, Source.LOOKUP, {}, sid(number))


def test_message_keeps_the_sid_that_its_callback_named_first(app: Flask, alice: Person) -> None:
    message = alice.has_message(status="pending")
    answer = StatusUpdate("queued", Source.SEND, {}, sid(2))
    with app.app_context(), db.engine.begin() as connection:
        store_callback(connection, message.public_id, callback("sent"))
        apply_send_result(connection, message.id, SendResult(answer, True))
    assert (alice.message().twilio_sid, alice.message().status) == (sid(1), "sent")
    assert {event.twilio_sid for event in alice.events(message)} == {sid(1), sid(2)}


@pytest.mark.parametrize(
    ("of_message", "of_event", "is_attached"),
    [
        (ACCOUNT_SID, ACCOUNT_SID, True),
        (ACCOUNT_SID, FOREIGN, False),
        # Versions before kept no account.
        (ACCOUNT_SID, None, True),
        (None, FOREIGN, True),
    ],
)
def test_earlier_event_is_attached_unless_it_is_of_another_account(
    app: Flask, alice: Person, of_message: str | None, of_event: str | None, is_attached: bool
) -> None:
    message = alice.has_message(status="pending", account_sid=of_message)
    with app.app_context(), db.engine.begin() as connection:
        store_callback(connection, None, callback("delivered", account=of_event))
        append_event(connection, message.id, lookup("sent"))
    assert alice.message().status == ("delivered" if is_attached else "sent")
    assert stored_events(app)[0].message_id == (message.id if is_attached else None)


def test_message_is_not_linked_to_a_sid_of_another(
    app: Flask, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    holder, other = alice.has_message(twilio_sid=sid(1)), alice.has_message(status="unknown")
    with app.app_context(), caplog.at_level(logging.WARNING), db.engine.begin() as connection:
        append_event(connection, holder.id, lookup("sent"))
        assert caplog.messages == []
        assert not link_to_sid(connection, other.id, lookup("delivered"))
    assert caplog.messages == ["sid_already_held"]
    assert [m.twilio_sid for m in alice.messages()] == [sid(1), None]
    assert [m.status for m in alice.messages()] == ["sent", "unknown"]
    assert alice.events(other) == []


def test_look_up_that_contradicts_an_event_which_moved_nothing_is_a_conflict(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="canceled")
    with app.app_context(), db.engine.begin() as connection:
        store_callback(connection, None, callback("failed"))
        append_event(connection, message.id, lookup("delivered"))
    assert (alice.message().status, alice.message().has_conflict) == ("delivered", True)
