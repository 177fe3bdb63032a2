"""What a signed callback does: it is stored, and it moves the message only forwards."""

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Message
from smstracker.models.event_store import append_event
from smstracker.models.events import StatusUpdate
from smstracker.sms.status import Effect, Source, effects
from tests.clients import Person, words
from tests.refused_callbacks import stored_events
from tests.signing import STATUS_PATH, call_back, callback_path, fields, sid

pytestmark = pytest.mark.both_databases

SERVICE = {"sender": None, "messaging_service_sid": "MG" + "1" * 32}


def test_callback_moves_its_message_and_is_kept_whole(client: FlaskClient, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    form = fields(sid(1), "delivered", RawDlrDoneDate="2611220836", NewKey="new")
    answer = call_back(client, form, callback_path(message), I_Twilio_Idempotency_Token="token-1")
    assert (answer.status_code, answer.data) == (204, b"")
    message = alice.message()
    assert (message.status, message.status_source) == ("delivered", "callback")
    assert message.final_at is not None
    [event] = alice.events(message)
    assert event.payload == form
    assert event.carrier_done_at == "2611220836"
    assert event.idempotency_token == "token-1"


@pytest.mark.parametrize("date", ["2013-02-17 00:04:32", "2026-11-27T02:01:00Z", "2611270201+0100"])
def test_date_of_the_carrier_is_kept_as_it_was_written(
    client: FlaskClient, alice: Person, date: str
) -> None:
    alice.has_message(twilio_sid=sid(1))
    form = fields(sid(1), "delivered", RawDlrDoneDate=date)
    assert call_back(client, form).status_code == 204
    assert alice.events(alice.message())[0].carrier_done_at == date


def test_message_is_accepted_at_its_first_status_and_final_at_its_outcome(
    client: FlaskClient, alice: Person
) -> None:
    alice.has_message(twilio_sid=sid(1), status="pending")
    with time_machine.travel(utcnow(), tick=False) as clock:
        accepted_at = utcnow()
        call_back(client, fields(sid(1), "queued"))
        clock.shift(60)
        call_back(client, fields(sid(1), "sent"))
        message = alice.message()
        assert (message.accepted_at, message.final_at) == (accepted_at, None)
        clock.shift(60)
        call_back(client, fields(sid(1), "delivered"))
        message = alice.message()
        assert (message.accepted_at, message.final_at) == (accepted_at, utcnow())


def test_callback_is_matched_by_sid_alone(client: FlaskClient, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1))
    assert call_back(client, fields(sid(1), "sent")).status_code == 204
    assert alice.message().status == "sent"


def test_callback_is_read_from_the_older_names(client: FlaskClient, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1))
    answer = call_back(client, {"SmsSid": sid(1), "SmsStatus": "sent"})
    assert answer.status_code == 204
    assert alice.message().status == "sent"


@pytest.mark.parametrize("order", list(permutations(["queued", "sent", "delivered"])))
def test_any_order_ends_in_the_same_state(
    order: tuple[str, ...], client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="accepted")
    for word in order:
        assert call_back(client, fields(sid(1), word), callback_path(message)).status_code == 204
    assert alice.message().status == "delivered"
    assert [event.status for event in alice.events(message)] == list(order)


@pytest.mark.parametrize("order", list(permutations(["canceled", "failed", "delivered"])))
def test_conflict_is_marked_in_any_order(
    order: tuple[str, ...], client: FlaskClient, alice: Person
) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent")
    for word in order:
        call_back(client, fields(sid(1), word, "30008" if word == "failed" else None))
    message = alice.message()
    assert (message.status, message.error_code, message.has_conflict) == ("delivered", None, True)


def test_cancelled_message_does_not_get_the_code_of_a_failure(
    client: FlaskClient, alice: Person
) -> None:
    alice.has_message(twilio_sid=sid(1), status="scheduled")
    call_back(client, fields(sid(1), "canceled"))
    call_back(client, fields(sid(1), "failed", "30008"))
    assert (alice.message().status, alice.message().error_code) == ("canceled", None)


