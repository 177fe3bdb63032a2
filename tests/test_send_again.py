"""Send again: where it is safe, once, linked both ways."""

import re
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import update
from werkzeug.test import TestResponse

from smstracker.clock import utcnow
from smstracker.dashboard import resend as resend_views
from smstracker.extensions import db
from smstracker.messages.sending import create_and_submit
from smstracker.models import Message, StatusEvent
from tests.clients import Person, hidden, words
from tests.signing import sid
from tests.twilio_stub import created, wire

MakeApp = Callable[..., Flask]


def person(make_app: MakeApp, url: str, **changed: str) -> Person:
    return Person.signed_in(make_app(TWILIO_API_BASE_URL=url, **changed), "alice@example.org")


def resend_path(message: Message) -> str:
    return f"/messages/{message.public_id}/again"


def test_page_shows_what_would_be_sent(alice: Person) -> None:
    message = alice.has_message(status="undelivered", error_code="30003", body="Once more")
    page = alice.get(resend_path(message))
    assert page.status_code == 200
    for part in ("+1 555-867-5310", "+1 500-555-0006", "Once more", "GSM-7 · 1 segment"):
        assert part in words(page.text)
    assert len(alice.messages()) == 1


@pytest.mark.both_databases
def test_new_message_is_linked_both_ways_and_so_is_a_third(make_app: MakeApp) -> None:
    with wire(created(sid(1)), created(sid(2))) as twilio:
        alice = person(make_app, twilio.url)
        original = alice.has_message(status="unreached")
        assert alice.post(resend_path(original)).status_code == 303
        resend = alice.messages()[1]
        assert len(twilio.requests) == 1
        with alice.app.app_context():
            db.session.get_one(Message, resend.id).status = "unreached"
            db.session.commit()
        alice.post(resend_path(resend))
    original, resend, third = alice.messages()
    assert (resend.resend_of_id, third.resend_of_id) == (original.id, resend.id)
    assert resend.content == original.content
    page = alice.get(f"/messages/{resend.public_id}").text
    assert "This is the second try of" in page
    assert f"/messages/{original.public_id}" in page
    assert "Sent again as" in page
    assert f"/messages/{third.public_id}" in page


@pytest.mark.both_databases
def test_second_post_leads_to_the_message_that_was_made(make_app: MakeApp) -> None:
    with wire(created(sid(1))) as twilio:
        alice = person(make_app, twilio.url)
        original = alice.has_message(status="unreached")
        token = hidden(alice.get(resend_path(original)).text, "csrf_token")
        replies = [
            alice.client.post(resend_path(original), data={"csrf_token": token}) for _ in range(2)
        ]
        assert len(twilio.requests) == 1
    resend = alice.messages()[1]
    assert {reply.location for reply in replies} == {f"/messages/{resend.public_id}"}
    assert alice.get(resend_path(original)).location == f"/messages/{resend.public_id}"


@pytest.mark.both_databases
def test_two_at_once_send_once(make_app: MakeApp) -> None:
    with wire(created(sid(1)), created(sid(2))) as twilio:
        alice = person(make_app, twilio.url)
        original = alice.has_message(status="unreached")
        token = hidden(alice.get(resend_path(original)).text, "csrf_token")
        cookie = alice.client.get_cookie("__Host-session", domain="sms.example.org")
        assert cookie is not None

        def press(_turn: int) -> int:
            client = alice.app.test_client()
            client.set_cookie("__Host-session", cookie.value, domain="sms.example.org", secure=True)
            return client.post(
                resend_path(original),
                data={"csrf_token": token},
                headers={"Referer": "https://sms.example.org/"},
            ).status_code

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(press, range(4))) == [303] * 4
        assert len(twilio.requests) == 1
    assert len(alice.messages()) == 2


@pytest.mark.parametrize("code", ["20003", "HTTP 401"])
def test_message_refused_for_the_credentials_may_be_sent_again(
    make_app: MakeApp, code: str
) -> None:
    with wire(created(sid(1))) as twilio:
        alice = person(make_app, twilio.url)
        original = alice.has_message(status="refused", error_code=code)
        assert "Send again…" in alice.get(f"/messages/{original.public_id}").text
        assert alice.post(resend_path(original)).status_code == 303
    assert [message.status for message in alice.messages()] == ["refused", "queued"]


