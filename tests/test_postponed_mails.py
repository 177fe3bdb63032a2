"""A sign-in mail for which the mail server asks to wait comes by itself, and the page says so."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from threading import Event

import pytest
from aiosmtpd.controller import Controller
from flask import Flask
from sqlalchemy import func, select

from smstracker.auth import sign_in_mail
from smstracker.extensions import db
from smstracker.mail_threads import MailThreads
from smstracker.models import SignInToken
from tests.clients import Person, words
from tests.serving import await_mails, close_mail_threads, drain_mail, free_port
from tests.smtp_server import Inbox

ALICE = "alice@example.org"
GREYLISTED = "451 4.7.1 Greylisted, try again in 5 minutes"
SOON = (0, 0.001, 0.002, 0.003)
MAX_SECONDS = 30.0  # that a mail may take on a busy machine


@pytest.fixture
def app(make_app: Callable[..., Flask], inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.setattr(sign_in_mail, "ATTEMPT_MINUTES", SOON)
    return make_app(MAIL_PORT=str(inbox.controller.port))


@pytest.fixture
def threads() -> Iterator[MailThreads]:
    threads = MailThreads()
    yield threads
    close_mail_threads(threads)


def ask(app: Flask, email: str = ALICE) -> tuple[Person, str]:
    """A visitor who asked for a mail, and the page that follows."""
    person = Person(app, email)
    answer = person.post("/auth/sign-in", {"email": email})
    drain_mail(app)
    return person, re.sub(r'value="[^"]*"', "", person.get(answer.location).text)


def test_greylisted_mail_comes_by_itself_with_a_link_that_works(
    app: Flask, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    inbox.refusals = [GREYLISTED] * 3
    visitor, page = ask(app)
    assert "Some mail servers ask to wait: then the mail is sent again 1, 5 and 10" in words(page)
    assert inbox.arrived.wait(MAX_SECONDS)
    drain_mail(app)
    assert caplog.messages.count("mail_postponed") == 3
    assert "mail_failed" not in caplog.messages
    assert visitor.post(inbox.link).status_code == 303
    assert [to for to, _ in inbox.mails] == [ALICE]
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(SignInToken)) == 1


def test_refused_attempts_cost_no_code(app: Flask, inbox: Inbox) -> None:
    for _ in range(2):
        inbox.arrived.clear()
        inbox.refusals = [GREYLISTED] * 3
        ask(app)
        assert inbox.arrived.wait(MAX_SECONDS)
        drain_mail(app)
        assert inbox.code


@pytest.mark.parametrize(
    ("attempts", "reply"), [((0,), GREYLISTED), (SOON, "550 5.1.1 No such user")]
)
def test_mail_is_given_up_after_the_last_attempt_or_a_refusal_for_good(
    app: Flask,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    attempts: tuple[float, ...],
    reply: str,
) -> None:
    monkeypatch.setattr(sign_in_mail, "ATTEMPT_MINUTES", attempts)
    inbox.refusals = [reply]
    ask(app)
    assert caplog.messages.count("mail_failed") == 1
    assert app.extensions["mailer"].threads._waiting_mails == []


def test_page_says_alike_for_every_address_that_the_server_asks_to_wait(
    make_app: Callable[..., Flask],
) -> None:
    class Busy:
        async def handle_MAIL(self, *_args: object) -> str:  # noqa: N802
            return "451 4.3.2 Please try again later"

    server = Controller(Busy(), "127.0.0.1", free_port())
    server.start()
    app = make_app(MAIL_PORT=str(server.port))
    (_, page), (_, of_stranger) = ask(app), ask(app, "mallory@elsewhere.example")
    waiting = len(app.extensions["mailer"].threads._waiting_mails)
    server.stop()
    assert waiting == 1
    assert "The mail comes later. The mail server takes no mail for now." in words(page)
    assert "No mail can be sent" not in page
    assert page.replace(ALICE, "") == of_stranger.replace("mallory@elsewhere.example", "")


def test_delayed_mail_is_sent_after_its_time_and_holds_up_no_other(threads: MailThreads) -> None:
    sent: list[tuple[str, float]] = []
    arrived = Event()

    def send(name: str, delay: float) -> None:
        def task() -> None:
            sent.append((name, time.monotonic()))
            if len(sent) == 3:
                arrived.set()

        threads.send(task, ALICE, "1/24", False, delay)

    started_at = time.monotonic()
    send("last", 0.4)
    send("second", 0.2)
    send("first", 0.0)
    assert arrived.wait(MAX_SECONDS)
    await_mails(threads)
    assert [name for name, _ in sent] == ["first", "second", "last"]
    delays = (0, 0.2, 0.4)
    assert all(at - started_at >= delay for (_, at), delay in zip(sent, delays, strict=True))


def test_delayed_mail_of_a_flood_is_dropped_before_one_of_a_user(
    threads: MailThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smstracker.mail_threads.MAX_WAITING_MAILS", 3)
    for number in range(5):
        threads.send(bool, f"x{number}@example.org", f"{number}/48", True, 60.0)
    threads.send(bool, ALICE, "9/48", False, 60.0)
    assert len(threads._waiting_mails) == 3
    assert ALICE in {mail.email for mail in threads._waiting_mails}
