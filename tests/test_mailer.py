"""Mail leaves by SMTP with certificates checked; in demo mode it stays in the browser."""

import contextlib
import datetime
import logging
import re
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from flask import Flask
from sqlalchemy import delete

from config import load
from smstracker import create_app, mailer
from smstracker.doctor.check_result import CheckResult
from smstracker.doctor.checks import run_checks
from smstracker.extensions import db
from smstracker.mailer import Mailer, MailError
from smstracker.models import MailHealth, SignInToken
from smstracker.network_errors import explain_mail_error
from tests.clients import Client, Person
from tests.live_settings import settings
from tests.serving import close, drain_mail, free_port
from tests.smtp_server import Inbox


@pytest.fixture
def starttls(self_signed: ssl.SSLContext) -> Iterator[int]:
    server = Controller(
        Sink(), "127.0.0.1", free_port(), tls_context=self_signed, require_starttls=True
    )
    server.start()
    yield server.port
    server.stop()


def mailer_at(port: int, **changed: str) -> Mailer:
    return Mailer(settings(MAIL_SERVER="127.0.0.1", MAIL_PORT=str(port), **changed))


def test_certificate_that_nobody_vouches_for_is_refused(starttls: int) -> None:
    with pytest.raises(MailError, match="SSLCertVerificationError"):
        mailer_at(starttls, MAIL_USE_TLS="1").send("a@example.org", "s", "t")


def test_server_that_wants_tls_gets_no_mail_without(starttls: int) -> None:
    with pytest.raises(MailError):
        mailer_at(starttls).send("a@example.org", "s", "t")


def test_ssl_port_checks_the_certificate_too(self_signed: ssl.SSLContext) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:

        def shake_hands() -> None:
            with contextlib.suppress(ssl.SSLError), listener.accept()[0] as connection:
                self_signed.wrap_socket(connection, server_side=True).close()

        server = thread.submit(shake_hands)
        with pytest.raises(MailError, match="SSLCertVerificationError"):
            mailer_at(listener.getsockname()[1], MAIL_USE_SSL="1").send("a@example.org", "s", "t")
        server.result()


def test_server_that_is_not_there_is_an_error() -> None:
    with pytest.raises(MailError, match="ConnectionRefusedError"):
        mailer_at(free_port()).send("a@example.org", "s", "t")


def test_no_server_is_an_error_in_live_mode() -> None:
    with pytest.raises(MailError, match="MAIL_SERVER"):
        Mailer(settings(MAIL_SERVER="")).send("a@example.org", "s", "t")


def test_line_feed_in_a_header_is_refused() -> None:
    with pytest.raises(ValueError, match="linefeed"):
        Mailer(settings()).send("a@example.org\nBcc: b@example.org", "s", "t")