@pytest.mark.parametrize(
    ("status", "code", "refusal"),
    [
        ("delivered", None, "Only a failed message"),
        ("unknown", None, "may have been"),
        ("refused", "21610", "recipient has sent START"),
        ("refused", "21211", "would fail again. Check the number with the recipient."),
        ("undelivered", "30007", "would fail again. Reword it"),
        ("undelivered", "30006", "No. It would fail"),
        ("failed", "30410", "from here. Ask the recipient whether it arrived."),
        ("failed", "31999", "Not before you know what it means"),
        ("failed", None, "ask the recipient"),
    ],
)
def test_what_is_not_to_be_sent_again_says_why(
    alice: Person, status: str, code: str | None, refusal: str
) -> None:
    message = alice.has_message(status="unreached")
    token = hidden(alice.get(resend_path(message)).text, "csrf_token")
    with alice.app.app_context():
        stored_message = db.session.get_one(Message, message.id)
        stored_message.status, stored_message.error_code = status, code
        db.session.commit()
    reply = alice.client.post(resend_path(message), data={"csrf_token": token})
    assert reply.status_code == 409
    assert refusal.lower() in words(reply.text).lower()
    assert len(alice.messages()) == 1
    assert resend_path(message) not in alice.get(f"/messages/{message.public_id}").text


@pytest.mark.parametrize(
    ("status", "code"),
    [("refused", "20429"), ("failed", "30008"), ("untraced", None), ("unreached", None)],
)
def test_page_offers_it_where_it_makes_sense(alice: Person, status: str, code: str | None) -> None:
    message = alice.has_message(status=status, error_code=code)
    assert resend_path(message) in alice.get(f"/messages/{message.public_id}").text


def test_what_is_worth_one_more_try_is_not_tried_a_third_time(alice: Person) -> None:
    original = alice.has_message(status="undelivered", error_code="30003")
    resend = alice.has_message(status="undelivered", error_code="30008", resend_of_id=original.id)
    page = alice.get(f"/messages/{resend.public_id}").text
    assert resend_path(resend) not in page
    assert "Send again? No. This was the second try" in words(page)
    reply = alice.post(resend_path(resend), page="/messages/new")
    assert reply.status_code == 409
    assert "This was the second try" in words(reply.text)
    assert len(alice.messages()) == 2
    assert "Send again? It has been sent again." in words(
        alice.get(f"/messages/{original.public_id}").text
    )


@pytest.mark.parametrize(
    ("status", "code"), [("unreached", None), ("undelivered", "30017"), ("refused", "20429")]
)
def test_second_try_is_tried_again_if_the_first_failed_otherwise(
    alice: Person, status: str, code: str | None
) -> None:
    original = alice.has_message(status=status, error_code=code)
    resend = alice.has_message(status="undelivered", error_code="30003", resend_of_id=original.id)
    assert resend_path(resend) in alice.get(f"/messages/{resend.public_id}").text


@pytest.mark.parametrize("code", ["20429", "20003"])
def test_second_try_that_was_never_sent_is_tried_again(alice: Person, code: str) -> None:
    original = alice.has_message(status="undelivered", error_code="30003")
    resend = alice.has_message(status="refused", error_code=code, resend_of_id=original.id)
    assert resend_path(resend) in alice.get(f"/messages/{resend.public_id}").text


def test_page_tells_what_was_learned_since(alice: Person) -> None:
    message = alice.has_message(status="undelivered", error_code="30003")
    page = words(alice.get(resend_path(message)).text)
    assert "Opted out" not in page
    assert "You sent this text" not in page  # the original itself is no warning
    opt_out = alice.has_message(status="refused", error_code="21610", body="Another")
    later = alice.has_message(status="delivered")
    with alice.app.app_context():
        proof = StatusEvent(message_id=opt_out.id, status="refused", error_code="21610")
        proof.source, proof.payload, proof.received_at = "send", {}, utcnow()
        db.session.add(proof)
        db.session.commit()
    page = alice.get(resend_path(message)).text
    assert "Opted out of this sender" in words(page)
    assert f"/messages/{opt_out.public_id}#event-" in page
    assert "You sent this text to this number" in words(page)
    assert f"/messages/{later.public_id}" in page
    assert "Send this message again?" in page


