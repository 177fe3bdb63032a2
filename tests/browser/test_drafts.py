"""In each engine: what is typed into a form stays until it is accepted or discarded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from socket import SHUT_RDWR
from typing import Any

import pytest
from flask import Flask
from selenium.common.exceptions import WebDriverException
from sqlalchemy import delete

from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.models import Message, SavedText, UserSession
from tests.browser.windows import Window
from tests.clients import SESSION_COOKIE, Person, hidden

pytestmark = pytest.mark.slow

OpenWindow = Callable[..., Window]
BACK = "What you typed before is back."
NOTE = "#draft-note"
STORED = "return Object.values(sessionStorage).join()"


def sign_in(window: Window, person: Person) -> None:
    """Give the browser the session of a person."""
    window.open("/auth/sign-in")
    cookie = {"name": SESSION_COOKIE, "value": person.session_cookie, "path": "/"}
    window.driver.add_cookie(cookie)


@pytest.fixture
def window(open_window: OpenWindow, alice: Person) -> Window:
    window = open_window()
    sign_in(window, alice)
    return window


def compose(window: Window, recipient: str = "+44 20 7946 0018", text: str = "Hello") -> None:
    window.open("/messages/new")
    window.type("To", recipient)
    window.type("Text", text)


def typed(window: Window) -> tuple[str, str]:
    return window.value("To"), window.value("Text")


@contextmanager
def unanswered(app: Flask, *, is_handled: bool) -> Iterator[None]:
    """Drop each connection instead of answering, with or without doing what is asked."""
    wsgi_app = app.wsgi_app

    def drop(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if is_handled:
            b"".join(wsgi_app(environ, lambda *_: lambda _data: None))
        environ["werkzeug.socket"].shutdown(SHUT_RDWR)
        start_response("200 OK", [])
        return []

    app.wsgi_app = drop  # type: ignore[method-assign, assignment]
    yield
    app.wsgi_app = wsgi_app  # type: ignore[method-assign]


def end_sessions(app: Flask) -> None:
    with app.app_context(), writing():
        db.session.execute(delete(UserSession))


def save_text(person: Person, name: str, text: str) -> None:
    with person.app.app_context(), writing():
        row = SavedText(owner_id=person.id, name=name, text=text, created_at=utcnow())
        db.session.add(row)


def test_message_is_back_until_it_is_discarded(window: Window) -> None:
    compose(window)
    window.use("Messages")
    window.find("Messages", "h1")
    window.driver.back()  # WebKit shows the page as it was left
    window.find("New message", "h1")
    assert typed(window) == ("+44 20 7946 0018", "Hello")
    window.driver.refresh()
    window.sees(BACK)
    assert typed(window) == ("+44 20 7946 0018", "Hello")
    assert "GSM-7 · 1 segment" in window.text("#segments")
    window.use("Discard")
    window.sees_no(BACK)
    assert typed(window) == ("", "")
    window.driver.refresh()
    assert typed(window) == ("", "")


def test_draft_ends_when_the_server_has_accepted_the_form(window: Window, live: Flask) -> None:
    compose(window)
    with unanswered(live, is_handled=False):
        with suppress(WebDriverException):  # the browser has an error page of its own
            window.use("Send", "button")
        window.until(lambda: "New message" not in window.driver.title, "error page")
    window.open("/messages/new")
    window.sees(BACK)
    assert typed(window) == ("+44 20 7946 0018", "Hello")
    window.use("Send", "button")
    window.sees("Timeline", "h2")
    assert "#" not in window.path
    window.open("/messages/new")
    window.find("New message", "h1")
    assert typed(window) == ("", "")
    assert "Hello" not in window.script(STORED)


def test_form_whose_answer_was_lost_is_not_sent_twice(
    window: Window, alice: Person, live: Flask
) -> None:
    compose(window)
    with unanswered(live, is_handled=True):
        with suppress(WebDriverException):  # the browser has an error page of its own
            window.use("Send", "button")
        window.until(lambda: "New message" not in window.driver.title, "error page")
    window.open("/messages/new")
    window.sees(BACK)
    window.sees("You sent this text to this number")  # it moves the button
    window.use("Send", "button")
    window.sees("Timeline", "h2")
    assert len(alice.messages()) == 1


def test_refused_form_shows_what_was_sent_and_is_kept_as_corrected(window: Window) -> None:
    compose(window, recipient="+44 20")
    window.use("Send", "button")
    window.sees("That number is too short.")
    assert BACK not in window.text()
    window.type("To", "+44 2")
    window.use("Messages")
    window.find("Messages", "h1")
    window.open("/messages/new")
    window.sees(BACK)
    assert typed(window) == ("+44 2", "Hello")
    window.use("Send", "button")
    window.sees("That number is too short.")
    window.type("To", "+44 20 7946 0018")
    window.use("Send", "button")
    window.sees("Timeline", "h2")
    window.open("/messages/new")
    window.find("New message", "h1")
    assert typed(window) == ("", "")


def test_draft_outlives_its_session_but_is_for_one_reader(
    window: Window, alice: Person, live: Flask
) -> None:
    compose(window)
    end_sessions(live)
    window.use("Send", "button")
    window.find("You have been signed out", "h1")
    bob = Person.signed_in(live, "bob@example.org")
    sign_in(window, bob)
    window.open("/messages/new")
    window.find("New message", "h1")
    assert typed(window) == ("", "")
    assert BACK not in window.text()
    sign_in(window, Person.signed_in(live, alice.email))
    window.open("/messages/new")
    window.sees(BACK)
    assert typed(window) == ("+44 20 7946 0018", "Hello")
    storage = window.script("return JSON.stringify([sessionStorage, localStorage])")
    page = window.driver.page_source
    assert hidden(page, "csrf_token") not in storage
    assert "alice" not in storage


def test_signing_out_ends_the_drafts_of_all_windows(
    window: Window, open_window: OpenWindow, alice: Person
) -> None:
    other = open_window()
    compose(other, text="Elsewhere")
    assert "Elsewhere" in other.script(STORED)
    compose(window)
    assert "Hello" in window.script(STORED)
    window.use("Account: signed in as alice@example.org", "summary")
    window.use("Sign out", "button")
    window.find("Sign in", "h1")
    assert "Hello" not in window.script(STORED)
    other.until(lambda: "Elsewhere" not in other.script(STORED), "end of its draft")
    for each in (window, other):
        sign_in(each, Person.signed_in(alice.app, alice.email))
        each.open("/messages/new")
        each.find("New message", "h1")
        assert typed(each) == ("", "")


def test_text_of_another_message_is_not_replaced(window: Window, alice: Person) -> None:
    message = alice.has_message(body="The old text")
    compose(window)
    window.open(f"/messages/new?text_of={message.public_id}")
    window.find("New message", "h1")
    assert typed(window) == ("", "The old text")
    window.type("To", "+44 20 7946 0958")
    window.open("/messages/new")
    window.sees(BACK)
    assert typed(window) == ("+44 20 7946 0018", "Hello")


@pytest.mark.parametrize("path", ["/messages/new", "/batches/new"])
def test_saved_text_leaves_what_is_typed(window: Window, alice: Person, path: str) -> None:
    save_text(alice, "Closed", "We are closed\nuntil Monday.")
    window.open(path)
    window.type("Text", "Dear Ann, ")
    window.use("Use a saved text", "summary")
    window.use("Closed", "a")
    assert window.value("Text") == "Dear Ann, We are closed\nuntil Monday."
    window.driver.refresh()
    window.sees(BACK)
    assert window.value("Text") == "Dear Ann, We are closed\nuntil Monday."


def test_planned_time_is_back_with_its_zone(window: Window) -> None:
    window.open("/messages/new")
    window.use("Send later", "summary")
    window.fill("Day", "2027-03-01")
    window.fill("Time", "09:30")
    window.fill("Time zone", "UTC", "#send_zone")
    window.use("Messages")
    window.find("Messages", "h1")
    window.open("/messages/new")
    window.sees(BACK)
    fields = [window.value(name) for name in ("Day", "Time", "Time zone")]
    assert fields == ["2027-03-01", "09:30", "UTC"]
    assert "Schedule" in window.text("form button")


def test_batch_and_settings_are_back(window: Window) -> None:
    window.open("/batches/new")
    window.type("Text", "Hello ((name))")
    window.type("Or paste numbers", "Ann +44 20 7946 0018")
    window.open("/settings")
    window.type("Time zone", "Asia/Tokyo")
    window.use("Dark", "input")
    window.use("Exact times", "input")
    window.open("/batches/new")
    window.sees("choose it again.", NOTE)
    assert window.value("Text") == "Hello ((name))"
    assert window.value("Or paste numbers") == "Ann +44 20 7946 0018"
    window.open("/settings")
    window.sees(BACK)
    assert window.value("Time zone") == "Asia/Tokyo"
    boxes = "return [...document.querySelectorAll('.preferences :checked')].map((box) => box.name)"
    assert window.script(boxes) == ["appearance", "shows_exact_times", "has_shortcuts"]
    assert window.script("return document.querySelector('.preferences :checked').value") == "dark"
    window.use("Save", "button")
    window.sees("Your settings are saved.")
    assert BACK not in window.text()


def test_draft_leaves_what_was_changed_elsewhere(window: Window, alice: Person) -> None:
    """Else a text would go to the number that somebody has corrected meanwhile."""
    at = utcnow() + timedelta(days=1)
    message = alice.has_message(status="outbox", send_at=at, recipient="+442079460018")
    page = f"/messages/{message.public_id}/edit"
    window.open(page)
    window.type("Text", "Another text")
    with alice.app.app_context(), writing():
        stored = db.session.get_one(Message, message.id)
        stored.recipient = "+442079460123"
    window.open("/messages")
    window.open(page)
    window.sees(BACK)
    assert typed(window) == ("+442079460123", "Another text")


def test_what_is_typed_after_another_window_has_signed_in_again_is_kept(
    window: Window, open_window: OpenWindow, alice: Person, live: Flask
) -> None:
    other = open_window()
    compose(other, text="Before")
    window.open("/messages")
    window.use("Account: signed in as alice@example.org", "summary")
    window.use("Sign out", "button")
    window.find("Sign in", "h1")
    sign_in(window, Person.signed_in(live, alice.email))
    window.open("/messages")
    other.type("Text", "Afterwards")
    other.driver.refresh()
    other.sees(BACK)
    assert other.value("Text") == "Afterwards"
