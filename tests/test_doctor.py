"""flask doctor: every check when all is well, when it wavers and when it is broken."""

import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import pytest
import time_machine
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import AuthResult
from flask import Flask
from sqlalchemy import text, update

from config import load
from smstracker import create_app
from smstracker.clock import utcnow
from smstracker.doctor import checks
from smstracker.extensions import db
from smstracker.models import Alert, Heartbeat, MailHealth, Message
from smstracker.simulator import SimulatorServer
from tests.alert_scenes import add_alert, add_backup, add_waiting
from tests.clients import Person
from tests.refused_callbacks import refusal
from tests.serving import close, free_port
from tests.signing import ACCOUNT_SID, PRIMARY, SECONDARY, call_back, fields, sid
from tests.smtp_server import Inbox
from tests.twilio_stub import answer, wire

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

NUMBER = "+15005550006"
SERVICE = "MG" + "a" * 32
Findings = dict[str, list[dict[str, Any]]]


@pytest.fixture
def make_app(make_app: Callable[..., Flask]) -> Callable[..., Flask]:
    """Installations whose alerts go somewhere, which doctor expects."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    return partial(
        make_app, ALERT_WEBHOOK_URL="https://hooks.example.org/", ALERT_WEBHOOK_SECRET=secret
    )


def examine(app: Flask, code: int | None = None) -> Findings:
    """The findings of each check, as programs get them."""
    done = app.test_cli_runner().invoke(args=["doctor", "--json"])
    if code is not None:
        assert done.exit_code == code, done.output
    results: Findings = {}
    for finding in json.loads(done.stdout):
        assert set(finding) == {"check", "verdict", "found", "fix"}
        results.setdefault(finding["check"], []).append(finding)
    return results


def store(app: Flask, row: object) -> None:
    with app.app_context():
        db.session.add(row)
        db.session.commit()


def base_of(app: Flask) -> str:
    base: str = app.config["SETTINGS"].public_base_url
    return base


def beat(app: Flask, age: int = 1, problem: str | None = None) -> None:
    at = utcnow() - timedelta(seconds=age)
    store(app, Heartbeat(worker="w", started_at=at, beat_at=at, problem=problem))


def account(status: str = "active", kind: str = "Full") -> dict[str, str]:
    return {"sid": ACCOUNT_SID, "status": status, "type": kind, "friendly_name": "x"}


def numbers(*capabilities: dict[str, bool]) -> dict[str, Any]:
    owned = [{"phone_number": NUMBER, "capabilities": can} for can in capabilities]
    return {"incoming_phone_numbers": owned, "page": 0, "next_page_uri": None}


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(utcnow(), tick=False) as traveller:
        yield traveller


Asked = Callable[..., Findings]


@pytest.fixture
def run_doctor(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The findings when Twilio gives these answers; the other network is left out."""
    monkeypatch.setattr(checks, "find_obstacle", lambda: None)

    def ask(*answers: bytes, **changed: str) -> Findings:
        with wire(*answers) as twilio:
            return examine(make_app(TWILIO_API_BASE_URL=twilio.url, **changed))

    return ask


def result_of(found: Findings, check: str) -> tuple[str, str, str]:
    [finding] = found[check]
    return finding["verdict"], finding["found"], finding["fix"] or ""


def test_doctor_finds_nothing_wrong_with_a_living_installation(live: Flask) -> None:
    beat(live)
    add_backup(live, timedelta())
    is_sqlite = live.config["SETTINGS"].is_sqlite
    found = examine(live, 0)
    verdicts = {check: [one["verdict"] for one in all_] for check, all_ in found.items()}
    assert set(map(tuple, verdicts.values())) == {("ok",)}
    assert result_of(found, "settings")[1] == "live, with the Twilio account that ends in 1111"
    assert result_of(found, "database")[1] == "reached and migrated"
    assert result_of(found, "mail")[1] == "the server takes mail from here"
    assert list(found) == [
        "settings",
        "database",
        "disk",
        "permissions",
        "open files",
        "time zones",
        "database file" if is_sqlite else "durability",
        "credentials",
        "senders",
        "clock",
        "public address",
        "callbacks",
        "mail",
        "alerts",
        "open alerts",
        "backup",
        "worker",
        "outbox",
        "token rotation",
        "connection",
        "last callback",
        "callbacks in 1 hour",
        "callbacks in 24 hours",
        "callbacks in 7 days",
    ]