def test_mail_that_fails_is_logged_and_the_page_stays_the_same(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(MAIL_SERVER="127.0.0.1", MAIL_PORT=str(free_port()))
    with caplog.at_level(logging.ERROR):
        answer = Person(app, "alice@example.org").post(
            "/auth/sign-in", {"email": "alice@example.org"}
        )
        drain_mail(app)
    assert answer.status_code == 303
    assert "mail_failed" in caplog.messages


class Refusing:
    """A server that takes our sender and no recipient."""

    async def handle_RCPT(self, *_args: object) -> str:  # noqa: N802
        return "550 relaying denied"


@pytest.fixture
def refusing() -> Iterator[int]:
    server = Controller(Refusing(), "127.0.0.1", free_port())
    server.start()
    yield server.port
    server.stop()


def ask(app: Flask, email: str) -> str:
    """The page after a request for a mail."""
    person = Person(app, email)
    answer = person.post("/auth/sign-in", {"email": email})
    drain_mail(app)
    return re.sub(r'value="[^"]*"', "", person.get(answer.location).text)


def mail_finding(app: Flask) -> CheckResult:
    with app.app_context():
        return next(finding for finding in run_checks() if finding.check == "mail")


def test_page_says_alike_for_every_address_that_no_mail_can_be_sent(
    make_app: Callable[..., Flask],
) -> None:
    for email in ("alice@example.org", "mallory@elsewhere.example"):
        app = make_app(MAIL_PORT=str(free_port()))
        with app.app_context():
            db.session.execute(delete(MailHealth))
            db.session.commit()
        page = ask(app, email)
        assert "No mail can be sent right now" in page
        assert "The link of an earlier mail still works." in page
        assert "autofocus" not in page
        assert "Try again</a>" in page
    assert ask(app, "alice@example.org") == ask(app, "mallory@elsewhere.example")


def test_page_stops_saying_so_when_the_server_is_back(
    make_app: Callable[..., Flask], inbox: Inbox
) -> None:
    ask(make_app(MAIL_PORT=str(free_port())), "alice@example.org")
    app = make_app(MAIL_PORT=str(inbox.controller.port))
    assert mail_finding(app).verdict == "warning"
    assert "is on its way" in ask(app, "mallory@elsewhere.example")
    assert mail_finding(app).verdict == "ok"


def test_mail_that_one_recipient_cannot_get_is_told_to_the_doctor_and_not_to_strangers(
    make_app: Callable[..., Flask], refusing: int
) -> None:
    app = make_app(MAIL_PORT=str(refusing))
    assert mail_finding(app).verdict == "ok"
    assert "is on its way" in ask(app, "alice@example.org")
    finding = mail_finding(app)
    assert finding.verdict == "warning"
    assert "it refuses the recipient" in finding.detail
    assert "alice" not in finding.detail


def test_sender_that_the_server_refuses_is_noticed_without_a_mail(
    make_app: Callable[..., Flask],
) -> None:
    class NoSender:
        async def handle_MAIL(self, *_args: object) -> str:  # noqa: N802
            return "550 not you"

    server = Controller(NoSender(), "127.0.0.1", free_port())
    server.start()
    app = make_app(MAIL_PORT=str(server.port))
    page, finding = ask(app, "mallory@elsewhere.example"), mail_finding(app)
    server.stop()
    assert "No mail can be sent right now" in page
    assert (finding.verdict, "it refuses the sender" in finding.detail) == ("problem", True)
    assert finding.fix is not None
    assert "MAIL_DEFAULT_SENDER" in finding.fix
    assert "MAIL_SERVER" not in finding.fix


@pytest.mark.parametrize(
    ("step", "reply"),
    [
        ("EHLO", "421 4.7.0 Try again later"),
        ("MAIL", "451 4.3.2 Please try again later"),
        ("RCPT", "451 4.7.1 Greylisted"),
        ("DATA", "452 4.2.2 Over quota"),
    ],
)
def test_refusal_for_now_is_not_told_as_a_wrong_setting(step: str, reply: str) -> None:
    async def refuse(_handler: object, *_args: object) -> str:
        return reply

    async def refuse_greeting(
        _handler: object, _server: object, _session: object, _envelope: object, _: str, __: object
    ) -> list[str]:
        return [reply]

    hook = refuse_greeting if step == "EHLO" else refuse
    server = Controller(type("Busy", (), {f"handle_{step}": hook})(), "127.0.0.1", free_port())
    server.start()
    try:
        with pytest.raises(MailError) as raised:
            mailer_at(server.port).send("a@example.org", "s", "t")
    finally:
        server.stop()
    problem = explain_mail_error(str(raised.value))
    assert problem.reason == f"it takes no mail for now (reply {reply[:3]})"
    assert problem.fix == (
        "try again in some minutes; if that lasts, see the log of the mail server"
    )


@pytest.mark.parametrize("is_greeted", [False, True])
def test_server_that_drips_is_given_up_as_one_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, is_greeted: bool
) -> None:
    """Each byte comes in time, and no reply ever ends."""
    is_over = Event()

    def drip(listener: socket.socket) -> None:
        connection, _address = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(b"220 here\r\n" if is_greeted else b"2")
            while not is_over.wait(0.05):
                connection.sendall(b"2")

    monkeypatch.setattr(mailer, "SESSION_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        thread.submit(drip, listener)
        with pytest.raises(MailError, match="TimeoutError"):
            mailer_at(listener.getsockname()[1]).check()
        is_over.set()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://sms.example.org", "sms.example.org"),
        ("https://203.0.113.7", None),
        ("http://localhost:8000", None),
    ],
)
def test_mail_server_is_told_the_public_name(address: str, name: str | None) -> None:
    """Some refuse the address in brackets that a machine without a domain would send."""
    assert mailer._own_name(address) == name


def test_server_that_wants_a_login_first_is_no_fault_of_the_sender(
    make_app: Callable[..., Flask], starttls: int
) -> None:
    finding = mail_finding(make_app(MAIL_PORT=str(starttls)))
    assert finding.fix is not None
    assert finding.fix.startswith("set MAIL_USE_TLS, or MAIL_USERNAME")


