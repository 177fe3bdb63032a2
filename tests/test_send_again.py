"""Send again: where it is safe, once, linked both ways."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Message, StatusEvent
from tests.clients import Person, hidden, words
from tests.signing import sid
from tests.twilio_stub import created, wire

MakeApp = Callable[..., Flask]


def person(make_app: MakeApp, url: str, **changed: str) -> Person:
    return Person.signed_in(make_app(TWILIO_API_BASE_URL=url, **changed), "alice@example.org")


def again(message: Message) -> str:
    return f"/messages/{message.public_id}/again"


def test_page_shows_what_would_be_sent(alice: Person) -> None:
    message = alice.has_message(status="undelivered", error_code="30003", body="Once more")
    page = alice.get(again(message))
    assert page.status_code == 200
    for part in ("+1 555-867-5310", "+1 500-555-0006", "Once more", "GSM-7 · 1 segment"):
        assert part in words(page.text)
    assert len(alice.messages()) == 1


def test_new_message_is_linked_both_ways_and_so_is_a_third(make_app: MakeApp) -> None:
    with wire(created(sid(1)), created(sid(2))) as twilio:
        alice = person(make_app, twilio.url)
        first = alice.has_message(status="unreached")
        assert alice.post(again(first)).status_code == 303
        second = alice.messages()[1]
        assert len(twilio.requests) == 1
        with alice.app.app_context():
            db.session.get_one(Message, second.id).status = "unreached"
            db.session.commit()
        alice.post(again(second))
    first, second, third = alice.messages()
    assert (second.again_of_id, third.again_of_id) == (first.id, second.id)
    assert second.content == first.content
    page = alice.get(f"/messages/{second.public_id}").text
    assert "This is a second try of" in page
    assert f"/messages/{first.public_id}" in page
    assert "Sent again as" in page
    assert f"/messages/{third.public_id}" in page


def test_second_post_leads_to_the_message_that_was_made(make_app: MakeApp) -> None:
    with wire(created(sid(1))) as twilio:
        alice = person(make_app, twilio.url)
        first = alice.has_message(status="unreached")
        token = hidden(alice.get(again(first)).text, "csrf_token")
        replies = [alice.client.post(again(first), data={"csrf_token": token}) for _ in range(2)]
        assert len(twilio.requests) == 1
    made = alice.messages()[1]
    assert {reply.location for reply in replies} == {f"/messages/{made.public_id}"}
    assert alice.get(again(first)).location == f"/messages/{made.public_id}"


def test_two_at_once_send_once(make_app: MakeApp) -> None:
    with wire(created(sid(1)), created(sid(2))) as twilio:
        alice = person(make_app, twilio.url)
        first = alice.has_message(status="unreached")
        token = hidden(alice.get(again(first)).text, "csrf_token")
        cookie = alice.client.get_cookie("__Host-session", domain="sms.example.org")
        assert cookie is not None

        def press(_turn: int) -> int:
            client = alice.app.test_client()
            client.set_cookie("__Host-session", cookie.value, domain="sms.example.org", secure=True)
            return client.post(
                again(first),
                data={"csrf_token": token},
                headers={"Referer": "https://sms.example.org/"},
            ).status_code

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(press, range(4))) == [303] * 4
        assert len(twilio.requests) == 1
    assert len(alice.messages()) == 2


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        ("delivered", None, "Only a message that failed"),
        ("unknown", None, "may have been"),
        ("refused", "21610", "recipient has sent START"),
        ("refused", "21211", "same way. Check the number with the recipient."),
        ("undelivered", "30007", "same way. Reword it"),
        ("undelivered", "30006", "does not help. It would fail"),
        ("failed", "30410", "from here. Ask the recipient whether it arrived."),
        ("failed", "31999", "Not before you know what it means"),
        ("failed", None, "ask the recipient"),
    ],
)
def test_what_is_not_to_be_sent_again_says_why(
    alice: Person, status: str, code: str | None, said: str
) -> None:
    message = alice.has_message(status="unreached")
    token = hidden(alice.get(again(message)).text, "csrf_token")
    with alice.app.app_context():
        changed = db.session.get_one(Message, message.id)
        changed.status, changed.error_code = status, code
        db.session.commit()
    reply = alice.client.post(again(message), data={"csrf_token": token})
    assert reply.status_code == 409
    assert said.lower() in words(reply.text).lower()
    assert len(alice.messages()) == 1
    assert again(message) not in alice.get(f"/messages/{message.public_id}").text


@pytest.mark.parametrize(
    ("status", "code"),
    [("refused", "20429"), ("failed", "30008"), ("untraced", None), ("unreached", None)],
)
def test_page_offers_it_where_it_makes_sense(alice: Person, status: str, code: str | None) -> None:
    message = alice.has_message(status=status, error_code=code)
    assert again(message) in alice.get(f"/messages/{message.public_id}").text


def test_what_is_worth_one_more_try_is_not_tried_a_third_time(alice: Person) -> None:
    first = alice.has_message(status="undelivered", error_code="30003")
    second = alice.has_message(status="undelivered", error_code="30008", again_of_id=first.id)
    page = alice.get(f"/messages/{second.public_id}").text
    assert again(second) not in page
    assert "Send again? No. This was a second try already" in words(page)
    reply = alice.post(again(second), page="/messages/new")
    assert reply.status_code == 409
    assert "This was a second try already" in words(reply.text)
    assert len(alice.messages()) == 2
    assert "Send again? It has been sent again." in words(
        alice.get(f"/messages/{first.public_id}").text
    )


@pytest.mark.parametrize(
    ("status", "code"), [("unreached", None), ("undelivered", "30017"), ("refused", "20429")]
)
def test_second_try_is_tried_again_if_the_first_failed_otherwise(
    alice: Person, status: str, code: str | None
) -> None:
    first = alice.has_message(status=status, error_code=code)
    second = alice.has_message(status="undelivered", error_code="30003", again_of_id=first.id)
    assert again(second) in alice.get(f"/messages/{second.public_id}").text


def test_page_tells_what_was_learned_since(alice: Person) -> None:
    message = alice.has_message(status="undelivered", error_code="30003")
    page = words(alice.get(again(message)).text)
    assert "Opted out" not in page
    assert "You sent this text" not in page  # the original itself is no news
    opt_out = alice.has_message(status="refused", error_code="21610", body="Another")
    later = alice.has_message(status="delivered")
    with alice.app.app_context():
        proof = StatusEvent(message_id=opt_out.id, status="refused", error_code="21610")
        proof.source, proof.payload, proof.received_at = "send", {}, utcnow()
        db.session.add(proof)
        db.session.commit()
    page = alice.get(again(message)).text
    assert "Opted out of this sender" in words(page)
    assert f"/messages/{opt_out.public_id}#event-" in page
    assert "You sent this text to this number" in words(page)
    assert f"/messages/{later.public_id}" in page
    assert "Send this message again?" in page


def test_sender_that_is_gone_leads_to_the_form_filled_in(alice: Person) -> None:
    message = alice.has_message(status="unreached", sender="+15550000000", body="Keep me")
    page = alice.get(again(message))
    assert page.status_code == 409
    assert "no longer offered" in page.text
    typed = {"csrf_token": hidden(page.text, "csrf_token"), "check": "1"}
    typed |= {"recipient": message.recipient, "body": message.body}
    assert "Keep me" in alice.client.post("/messages", data=typed).text


def test_send_limit_applies(make_app: MakeApp) -> None:
    alice = person(make_app, "http://127.0.0.1:9", SEND_LIMIT_PER_MINUTE="1")
    message = alice.has_message(status="unreached")
    reply = alice.post(again(message))
    assert reply.status_code == 429
    assert "which is the limit" in reply.text
    assert len(alice.messages()) == 1


def test_messages_of_others_are_not_found(alice: Person, bob: Person) -> None:
    message = alice.has_message(status="unreached")
    token = hidden(bob.get("/messages/new").text, "csrf_token")
    assert bob.get(again(message)).status_code == 404
    assert bob.client.post(again(message), data={"csrf_token": token}).status_code == 404
    assert bob.get(f"/messages/{uuid.uuid4()}/again").status_code == 404
    assert len(alice.messages()) == 1


def test_sending_again_waits_for_room_too_and_saves_nothing(make_app: MakeApp) -> None:
    with wire(created(sid(1)), created(sid(2))) as twilio:
        alice = person(make_app, twilio.url, WEB_THREADS="2")
        bob = Person.signed_in(alice.app, "bob@example.org")
        first = bob.has_message(status="unreached")
        form = {"csrf_token": hidden(bob.get(again(first)).text, "csrf_token")}
        busy: list[TestResponse] = []
        twilio.on_request = lambda: busy.append(bob.client.post(again(first), data=form))
        alice.send()
        twilio.on_request = lambda: None
        assert busy[0].status_code == 503
        assert "Nothing was sent or saved" in busy[0].text
        assert len(bob.messages()) == 1
        assert bob.client.post(again(first), data=form).status_code == 303
    assert len(bob.messages()) == 2