def test_doctor_prints_a_line_for_each_check_and_no_secret(live: Flask) -> None:
    done = live.test_cli_runner().invoke(args=["doctor"])
    assert done.exit_code == 1  # no worker runs
    assert "ok       connection: no message was sent" in done.stdout
    for line in done.stdout.splitlines():
        assert re.match(r"(ok|warning|problem) +[a-z0-9 ]+: .", line), line
    assert "problem  worker: no worker runs. Fix: start flask worker" in done.stdout
    secrets = (
        PRIMARY,
        SECONDARY,
        NUMBER,
        NUMBER[1:],
        "the tests sign with this: 7f3a9c1e",
        ACCOUNT_SID,
    )
    for secret in secrets:
        assert secret not in done.output


def test_doctor_tells_what_the_page_tells(live: Flask, simulator: SimulatorServer) -> None:
    beat(live)
    alice = Person.signed_in(live, "alice@example.org")
    for recipient in ("+15005550006", "+15005550102", "+15005550105"):
        alice.send(recipient=recipient)
    assert simulator.ledger.wait_until_idle(30)
    expected = live.test_cli_runner().invoke(args=["doctor"]).stdout
    day = "callbacks in 24 hours: 7 accepted, 2 of them repeated, 1 refused"
    assert f"{day}; 2 outcomes by callback, 0 by look-up (0 %)" in expected
    assert re.search(r"time to outcome: half within .+, 95 % within .+ \(2 messages: few", expected)
    assert "warning  refused: 1 in 24 hours, 1 in 7 days: No token of yours fits" in expected


def test_doctor_in_the_demo_says_so(tmp_path, migrated_sqlite, database_url) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "demo.sqlite").write_bytes(migrated_sqlite.read_bytes())
    app = create_app(
        load({"PORT": str(free_port()), "SIMULATOR_PORT": str(free_port())}, instance=tmp_path)
    )
    found = examine(app, 1)
    demo = "demo mode: a simulated carrier, no SMS leaves this machine"
    assert result_of(found, "settings")[1] == demo
    here = "is this machine, and so is the carrier"
    assert here in result_of(found, "public address")[1]
    start = "start the demo with make run, or set the PORT with which it runs"
    stopped = ("credentials", "callbacks", "worker")
    assert [result_of(found, check)[2] for check in stopped] == [start] * 3
    assert result_of(found, "mail")[:2] == ("ok", "stays in the demo mailbox")
    assert result_of(found, "token rotation")[0] == "ok"
    assert result_of(found, "alerts") == ("ok", "go nowhere but to the page /alerts", "")
    close(app)


@pytest.mark.parametrize(
    ("reply", "verdict", "expected"),
    [
        (answer(200, account()), "ok", "is active"),
        (answer(200, account(kind="Trial")), "ok", "a trial"),
        (answer(200, account("suspended")), "problem", "accepted, but the account is suspended"),
        (answer(200, account("closed")), "problem", "payment, or a review of the account"),
        (answer(401, {"code": 20003, "message": "x"}), "problem", "TWILIO_AUTH_TOKEN"),
        (answer(404, {"code": 20404, "message": "x"}), "problem", "TWILIO_ACCOUNT_SID"),
        (answer(500, {}), "problem", "HTTP 500"),
        (
            answer(500, {}),
            "problem",
            "Twilio has a server error (HTTP 500) see status.twilio.com and try again later",
        ),
        (
            answer(401, {"code": 20003, "message": "x"}),
            "problem",
            "Twilio did not accept the credentials (HTTP 401) "
            "check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN",
        ),
        (
            answer(418, {}),
            "problem",
            "HTTP 418 check the network of this machine and TWILIO_API_BASE_URL",
        ),
        (answer(200, "not JSON"), "problem", "could not be read"),
    ],
)
def test_credentials_are_tried(
    run_doctor: Asked, reply: bytes, verdict: str, expected: str
) -> None:
    found = run_doctor(reply, answer(200, numbers({"sms": True})))
    judged, detail, fix = result_of(found, "credentials")
    assert judged == verdict
    assert expected in f"{detail} {fix}"


