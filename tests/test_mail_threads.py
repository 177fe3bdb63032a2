"""Strangers who ask for mails keep nobody from getting one, and learn nothing."""

import logging
import re
from collections.abc import Callable, Iterator
from threading import Event

import pytest
from aiosmtpd.controller import Controller
from flask import Flask
from sqlalchemy import select

from smstracker import mail_threads
from smstracker.extensions import db
from smstracker.mail_threads import MailThreads
from smstracker.models import RateLimit
from tests.clients import Person
from tests.serving import await_mails, close_mail_threads, drain_mail, free_port
from tests.smtp_server import Inbox

ALICE = "alice@example.org"
STRANGER = "mallory@elsewhere.example"


@pytest.fixture
def threads() -> Iterator[MailThreads]:
    threads = MailThreads()
    yield threads
    close_mail_threads(threads)


class Counting:
    """A server that counts the conversations that go as far as our sender, and takes no mail."""

    def __init__(self) -> None:
        self.conversations = 0

    async def handle_MAIL(self, _server, _session, envelope, address, _options):  # type: ignore[no-untyped-def]  # noqa: N802
        self.conversations += 1
        envelope.mail_from = address
        return "250 OK"


@pytest.fixture
def counting() -> Iterator[Controller]:
    server = Controller(Counting(), "127.0.0.1", free_port())
    server.start()
    yield server
    server.stop()


def ask(app: Flask, email: str) -> str:
    """The page after a request for a mail."""
    person = Person(app, email)
    answer = person.post("/auth/sign-in", {"email": email})
    page = person.get(answer.location).text if answer.location else answer.text
    return re.sub(r'value="[^"]*"', "", page)


def test_strangers_share_one_conversation_with_the_mail_server(
    make_app: Callable[..., Flask], counting: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_threads, "CHECK_LIFETIME_SECONDS", 60.0)
    app = make_app(MAIL_PORT=str(counting.port))
    for n in range(10):
        ask(app, f"x{n}@elsewhere.example")
    drain_mail(app)
    assert counting.handler.conversations == 1


def test_mail_is_no_check_of_the_server_so_that_no_time_tells_of_it(
    make_app: Callable[..., Flask], inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(MAIL_PORT=str(inbox.controller.port))
    checks: list[str] = []
    monkeypatch.setattr(mail_threads, "CHECK_LIFETIME_SECONDS", 0.0)
    monkeypatch.setattr(app.extensions["mailer"], "check", lambda: checks.append("check"))
    for email in (ALICE, ALICE, STRANGER, STRANGER):
        ask(app, email)
        drain_mail(app)
    assert len(checks) == 4
    assert [to for to, _ in inbox.mails] == [ALICE, ALICE]


def test_mail_does_not_wait_for_a_check_that_hangs(
    make_app: Callable[..., Flask], inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, is_over = make_app(MAIL_PORT=str(inbox.controller.port)), Event()
    mailer = app.extensions["mailer"]
    monkeypatch.setattr(mailer, "check", lambda: is_over.wait(60))
    monkeypatch.setattr(mail_threads, "CHECK_WAIT_SECONDS", 0.01)
    for n in range(5):
        ask(app, f"x{n}@elsewhere.example")
    ask(app, ALICE)
    mailer.threads._lookups.submit(bool).result(60)
    await_mails(mailer.threads)
    recipients = [to for to, _ in inbox.mails]
    is_over.set()
    assert recipients == [ALICE]


def test_requests_beyond_the_bound_are_told_so_alike_and_counted_against_nobody(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_threads, "MAX_WAITING_LOOKUPS", 0)
    page = ask(app, ALICE)
    assert "No mail can be sent right now" in page
    assert page == ask(app, STRANGER)
    with app.app_context():
        assert db.session.scalars(select(RateLimit.key)).all() == []


def test_request_that_is_dropped_leaves_the_code_of_the_last_mail_alone(
    make_app: Callable[..., Flask], inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(MAIL_PORT=str(inbox.controller.port))
    alice = Person(app, ALICE)
    alice.post("/auth/sign-in", {"email": ALICE})
    drain_mail(app)
    monkeypatch.setattr(app.extensions["mailer"].threads, "look_up", lambda _task: False)
    assert alice.post("/auth/sign-in", {"email": ALICE}).status_code == 503
    form = {"code": inbox.code}
    assert alice.post("/auth/code", form, page="/auth/sign-in").status_code == 303


def test_lookups_beyond_the_bound_are_dropped_and_logged(
    threads: MailThreads, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mail_threads, "MAX_WAITING_LOOKUPS", 2)
    gate = Event()
    with caplog.at_level(logging.ERROR):
        accepted = [threads.look_up(lambda: bool(gate.wait())) for _ in range(3)]
    gate.set()
    assert accepted == [True, True, False]
    assert "mail_dropped" in caplog.messages


def sent_after(threads: MailThreads, mails: list[tuple[str, str, bool]]) -> list[str]:
    """The recipients in the order of sending, when all of the mails wait for one thread."""
    gates, recipients = [Event(), Event()], []
    started = [Event(), Event()]
    for gate, is_started in zip(gates, started, strict=True):
        threads.send(lambda g=gate, s=is_started: (s.set(), g.wait()), "", "", False)  # type: ignore[misc]
    for is_started in started:
        assert is_started.wait(60)
    for email, network, is_newcomer in mails:
        threads.send(lambda e=email: recipients.append(e), email, network, is_newcomer)  # type: ignore[misc]
    gates[0].set()
    threads._senders.submit(lambda: None).result(60)
    gates[1].set()
    await_mails(threads)
    return recipients


@pytest.mark.parametrize(
    "flood",
    [
        [("bob@example.org", f"{n}/48", False) for n in range(5)],
        [(f"x{n}@example.org", "1/48", False) for n in range(5)],
        [(f"x{n}@example.org", f"{n}/48", True) for n in range(5)],
    ],
    ids=["at one address", "from one network", "at any address of a domain"],
)
def test_user_gets_a_mail_before_those_of_a_flood(
    threads: MailThreads, flood: list[tuple[str, str, bool]]
) -> None:
    assert ALICE in sent_after(threads, [*flood, (ALICE, "9/48", False)])[:2]


def test_mail_that_is_dropped_is_of_the_flood(
    threads: MailThreads, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mail_threads, "MAX_WAITING_MAILS", 3)
    flood = [("bob@example.org", f"{n}/48", False) for n in range(5)]
    recipients = sent_after(threads, [*flood, (ALICE, "9/48", False)])
    assert sorted(recipients) == [ALICE, "bob@example.org", "bob@example.org"]
    assert caplog.messages.count("mail_dropped") == 3