def test_sender_that_the_server_refused_with_a_mail_is_named_by_the_doctor(
    make_app: Callable[..., Flask], inbox: Inbox
) -> None:
    app = make_app(MAIL_PORT=str(inbox.controller.port))
    with app.app_context():
        MailHealth.record_mail("SMTPSenderRefused")
        db.session.commit()
    finding = mail_finding(app)
    assert finding.fix is not None
    assert finding.fix.startswith("check MAIL_DEFAULT_SENDER")


def test_sender_with_a_name_and_an_accented_domain_is_sent_as_a_label(inbox: Inbox) -> None:
    sender = "Zentrale <sms@bücher.example>"
    mailer = mailer_at(inbox.controller.port, MAIL_DEFAULT_SENDER=sender)
    mailer.send("a@example.org", "s", "t")
    assert mailer.compose("a@example.org", "s", "t")["From"] == (
        "Zentrale <sms@xn--bcher-kva.example>"
    )
    assert inbox.mails


@pytest.fixture
def demo(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Flask]:
    shutil.copy(migrated_sqlite, tmp_path / "demo.sqlite")
    app = create_app(load({}, instance=tmp_path))
    app.test_client_class = Client
    yield app
    close(app)


def test_demo_mail_is_printed_and_shown_in_the_mailbox(
    demo: Flask, capsys: pytest.CaptureFixture[str]
) -> None:
    newcomer = Person(demo, "me@home.example")
    newcomer.post("/auth/sign-in", {"email": newcomer.email})
    drain_mail(demo)
    printed = capsys.readouterr().out
    assert "http://127.0.0.1:8000/auth/link/" in printed
    assert "/auth/link/" in newcomer.get("/auth/mailbox").text


@pytest.mark.parametrize(
    "trouble",
    [
        {"base_url": "http://evil.example"},
        {"environ_overrides": {"HTTP_HOST": "[x"}},
        {"environ_overrides": {"HTTP_HOST": "[::1"}},
        {"environ_overrides": {"HTTP_HOST": "[127.0.0.1]"}},
        {"headers": {"X-Forwarded-For": "198.51.100.1"}},
        {"environ_overrides": {"REMOTE_ADDR": "198.51.100.1"}},
    ],
)
def test_mailbox_is_for_this_machine_only(demo: Flask, trouble: dict[str, object]) -> None:
    assert demo.test_client().get("/auth/mailbox").status_code == 200
    assert demo.test_client().get("/auth/mailbox", **trouble).status_code == 404


def test_mailbox_is_closed_when_the_app_is_public(tmp_path: Path) -> None:
    public = replace(load({}, instance=tmp_path), public_base_url="https://sms.example.org")
    app = create_app(public)
    answer = app.test_client().get("/auth/mailbox", base_url="http://localhost")
    close(app)
    assert answer.status_code == 404


def test_there_is_no_mailbox_in_live_mode(app: Flask) -> None:
    assert app.test_client().get("/auth/mailbox").status_code == 404


def test_mail_says_that_a_program_sent_it(demo: Flask) -> None:
    demo.extensions["mailer"].send("a@example.org", "s", "t")
    assert demo.extensions["mailer"].mailbox[0]["Auto-Submitted"] == "auto-generated"


def test_mail_carries_a_date(demo: Flask) -> None:
    demo.extensions["mailer"].send("a@example.org", "s", "t")
    sent = demo.extensions["mailer"].mailbox[0]["Date"].datetime
    assert abs(sent - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=1)


def test_sign_in_page_without_a_mail_server_has_no_form_but_says_how_to_get_a_link(
    make_app: Callable[..., Flask],
) -> None:
    visitor = Person(make_app(MAIL_SERVER=""), "alice@example.org")
    page = visitor.get("/auth/sign-in").text
    assert "<form" not in page
    assert "<code>.venv/bin/flask users sign-in-link EMAIL</code>" in page
    assert "<code>.venv/bin/flask users add EMAIL</code>" in page
    with visitor.app.app_context():
        token = SignInToken.issue(visitor.email).token
        db.session.commit()
    form = {"email": visitor.email}
    answer = visitor.post("/auth/sign-in", form, page=f"/auth/link/{token}")
    assert answer.location == "/auth/sign-in"
    assert "Ask your administrator" in visitor.get("/auth/link/x").text


def test_sign_in_page_of_a_demo_has_the_form(demo: Flask) -> None:
    assert "Send the mail" in demo.test_client().get("/auth/sign-in").text


def test_long_link_is_not_wrapped(app: Flask) -> None:
    link = "https://sms.a-rather-long-name.example.org/auth/link/" + "x" * 60
    with app.app_context():
        mail = app.extensions["mailer"].compose("a@example.org", "Sign in", f"Click:\n\n{link}\n")
    assert link in mail.as_string()