def test_what_hangs_on_the_credentials_is_not_asked_without_them(run_doctor: Asked) -> None:
    found = run_doctor(answer(401, {"code": 20003, "message": "x"}))
    reason = "Twilio did not accept the credentials (HTTP 401)"
    assert result_of(found, "senders")[:2] == ("warning", f"not checked: {reason}")
    assert result_of(found, "clock")[:2] == ("warning", f"not compared: {reason}")


@pytest.mark.parametrize(
    ("reply", "verdict", "expected"),
    [
        (answer(200, numbers({"sms": True})), "ok", "0006 can send SMS"),
        (answer(200, numbers({"sms": False})), "problem", "cannot send SMS"),
        (answer(200, numbers()), "problem", "does not have the number that ends in 0006"),
        (answer(500, {}), "problem", "cannot be checked"),
    ],
)
def test_number_is_looked_up(run_doctor: Asked, reply: bytes, verdict: str, expected: str) -> None:
    judged, detail, fix = result_of(run_doctor(answer(200, account()), reply), "senders")
    assert judged == verdict
    assert expected in detail
    assert NUMBER not in detail + fix


@pytest.mark.parametrize(
    ("reply", "verdict", "expected"),
    [
        (answer(200, {"sid": SERVICE}), "ok", "the Messaging Service that ends in aaaa exists"),
        (answer(404, {"code": 20404}), "problem", "does not have"),
        (answer(500, {}), "problem", "HTTP 500"),
    ],
)
def test_messaging_service_is_looked_up(
    run_doctor: Asked, reply: bytes, verdict: str, expected: str
) -> None:
    senders = {"TWILIO_PHONE_NUMBER": "", "TWILIO_MESSAGING_SERVICE_SID": SERVICE}
    judged, detail, _ = result_of(run_doctor(answer(200, account()), reply, **senders), "senders")
    assert judged == verdict
    assert expected in detail


def test_sender_that_cannot_be_looked_up_is_said_to_be_so(run_doctor: Asked) -> None:
    found = run_doctor(answer(200, account()), TWILIO_PHONE_NUMBER="12345, Workshop, +Shop & Co")
    assert [one["verdict"] for one in found["senders"]] == ["ok", "ok", "ok"]
    assert [
        one["found"].partition(" cannot be checked this way")[0] for one in found["senders"]
    ] == [
        "the short code 12345",
        "the sender 'Workshop'",
        "the sender '+Shop & Co'",
    ]


@pytest.mark.parametrize(
    ("off", "verdict", "expected"),
    [
        (timedelta(seconds=5), "ok", "agrees with Twilio's"),
        (timedelta(seconds=40), "warning", "behind Twilio's"),
        (timedelta(seconds=-40), "warning", "ahead of Twilio's"),
        (timedelta(minutes=6), "problem", "6 minutes behind"),
        (timedelta(minutes=-6), "problem", "let this machine keep its time by NTP"),
        (None, "warning", "no date"),
    ],
)
def test_clock_is_compared_with_twilios(
    run_doctor: Asked, off: timedelta | None, verdict: str, expected: str
) -> None:
    with time_machine.travel(utcnow().replace(microsecond=0), tick=False):
        date = format_datetime(utcnow() + off, usegmt=True) if off else "nonsense"
        reply = answer(200, account()).replace(b"\r\n", f"\r\nDate: {date}\r\n".encode(), 1)
        judged, detail, fix = result_of(run_doctor(reply, answer(200, numbers())), "clock")
    assert judged == verdict
    assert expected in detail + fix


@pytest.mark.parametrize(("keys", "expected"), [("", ""), ("WK1:" + "k" * 32, "1 shared key")])
def test_probe_tells_of_the_shared_keys_it_has_tried(
    run_doctor: Asked, keys: str, expected: str
) -> None:
    verdict, detail, _ = result_of(
        run_doctor(answer(500, {}), TWILIO_WEBHOOK_KEYS=keys), "callbacks"
    )
    assert verdict == "ok"
    with_keys = ", signed with the Auth Token and with "
    assert detail.partition("arrives intact")[2] == (with_keys + expected if expected else "")