@pytest.mark.both_databases
def test_receipt_that_comes_after_the_check_keeps_it_from_being_sent_again(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deliver_first(create: Callable[[], Message]) -> Message:
        db.session.rollback()
        with db.engine.begin() as connection:
            connection.execute(update(Message).values(status="delivered"))
        return create_and_submit(create)

    monkeypatch.setattr(resend_views, "create_and_submit", deliver_first)
    with wire(created(sid(1))) as twilio:
        alice = person(make_app, twilio.url)
        reply = alice.post(resend_path(alice.has_message(status="unreached")))
        assert twilio.requests == []
    assert reply.status_code == 409
    assert "Only a failed message" in words(reply.text)
    assert alice.message().status == "delivered"


def test_sender_that_is_gone_leads_to_the_form_filled_in(alice: Person) -> None:
    message = alice.has_message(status="unreached", sender="+15550000000", body="Keep me")
    page = alice.get(resend_path(message))
    assert page.status_code == 409
    assert "no longer available" in page.text
    typed = {"csrf_token": hidden(page.text, "csrf_token"), "check": "1"}
    typed |= {"recipient": message.recipient, "body": message.body}
    assert "Keep me" in alice.client.post("/messages", data=typed).text


@pytest.mark.both_databases
def test_send_limit_applies(make_app: MakeApp) -> None:
    alice = person(make_app, "http://127.0.0.1:9", SEND_LIMIT_PER_MINUTE="1")
    message = alice.has_message(status="unreached")
    reply = alice.post(resend_path(message))
    assert reply.status_code == 429
    assert "You have reached the limit of" in reply.text
    assert len(alice.messages()) == 1


def test_messages_of_others_are_not_found(alice: Person, bob: Person) -> None:
    message = alice.has_message(status="unreached")
    token = hidden(bob.get("/messages/new").text, "csrf_token")
    assert bob.get(resend_path(message)).status_code == 404
    assert bob.client.post(resend_path(message), data={"csrf_token": token}).status_code == 404
    assert bob.get(f"/messages/{uuid.uuid4()}/again").status_code == 404
    assert len(alice.messages()) == 1


def test_sending_again_waits_for_room_too_and_saves_nothing(make_app: MakeApp) -> None:
    with wire(created(sid(1)), created(sid(2))) as twilio:
        alice = person(make_app, twilio.url, WEB_THREADS="2")
        bob = Person.signed_in(alice.app, "bob@example.org")
        original = bob.has_message(status="unreached")
        form = {"csrf_token": hidden(bob.get(resend_path(original)).text, "csrf_token")}
        busy: list[TestResponse] = []
        twilio.on_request = lambda: busy.append(bob.client.post(resend_path(original), data=form))
        alice.send()
        twilio.on_request = lambda: None
        assert busy[0].status_code == 503
        assert "Nothing was sent or saved" in busy[0].text
        assert len(bob.messages()) == 1
        assert bob.client.post(resend_path(original), data=form).status_code == 303
    assert len(bob.messages()) == 2


@pytest.mark.parametrize(
    ("code", "is_offered"),
    [("21211", True), ("30006", True), ("30003", False), ("30008", False), (None, False)],
)
def test_text_of_what_must_be_changed_is_taken_along_without_the_number(
    alice: Person, bob: Person, code: str | None, is_offered: bool
) -> None:
    pictures = ["https://example.org/a.jpg", "https://example.org/b.jpg"]
    message = alice.has_message(
        status="undelivered", error_code=code, body="Your table\n& chair", media_urls=pictures
    )
    page = alice.get(f"/messages/{message.public_id}").text
    path = f"/messages/new?text_of={message.public_id}"
    assert (f'href="{path}"' in page) is is_offered
    form = alice.get(path).text
    assert hidden(form, "recipient") == ""
    assert "Your table\n&amp; chair</textarea>" in form
    assert f"{pictures[0]}\n{pictures[1]}</textarea>" in form
    assert hidden(form, "form_id") != message.idempotency_key.hex, "it is a new message"
    assert len(alice.messages()) == 1
    assert bob.get(path).status_code == 404
    assert alice.get("/messages/new?text_of=x").status_code == 200


def test_text_is_taken_along_with_a_sender_that_is_still_offered(make_app: MakeApp) -> None:
    anna = Person.signed_in(
        make_app(TWILIO_PHONE_NUMBER="+15005550006,+442079460018"), "anna@example.org"
    )
    for sender, chosen in (("+442079460018", "+442079460018"), ("+15005550001", None)):
        message = anna.has_message(status="refused", error_code="21211", sender=sender)
        form = anna.get(f"/messages/new?text_of={message.public_id}").text
        selected = re.search(r'<option selected value="([^"]+)"', form)
        assert (selected[1] if selected else None) == chosen
