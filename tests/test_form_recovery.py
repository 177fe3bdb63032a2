"""Whatever goes wrong with a form: what was typed comes back, and one press tries again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from smstracker.extensions import db
from tests.clients import Person, hidden, words
from tests.twilio_stub import created, wire

TYPED = {"recipient": "+1 555 867 5310", "body": "\nA “long” story & <more>", "media_urls": ""}
AWAY = OperationalError("SELECT", {}, Exception("gone"))


@contextmanager
def database(app: Flask, error: Exception) -> Iterator[None]:
    """Every statement ends in this error."""

    def fail(*_: object) -> None:
        raise error

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", fail)


def again(page: str, typed: dict[str, str]) -> dict[str, str]:
    """What the browser posts from a page that has kept the send form."""
    fields = {name: hidden(page, name) for name in ("csrf_token", "form_id", "sender")}
    return fields | typed


@pytest.mark.parametrize(("error", "code"), [(AWAY, 503), (RuntimeError("a bug"), 500)])
def test_message_is_kept_when_it_cannot_be_stored(
    app: Flask, alice: Person, error: Exception, code: int
) -> None:
    form = alice.compose(**TYPED)
    with database(app, error):
        answer = alice.client.post("/messages", data=form)
    assert answer.status_code == code
    assert "A “long” story &amp; &lt;more&gt;</textarea>" in answer.text
    assert 'value="+1 555 867 5310"' in answer.text
    assert hidden(answer.text, "form_id") == form["form_id"]
    assert alice.messages() == []


def test_kept_message_is_sent_once_by_the_next_press(
    make_app: Callable[..., Flask],
) -> None:
    with wire(created("SM" + "1" * 32)) as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        alice = Person.signed_in(app, "alice@example.org")
        form = alice.compose(**TYPED)
        with database(app, AWAY):
            page = alice.client.post("/messages", data=form).text
        for _ in range(2):
            answer = alice.client.post("/messages", data=again(page, TYPED))
            assert answer.status_code == 303
        assert alice.message().body == TYPED["body"]
        assert len(twilio.requests) == 1


def test_message_of_a_stale_form_is_kept_when_the_database_is_away(
    app: Flask, alice: Person
) -> None:
    form = alice.compose(**TYPED) | {"csrf_token": "old"}
    with database(app, AWAY):
        answer = alice.client.post("/messages", data=form)
    assert answer.status_code == 503
    assert "A “long” story" in answer.text


def test_hidden_fields_of_a_stranger_get_no_good_token(app: Flask, alice: Person) -> None:
    with database(app, AWAY):
        form = {"csrf_token": "wrong", "id": "7"}
        answer = alice.client.post("/callbacks/replay", data=form)
    assert answer.status_code == 400
    assert "<input" not in answer.text


def test_too_large_form_says_where_the_text_may_be(alice: Person) -> None:
    answer = alice.send(body="x" * 300_000)
    assert answer.status_code == 413
    assert "shorten it if your browser still has it" in words(answer.text)


def test_replay_can_be_tried_again_when_the_database_is_away(app: Flask, alice: Person) -> None:
    app.test_cli_runner().invoke(args=["users", "add", alice.email, "--admin"])
    token = hidden(alice.get("/messages/new").text, "csrf_token")
    with database(app, AWAY):
        form = {"csrf_token": token, "id": "7"}
        page = alice.client.post("/callbacks/replay", data=form)
    assert page.status_code == 503
    assert 'action="/callbacks/replay"' in page.text
    assert hidden(page.text, "id") == "7"
    assert "Try again" in words(page.text)


def test_address_is_kept_when_too_many_mails_were_asked_for(app: Flask) -> None:
    visitor = Person(app, "alice@example.org")
    for _ in range(5):
        visitor.post("/auth/sign-in", {"email": visitor.email})
    answer = visitor.post("/auth/sign-in", {"email": visitor.email})
    assert answer.status_code == 429
    assert hidden(answer.text, "email") == visitor.email
    assert "Try again in" in words(answer.text)


def test_address_is_kept_when_the_page_was_out_of_date(app: Flask) -> None:
    visitor = Person(app, "alice@example.org")
    form = {"csrf_token": "old", "email": visitor.email, "next": "/messages/new"}
    answer = visitor.client.post("/auth/sign-in", data=form)
    assert answer.status_code == 400
    assert "out of date" in words(answer.text)
    fields = {name: hidden(answer.text, name) for name in ("csrf_token", "email", "next")}
    assert fields["email"] == visitor.email
    assert visitor.client.post("/auth/sign-in", data=fields).status_code == 303


def test_code_is_kept_when_the_page_was_out_of_date(app: Flask) -> None:
    visitor = Person(app, "alice@example.org")
    visitor.post("/auth/sign-in", {"email": visitor.email})
    answer = visitor.client.post("/auth/code", data={"csrf_token": "old", "code": "123456"})
    assert answer.status_code == 400
    assert hidden(answer.text, "code") == "123456"


def test_code_without_its_browser_leads_to_a_new_mail(app: Flask) -> None:
    answer = app.test_client().post("/auth/code", data={"code": "123456"})
    assert answer.status_code == 400
    assert "Send the mail" in words(answer.text)


def test_link_can_be_pressed_again_when_the_page_was_out_of_date(app: Flask) -> None:
    visitor = Person(app, "alice@example.org")
    answer = visitor.client.post("/auth/link/abc", data={"csrf_token": "old"})
    assert answer.status_code == 400
    assert 'action="/auth/link/abc"' in answer.text
    assert "Press the button again" in words(answer.text)