def test_loopback_is_no_address_for_the_real_twilio(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_check_twilio", lambda: iter(()))
    base = f"http://127.0.0.1:{free_port()}"
    found = examine(
        make_app(PUBLIC_BASE_URL=base, TWILIO_API_BASE_URL="https://api.example.org"), 1
    )
    verdict, detail, _ = result_of(found, "public address")
    assert verdict == "problem"
    assert "is this machine: Twilio cannot reach it" in detail
    verdict, detail, fix = result_of(found, "callbacks")
    assert verdict == "problem"
    nothing = "it cannot be reached from this machine: nothing listens on that port"
    assert detail == f"PUBLIC_BASE_URL ({base}): {nothing}"
    assert "PUBLIC_BASE_URL" in fix


@pytest.mark.parametrize(
    ("host", "detail"),
    [
        ("10.1.2.3", " leads to a private address here, so doctor cannot try the way of Twilio"),
        ("loops.example.org", " leads to a loopback address here, so doctor cannot try"),
        ("198.41.0.4", " uses https"),
        ("nothing.invalid", " uses https"),
    ],
)
def test_address_that_leads_elsewhere_from_here_than_from_outside_is_told(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, host: str, detail: str
) -> None:
    def resolve(name: str, port: object, *rest: int, **more: int) -> list[Any]:
        return look_up("127.0.1.1" if name == "loops.example.org" else name, port, *rest, **more)

    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(checks, "_check_twilio", lambda: iter(()))
    monkeypatch.setattr(checks, "find_obstacle", lambda: None)
    base = {"PUBLIC_BASE_URL": f"https://{host}", "TWILIO_API_BASE_URL": "https://api.x.org"}
    verdict, found, fix = result_of(examine(make_app(**base)), "public address")
    assert found.startswith(f"https://{host}{detail}")
    is_inner = " leads to a " in found
    assert verdict == ("warning" if is_inner else "ok")
    assert ("on a phone without Wi-Fi" in fix) is is_inner


def test_database_that_is_not_ready_is_a_problem(run_doctor: Asked, app: Flask) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
    found = run_doctor(answer(500, {}))
    assert result_of(found, "database") == (
        "problem",
        "the database is not migrated",
        "run flask db upgrade",
    )
    assert "worker" not in found
    nowhere = run_doctor(answer(500, {}), DATABASE_URL="sqlite:////nowhere/at/all.sqlite")
    assert "DATABASE_URL" in result_of(nowhere, "database")[2]


@pytest.fixture
def locked() -> Iterator[int]:
    """A mail server that lets nobody in."""
    server = Controller(
        Sink(),
        "127.0.0.1",
        free_port(),
        authenticator=lambda *_: AuthResult(success=False, handled=False),
        auth_require_tls=False,
        auth_exclude_mechanism=[],
    )
    server.start()
    yield server.port
    server.stop()


def test_mail_goes_as_far_as_a_mail_would(run_doctor: Asked, inbox: Inbox) -> None:
    port = str(inbox.controller.port)
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": port}
    assert result_of(run_doctor(answer(500, {}), **mail), "mail")[0] == "ok"
    assert inbox.mails == []


def test_mail_that_was_not_taken_is_told_although_the_server_can_be_used(
    app: Flask, run_doctor: Asked, inbox: Inbox
) -> None:
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": str(inbox.controller.port)}
    at = utcnow() - timedelta(minutes=9)
    store(app, MailHealth(id=1, server_problem="SMTPConnectError", server_at=at))
    verdict, detail, fix = result_of(run_doctor(answer(500, {}), **mail), "mail")
    assert verdict == "warning"
    assert (
        detail
        == "the server takes mail now, but did not 9 minutes ago (it turns this machine away)"
    )
    assert fix == "ask for a sign-in mail again"
    with app.app_context():
        MailHealth.record_mail("SMTPDataError")
        db.session.commit()
    verdict, detail, fix = result_of(run_doctor(answer(500, {}), **mail), "mail")
    assert verdict == "problem"
    assert detail.startswith("the server did not take the newest mail, ")
    assert fix == (
        "see the log of the mail server: the address may not exist, or mail to it is refused"
    )


def test_mail_server_that_is_not_there_is_a_problem(run_doctor: Asked) -> None:
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": str(free_port())}
    verdict, detail, fix = result_of(run_doctor(answer(500, {}), **mail), "mail")
    assert verdict == "problem"
    assert detail == "the server cannot be used: nothing listens on that port"
    assert fix == "check MAIL_PORT"


def test_mail_password_that_is_wrong_is_a_problem(run_doctor: Asked, locked: int) -> None:
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": str(locked)}
    mail |= {"MAIL_USERNAME": "u", "MAIL_PASSWORD": "pass phrase"}
    verdict, detail, fix = result_of(run_doctor(answer(500, {}), **mail), "mail")
    assert verdict == "problem"
    assert "MAIL_PASSWORD" in fix, detail
    assert "pass phrase" not in detail + fix


def test_mail_password_in_quotes_that_is_not_accepted_is_named(
    run_doctor: Asked, locked: int
) -> None:
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": str(locked), "MAIL_USERNAME": "u"}
    _, _, fix = result_of(run_doctor(answer(500, {}), MAIL_PASSWORD='"it\'s me"', **mail), "mail")
    assert fix.endswith("; MAIL_PASSWORD has quotes around it, which are part of the value")


def test_mail_server_that_nobody_vouches_for_is_a_problem(
    run_doctor: Asked, self_signed: ssl.SSLContext
) -> None:
    server = Controller(Sink(), "127.0.0.1", free_port(), tls_context=self_signed)
    server.start()
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": str(server.port), "MAIL_USE_TLS": "1"}
    verdict, _, fix = result_of(run_doctor(answer(500, {}), **mail), "mail")
    server.stop()
    assert verdict == "problem"
    assert "certificate" in fix


def test_mail_without_a_server_is_a_warning(run_doctor: Asked) -> None:
    verdict, detail, fix = result_of(run_doctor(answer(500, {}), MAIL_SERVER=""), "mail")
    assert (verdict, detail) == ("warning", "no server is set, so no sign-in mail leaves")
    assert fix == "set MAIL_SERVER; until then, flask users sign-in-link lets people in"


@pytest.mark.parametrize(
    ("age", "problem", "verdict", "expected"),
    [
        (1, None, "ok", "one runs"),
        (70, None, "problem", "The worker has not run for 1 minute"),
        (1, "Twilio could not be reached.", "problem", "Twilio could not be reached"),
    ],
)
def test_worker_has_to_beat(
    app: Flask, run_doctor: Asked, age: int, problem: str | None, verdict: str, expected: str
) -> None:
    beat(app, age, problem)
    judged, detail, _ = result_of(run_doctor(answer(500, {})), "worker")
    assert judged == verdict
    assert expected in detail


@pytest.mark.parametrize(
    ("age", "verdict", "expected"),
    [
        (None, "ok", "nothing waits to be sent"),
        (60, "ok", "1 message to be sent"),
        (720, "problem", "a message could be sent for 12 minutes, but no worker takes it"),
    ],
)
def test_outbox_has_to_move(
    app: Flask, run_doctor: Asked, age: int | None, verdict: str, expected: str
) -> None:
    if age is not None:
        add_waiting(app, timedelta(seconds=age))
    judged, detail, _ = result_of(run_doctor(answer(500, {})), "outbox")
    assert (judged, detail) == (verdict, expected)


def test_rotation_of_the_token_is_followed(app: Flask, run_doctor: Asked) -> None:
    without = run_doctor(answer(500, {}), TWILIO_AUTH_TOKEN_SECONDARY="")
    assert result_of(without, "token rotation")[0] == "ok"
    assert (
        "no callback since then shows"
        in result_of(run_doctor(answer(500, {})), "token rotation")[1]
    )
    for number in range(5):
        call_back(app.test_client(), fields(sid(number), "sent"), token=SECONDARY)
    verdict, detail, fix = result_of(run_doctor(answer(500, {})), "token rotation")
    assert verdict == "warning"
    assert "promoted" in detail
    assert "TWILIO_AUTH_TOKEN" in fix


def test_refused_callback_beside_accepted_ones_is_a_warning(app: Flask, run_doctor: Asked) -> None:
    call_back(app.test_client(), fields(sid(1), "sent"))
    store(app, refusal(utcnow(), diagnosis="Valid for http://x.example"))
    verdict, detail, _ = result_of(run_doctor(answer(500, {})), "connection")
    assert verdict == "warning"
    assert detail == "1 callback was refused in the last hour: Valid for http://x.example"


def ends_with(app: Flask, *arguments: str) -> int:
    return app.test_cli_runner().invoke(args=["doctor", *arguments]).exit_code


def test_doctor_ends_with_1_while_callbacks_are_refused_and_none_is_accepted(live: Flask) -> None:
    beat(live)
    assert ends_with(live) == 0
    call_back(live.test_client(), fields(sid(1), "sent"), token="f" * 32, base=base_of(live))
    done = live.test_cli_runner().invoke(args=["doctor"])
    assert done.exit_code == 1
    assert "problem  refused: 1 in 24 hours, 1 in 7 days: No token of yours fits" in done.stdout
    call_back(live.test_client(), fields(sid(1), "sent"), base=base_of(live))
    assert ends_with(live) == 0
    assert ends_with(live, "--fail-on", "problem") == 0
    assert ends_with(live, "--fail-on", "warning") == 1


def test_doctor_ends_with_1_while_twilio_is_silent_although_it_should_not_be(live: Flask) -> None:
    beat(live)
    alice = Person.signed_in(live, "alice@example.org")
    sent = {"status": "sent", "status_source": "send", "accepted_at": utcnow()}
    message = alice.has_message(**sent)
    assert ends_with(live) == 0  # no callback is due yet
    with live.app_context():
        db.session.get_one(Message, message.id).accepted_at = utcnow() - timedelta(minutes=6)
        db.session.commit()
    done = live.test_cli_runner().invoke(args=["doctor"])
    assert done.exit_code == 1
    assert (
        "problem  connection: no callback has ever arrived, though 1 message waits for one. Fix: "
        "callbacks can arrive from this machine, so open PUBLIC_BASE_URL/healthz on a phone"
    ) in done.stdout


def test_doctor_ends_with_0_for_a_stranger_who_is_refused(live: Flask) -> None:
    beat(live)
    form = fields(sid(1), "sent", AccountSid="AC" + "9" * 32)
    call_back(live.test_client(), form, token="f" * 32, base=base_of(live))
    add_backup(live, timedelta())
    assert ends_with(live, "--fail-on", "warning") == 0


def test_open_alert_is_told_until_it_is_muted(
    app: Flask, run_doctor: Asked, clock: time_machine.Traveller
) -> None:
    clock.move_to(datetime(2026, 11, 23, 11, 42, tzinfo=UTC))
    began_at = utcnow() - timedelta(minutes=35)
    add_alert(app, "callbacks-refused", counts={"callbacks": 4}, began_at=began_at)
    sentence = (
        "Callbacks of Twilio are refused, since 23 Nov 2026, 11:07 UTC: In the last hour 4 "
        "callbacks signed with a secret of ours could not be accepted"
    )
    verdict, detail, fix = result_of(run_doctor(answer(500, {})), "open alerts")
    assert (verdict, detail) == ("problem", sentence)
    assert fix.startswith("The page Connection names the setting at fault")
    with app.app_context():
        db.session.execute(update(Alert).values(muted_until=utcnow() + timedelta(hours=1)))
        db.session.commit()
    verdict, detail, _ = result_of(run_doctor(answer(500, {})), "open alerts")
    assert (verdict, detail) == ("ok", f"muted until 23 Nov 2026, 12:42 UTC: {sentence}")


def test_alert_while_the_service_works_is_a_warning(app: Flask, run_doctor: Asked) -> None:
    add_alert(app, "backups-stopped", counts={"hours": 50})
    assert result_of(run_doctor(answer(500, {})), "open alerts")[0] == "warning"


def test_alert_whose_advice_is_this_command_names_lines_of_it(
    app: Flask, run_doctor: Asked
) -> None:
    add_alert(app, "callbacks-silent")
    fix = result_of(run_doctor(answer(500, {})), "open alerts")[2]
    assert fix == "see the lines callbacks and connection"