def test_repeated_callback_is_kept_and_changes_nothing(client: FlaskClient, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    for number in range(3):
        token = {"I_Twilio_Idempotency_Token": str(number)}
        answer = call_back(client, fields(sid(1), "sent"), callback_path(message), **token)
        assert answer.status_code == 204
    events = alice.events(message)
    assert alice.message().status_at == events[0].received_at
    found = effects((event.status, event.error_code) for event in events)
    assert found == [Effect.MOVED, Effect.REPEATED, Effect.REPEATED]


def test_parallel_callbacks_never_move_backwards(app: Flask, alice: Person) -> None:
    words = ["queued", "sending", "sent", "delivered", "read"] * 6
    message = alice.has_message(twilio_sid=sid(1), status="accepted")
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(
            lambda number: call_back(
                app.test_client(),
                fields(sid(1), words[number]),
                callback_path(message),
                I_Twilio_Idempotency_Token=str(number),
            ),
            range(len(words)),
        )
        assert {answer.status_code for answer in answers} == {204}
    assert alice.message().status == "read"
    assert len(alice.events(message)) == len(words)


def test_unknown_word_is_kept_and_moves_nothing(client: FlaskClient, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="sent")
    answer = call_back(client, fields(sid(1), "teleported"), callback_path(message))
    assert answer.status_code == 204
    assert alice.message().status == "sent"
    assert [event.status for event in alice.events(message)] == ["teleported"]


def test_warning_code_with_a_good_status_is_no_failure(client: FlaskClient, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="sent")
    call_back(client, fields(sid(1), "delivered", "30018"), callback_path(message))
    message = alice.message()
    assert (message.status, message.error_code) == ("delivered", "30018")


def test_failed_then_delivered_shows_delivered_and_the_conflict(
    client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="sent")
    call_back(client, fields(sid(1), "failed", "30008"), callback_path(message))
    call_back(client, fields(sid(1), "delivered"), callback_path(message))
    message = alice.message()
    assert (message.status, message.error_code, message.has_conflict) == ("delivered", None, True)
    assert [event.error_code for event in alice.events(message)] == ["30008", None]


def test_delivered_then_failed_stays_delivered_and_marks_the_conflict(
    client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="delivered")
    call_back(client, fields(sid(1), "undelivered", "30005"), callback_path(message))
    message = alice.message()
    assert (message.status, message.error_code, message.has_conflict) == ("delivered", None, True)


def test_repeated_failure_without_code_does_not_blank_the_code(
    client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="sent")
    call_back(client, fields(sid(1), "undelivered", "30003"), callback_path(message))
    call_back(client, fields(sid(1), "undelivered"), callback_path(message))
    assert alice.message().error_code == "30003"


def test_second_failure_with_another_code_does_not_replace_the_first(
    client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="sent")
    call_back(client, fields(sid(1), "undelivered", "30003"), callback_path(message))
    call_back(client, fields(sid(1), "failed", "30008"), callback_path(message))
    message = alice.message()
    assert (message.status, message.error_code) == ("undelivered", "30003")


def test_repeated_failure_fills_in_a_missing_code(client: FlaskClient, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="sent")
    call_back(client, fields(sid(1), "undelivered"), callback_path(message))
    call_back(client, fields(sid(1), "undelivered", "30003"), callback_path(message))
    assert alice.message().error_code == "30003"


def test_callback_for_a_sid_nobody_knows_is_kept_as_an_orphan(
    app: Flask, client: FlaskClient
) -> None:
    assert call_back(client, fields(sid(7), "sent")).status_code == 204
    [event] = stored_events(app)
    assert (event.message_id, event.twilio_sid) == (None, sid(7))


@pytest.mark.parametrize("unknown", [str(uuid.UUID(int=7)), "not-a-uuid", "%C3%A9"])
def test_callback_for_a_message_that_is_not_there_is_kept(
    app: Flask, client: FlaskClient, unknown: str
) -> None:
    answer = call_back(client, fields(sid(7), "sent"), f"{STATUS_PATH}/{unknown}")
    assert answer.status_code == 204
    assert len(stored_events(app)) == 1


def test_callback_before_our_create_call_returned_sets_the_sid(
    client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(status="pending")
    call_back(client, fields(sid(1), "sent"), callback_path(message))
    message = alice.message()
    assert (message.status, message.twilio_sid) == ("sent", sid(1))
    assert message.accepted_at is not None


def test_orphan_is_attached_when_its_sid_becomes_known(client: FlaskClient, alice: Person) -> None:
    message = alice.has_message(status="pending")
    call_back(client, fields(sid(1), "delivered"))
    call_back(client, fields(sid(1), "sent"), callback_path(message))
    message = alice.message()
    assert message.status == "delivered"
    assert {event.status for event in alice.events(message)} == {"delivered", "sent"}


def test_callback_and_send_answer_at_once_never_miss_one_another(app: Flask, alice: Person) -> None:
    messages = [alice.has_message(status="pending", body=str(n)) for n in range(25)]
    with app.app_context():
        engine = db.engine

    def answer(number: int) -> None:
        with engine.begin() as connection:
            update = StatusUpdate("queued", Source.SEND, {}, sid(number))
            append_event(connection, messages[number].id, update)

    def callback(number: int) -> None:
        assert call_back(app.test_client(), fields(sid(number), "delivered")).status_code == 204

    with ThreadPoolExecutor(8) as threads:
        for number in range(25):
            both = [threads.submit(do, number) for do in (callback, answer)]
            assert [done.exception() for done in both] == [None, None]
    assert {message.status for message in alice.messages()} == {"delivered"}
    assert all(event.message_id for event in stored_events(app))


@pytest.mark.slow
def test_locked_row_ends_in_a_503_and_not_in_waiting_for_ever(app: Flask, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    with app.app_context():
        engine = db.engine
    with engine.begin() as connection:
        connection.execute(update(Message).values(body="locked"))
        answer = call_back(app.test_client(), fields(sid(1), "sent"), callback_path(message))
        assert answer.status_code == 503
    assert call_back(app.test_client(), fields(sid(1), "sent")).status_code == 204


def test_callback_with_another_sid_than_the_message_has_is_not_its_own(
    app: Flask, client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="sent")
    call_back(client, fields(sid(2), "failed", "30008"), callback_path(message))
    assert alice.message().status == "sent"
    assert alice.events(message) == []
    assert stored_events(app)[0].message_id is None


def test_payload_keeps_repeated_keys_and_long_values(client: FlaskClient, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    form = fields(sid(1), "failed", "3" * 40) | {"Twice": ["a", "b"], "Nul": "a\0b"}
    assert call_back(client, form, callback_path(message)).status_code == 204
    [event] = alice.events(message)
    assert event.payload["Twice"] == ["a", "b"]
    assert event.payload["ErrorCode"] == "3" * 40
    assert event.error_code == "3" * 16


def test_independent_vectors_get_the_expected_verdicts(
    make_app: Callable[..., Flask], pytestconfig: pytest.Config
) -> None:
    vectors = json.loads((Path(__file__).parent / "callbacks.json").read_text())
    app = make_app(
        PUBLIC_BASE_URL=vectors["public_url"],
        TWILIO_AUTH_TOKEN=vectors["primary_token"],
        TWILIO_AUTH_TOKEN_SECONDARY=vectors["secondary_token"],
    )
    for vector in vectors["vectors"]:
        path = vector["url"].removeprefix(vectors["public_url"])
        headers = {"X-Twilio-Signature": vector["signature"]}
        answer = app.test_client().post(path, data=vector["params"], headers=headers)
        expected = 204 if vector["expect"] == "accept" else 403
        assert answer.status_code == expected, vector["name"]
    assert len(stored_events(app)) == 6


def test_callback_names_the_sender_that_a_messaging_service_chose(
    client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1), **SERVICE)
    call_back(client, fields(sid(1), "sent"))
    call_back(client, fields(sid(1), "delivered", From="+15005550199"))
    assert alice.message().sender == "+15005550006"
    assert "from +1 500-555-0006" in words(alice.get("/messages").text)
    assert message.messaging_service_sid == alice.message().messaging_service_sid


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("sender", ["", "+" + "1" * 34, "\0", "é"])
def test_sender_that_no_column_holds_is_left_out(
    client: FlaskClient, alice: Person, sender: str
) -> None:
    alice.has_message(twilio_sid=sid(1), **SERVICE)
    assert call_back(client, fields(sid(1), "sent", From=sender)).status_code == 204
    assert (alice.message().status, alice.message().sender) == ("sent", None)


def test_callback_before_the_send_answer_names_the_sender_too(
    client: FlaskClient, alice: Person
) -> None:
    call_back(client, fields(sid(1), "sent"))
    message = alice.has_message(**SERVICE)
    with client.application.app_context(), db.engine.begin() as connection:
        append_event(connection, message.id, StatusUpdate("accepted", Source.SEND, {}, sid(1)))
    assert alice.message().sender == "+15005550006"
