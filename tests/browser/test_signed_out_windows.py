"""In each engine: every window learns at once who is signed in, and shows nobody else's data."""

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import text

from smstracker.extensions import db
from smstracker.models.messages import Message
from tests.browser.window_steps import await_streams, open_signed_in
from tests.browser.windows import Window
from tests.clients import Person
from tests.stream_readers import append_status, wait_until

pytestmark = pytest.mark.slow

OpenWindow = Callable[..., Window]

SIGNED_OUT = "You are signed out."
NUMBER = "867-5310"


@pytest.fixture
def log(open_window: OpenWindow, live: Flask, alice: Person, message: Message) -> Window:
    """Alice's log, with one message."""
    window = open_window()
    open_signed_in(window, alice, "/messages")
    window.sees(NUMBER)
    await_streams(live, 1)
    return window


def expect_signed_out(window: Window) -> None:
    window.sees(SIGNED_OUT)
    window.find("Sign in (in a new tab)")
    for words in (NUMBER, "Updated", "Pause", "alice@example.org"):
        assert words not in window.text()


def sign_out(window: Window) -> None:
    window.use("Account", "summary")
    window.use("Sign out")
    window.sees("Sign in", "h1")


def test_sign_out_reaches_all_windows_and_loses_no_typed_text(
    open_window: OpenWindow, live: Flask, alice: Person, log: Window, message: Message
) -> None:
    form, third = open_window(), open_window()
    open_signed_in(form, alice, "/messages/new")
    form.type("Text", "half of a text")
    open_signed_in(third, alice, f"/messages/{message.public_id}")
    sign_out(third)
    expect_signed_out(log)
    expect_signed_out(form)
    assert form.value("Text") == "half of a text"
    third.driver.back()
    third.sees("Sign in", "h1")
    assert NUMBER not in third.text()
    open_signed_in(third, Person.signed_in(live, alice.email), "/messages")
    for window in (log, form):
        window.sees_no(SIGNED_OUT)
    append_status(live, message, "delivered")
    log.sees("Delivered", ".log .status")
    assert form.value("Text") == "half of a text"


def test_page_of_the_cache_follows_again_and_is_left_after_sign_out(
    log: Window, live: Flask, message: Message
) -> None:
    log.use("Batches")
    log.sees("Batches", "h1")
    log.driver.back()
    log.sees("Waiting", ".log .status")
    await_streams(live, 1)
    append_status(live, message, "delivered")
    log.sees("Delivered", ".log .status")
    log.use("+1 555-867-5310")
    log.sees("Timeline")
    await_streams(live, 1)
    sign_out(log)
    for _ in range(2):
        log.driver.back()
        log.sees("Sign in", "h1")
        assert NUMBER not in log.text()


def test_another_account_gets_no_window_of_the_former_one(
    open_window: OpenWindow, live: Flask, log: Window, message: Message
) -> None:
    bob = Person.signed_in(live, "bob@example.org")
    window = open_window()
    open_signed_in(window, bob, "/messages")
    expect_signed_out(log)
    window.sees("No messages yet")
    streams = live.extensions["broadcaster"]._streams
    wait_until(lambda: {stream.owner_id for stream in streams} == {bob.id})
    append_status(live, message, "delivered")
    append_status(live, bob.has_message())
    window.sees("1 new message")
    assert log.script("return document.querySelector('.log .status').textContent") == "Waiting"
    assert "1 new" not in log.script("return document.body.textContent")


@pytest.mark.parametrize("path", ["/messages", "/messages/{0.public_id}"])
def test_session_that_the_server_ended_is_told(
    open_window: OpenWindow, live: Flask, alice: Person, log: Window, message: Message, path: str
) -> None:
    log.open("/settings")
    await_streams(live, 0)
    window, form = open_window(), open_window()
    open_signed_in(form, alice, "/messages/new")
    open_signed_in(window, alice, path.format(message))
    await_streams(live, 1)
    with live.app_context():
        db.session.execute(text("DELETE FROM user_session"))
        db.session.commit()
    for seen in (window, log, form):
        expect_signed_out(seen)


def test_page_that_does_not_know_its_reader_changes_nobody(log: Window) -> None:
    """Such as the one of an error, which a page of an earlier reader has fetched."""
    log.script("localStorage.reader = 'another'")
    page = "new DOMParser().parseFromString('<h1>Not found</h1>', 'text/html')"
    log.script(f"document.dispatchEvent(new CustomEvent('page-fetched', {{ detail: {page} }}))")
    assert log.script("return localStorage.reader") == "another"
