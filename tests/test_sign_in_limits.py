"""Limits on sign-in: nobody floods, nobody locks others out, and a refusal writes nothing."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import event, select, text
from sqlalchemy.engine import Connection
from werkzeug.test import TestResponse

from smstracker.auth import sign_in_limits
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import SignInToken, audit_log, sign_in
from smstracker.models.rate_limits import RateLimit, RateLimitRule
from smstracker.models.sign_in import MAX_TOKENS_PER_ADDRESS
from tests.clients import Person, hidden
from tests.serving import drain_mail
from tests.smtp_server import Inbox

ALICE = "alice@example.org"


@pytest.fixture
def app(make_app: Callable[..., Flask], inbox: Inbox) -> Flask:
    port = str(inbox.controller.port)
    return make_app(TRUSTED_PROXIES="1", MAIL_SERVER="127.0.0.1", MAIL_PORT=port)


def ask(app: Flask, email: str = ALICE, client: str = "203.0.113.10") -> TestResponse:
    """Ask for a mail from behind the proxy, which says that `client` did."""
    browser = Person(app, email)
    form = {"csrf_token": hidden(browser.get("/auth/sign-in").text, "csrf_token"), "email": email}
    forwarded = {"X-Forwarded-For": client}
    answer = browser.client.post("/auth/sign-in", data=form, headers=forwarded)
    drain_mail(app)
    return answer


def codes(app: Flask, count: int, email: str = ALICE, client: str = "203.0.113.10") -> list[int]:
    return [ask(app, email, client.format(n)).status_code for n in range(count)]


def test_network_of_an_ipv6_customer_is_one_client(app: Flask) -> None:
    assert codes(app, 6, client="2001:db8::{}:1") == [303] * 5 + [429]
    assert ask(app, client="2001:db8:0:1::1").status_code == 303


@pytest.mark.both_databases
def test_request_that_others_overtook_is_refused_and_counts_against_nobody(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    hit, client = RateLimit.hit, sign_in_limits.parse_client("203.0.113.10")

    def hit_after_others(connection: Connection, reached: Collection[RateLimitRule]) -> None:
        with db.engine.begin() as other:
            for _ in range(sign_in_limits.MAILS_OF_CLIENT_TO_ADDRESS):
                hit(other, reached)
        hit(connection, reached)

    monkeypatch.setattr(RateLimit, "hit", hit_after_others)
    with app.app_context():
        assert sign_in_limits.count_mail(ALICE, client) is not None
        hits = set(db.session.scalars(select(RateLimit.hits)))
    assert hits == {sign_in_limits.MAILS_OF_CLIENT_TO_ADDRESS}


@pytest.mark.parametrize("client", ["203.0.113.10:4{:03}", "[2001:db8::1]:4{:03}", "_client{}"])
def test_port_of_a_client_gets_round_no_limit(app: Flask, client: str) -> None:
    assert codes(app, 6, client=client) == [303] * 5 + [429]


def test_strangers_cannot_use_up_the_mails_of_another_client(app: Flask) -> None:
    assert codes(app, 6, client="198.51.100.1") == [303] * 5 + [429]
    assert ask(app, client="203.0.113.10").status_code == 303


def test_request_that_is_refused_counts_against_nobody(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_limits, "MAILS_TO_ADDRESS", 7)
    assert codes(app, 20, client="198.51.100.1").count(303) == 5
    assert codes(app, 4, client="203.0.113.{}") == [303, 303, 303, 429]


def count_mails(app: Flask, clients: Iterable[str], email: str = ALICE) -> list[bool]:
    """Whether each of the clients may have a mail, in their order."""
    with app.app_context():
        return [
            sign_in_limits.count_mail(email, sign_in_limits.parse_client(client)) is None
            for client in clients
        ]


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("client", "most"), [("2001:db8:1:{:x}::1", 10), ("2001:db8:1:{:x}00::1", 20)]
)
def test_networks_of_one_ipv6_customer_share_their_mails(
    app: Flask, client: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_limits, "MAILS_OF_CLIENT", 5)
    with app.app_context():
        accepted = [
            sign_in_limits.count_mail(
                f"x{n}@nowhere.example", sign_in_limits.parse_client(client.format(n))
            )
            is None
            for n in range(most + 5)
        ]
    assert accepted == [True] * most + [False] * 5


def test_ipv6_customer_cannot_use_up_the_mails_to_an_address(app: Flask) -> None:
    strangers = [f"2001:db8:1:{n:x}::1" for n in range(10) for _ in range(5)]
    assert count_mails(app, strangers).count(True) == 10
    assert count_mails(app, ["198.51.100.7"] * 6) == [True] * 5 + [False]


def test_client_has_one_mail_when_strangers_have_used_up_those_to_its_address(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_limits, "MAILS_TO_ADDRESS", 10)
    strangers = [f"198.51.{n}.1" for n in range(2) for _ in range(5)]
    assert all(count_mails(app, strangers))
    assert count_mails(app, ["203.0.113.10", "203.0.113.10"]) == [True, False]
    assert count_mails(app, ["203.0.113.10"], "bob@example.org") == [True]


def test_counted_addresses_cannot_be_guessed_from_the_database(app: Flask) -> None:
    count_mails(app, ["203.0.113.10"])
    with app.app_context():
        keys = " ".join(db.session.scalars(select(RateLimit.key)))
    assert hashlib.sha256(ALICE.encode()).hexdigest() not in keys
    assert ALICE not in keys


def test_refused_client_is_told_the_shorter_wait(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_limits, "MAILS_TO_ADDRESS", 10)
    client = sign_in_limits.parse_client("203.0.113.10")
    with app.app_context(), time_machine.travel(utcnow(), tick=False) as clock:
        for number in range(2):
            stranger = sign_in_limits.parse_client(f"198.51.{number}.1")
            for _ in range(5):
                assert sign_in_limits.count_mail(ALICE, stranger) is None
        clock.shift(30 * 60)
        assert sign_in_limits.count_mail(ALICE, client) is None
        wait = sign_in_limits.count_mail(ALICE, client)
        assert wait is not None
        assert wait <= timedelta(minutes=30, seconds=1), "then the first mails no longer count"


def test_neighbours_share_the_mail_beyond_those_to_an_address(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_limits, "MAILS_TO_ADDRESS", 0)
    assert count_mails(app, ["198.51.100.1", "198.51.100.2"]) == [True, False]
    assert count_mails(app, ["2001:db8:1:1::1", "2001:db8:1:2::1"]) == [True, False]


@pytest.mark.both_databases
def test_mails_to_an_address_have_a_bound_whoever_asks(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = sign_in_limits.MAILS_TO_ADDRESS + sign_in_limits.EXTRA_MAILS_TO_ADDRESS
    assert most * 2 <= MAX_TOKENS_PER_ADDRESS
    monkeypatch.setattr(sign_in_limits, "MAILS_TO_ADDRESS", 5)
    monkeypatch.setattr(sign_in_limits, "EXTRA_MAILS_TO_ADDRESS", 10)
    strangers = [f"198.51.{n}.1" for n in range(20)]
    assert count_mails(app, strangers) == [True] * 15 + [False] * 5


def test_mails_beyond_five_have_a_link_and_no_code_to_guess(app: Flask, inbox: Inbox) -> None:
    for n in range(5):
        ask(app, client=f"198.51.100.{n}")
        assert inbox.code
    ask(app)
    assert "has no code" in inbox.newest
    assert Person(app, ALICE).post(inbox.link).status_code == 303


@pytest.mark.both_databases
@pytest.mark.parametrize(("minutes", "has_code"), [(16, False), (29, False), (31, True)])
def test_codes_are_counted_for_half_an_hour_and_not_while_they_live(
    app: Flask, minutes: int, has_code: bool
) -> None:
    with app.app_context():
        assert all(SignInToken.issue(ALICE, f"browser {n}").code for n in range(5))
        db.session.commit()
        with time_machine.travel(utcnow() + timedelta(minutes=minutes)):
            assert (SignInToken.issue(ALICE, "browser").code is not None) is has_code


def test_code_guessed_in_the_browser_of_a_mail_without_one_is_wrong(app: Flask) -> None:
    with app.app_context():
        for n in range(5):
            SignInToken.issue(ALICE, f"browser {n}")
        assert SignInToken.issue(ALICE, "browser").code is None
        db.session.commit()
    visitor = Person(app, ALICE)
    with visitor.client.session_transaction(base_url="https://sms.example.org") as session:
        session["browser"] = "browser"
    page = "/auth/sign-in?step=code"
    assert visitor.post("/auth/code", {"code": "123456"}, page=page).status_code == 422


def test_printed_link_works_whatever_strangers_ask_for(app: Flask) -> None:
    printed = app.test_cli_runner().invoke(args=["users", "sign-in-link", ALICE]).output
    path = printed.splitlines()[0].removeprefix("https://sms.example.org")
    for n in range(4):
        ask(app, client=f"198.51.100.{n}")
    assert Person(app, ALICE).post(path).status_code == 303


@pytest.mark.both_databases
def test_live_links_of_an_address_have_a_bound(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "MAX_TOKENS_PER_ADDRESS", 10)
    with app.app_context():
        mailed = SignInToken.issue(ALICE, "browser").token
        printed = [SignInToken.issue(ALICE).token for _ in range(10 + 1)]
        db.session.commit()
        assert SignInToken.redeem_link(printed[0]) is None
        assert SignInToken.redeem_link(printed[1])
        assert SignInToken.redeem_link(mailed)


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    """What is sent to the database meanwhile."""
    sent: list[str] = []

    def note(_c, _cursor, statement, *_rest):  # type: ignore[no-untyped-def]
        sent.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.mark.both_databases
def test_flood_of_refused_sign_ins_takes_no_write_lock(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "MAX_COUNTED", 0)  # as after a hundred within an hour
    codes(app, 5)
    browser = Person(app, ALICE)
    with statements(app) as sent:
        assert ask(app).status_code == 429
        assert ask(app, "nonsense").status_code == 422
        assert browser.post("/auth/link/guessed").status_code == 410
        with browser.client.session_transaction(base_url="https://sms.example.org") as session:
            session["browser"] = "none that asked"
        form = {"code": "123456"}
        assert browser.post("/auth/code", form, page="/auth/sign-in").status_code == 422
    assert sent
    assert not [one for one in sent if not one.startswith(("SELECT", "BEGIN"))]
    assert "BEGIN IMMEDIATE" not in sent


@contextmanager
def read_only(app: Flask) -> Iterator[None]:
    """The database takes no writes: a disk or a standby that only reads."""
    with app.app_context():
        engine = db.engine
        is_sqlite = engine.dialect.name == "sqlite"
        with engine.connect() as connection:
            name = None if is_sqlite else connection.scalar(text("SELECT current_database()"))
    engine.dispose()
    _forbid_writes(engine, name, forbid=True)
    try:
        yield
    finally:
        engine.dispose()
        _forbid_writes(engine, name, forbid=False)


def _forbid_writes(engine, name: str | None, forbid: bool) -> None:  # type: ignore[no-untyped-def]
    word = "on" if forbid else "off"
    if name is None:
        listen = event.listen if forbid else event.remove
        listen(engine, "connect", _query_only)
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(
            text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {word}')
        )
    engine.dispose()


def _query_only(connection, _record):  # type: ignore[no-untyped-def]
    connection.execute("PRAGMA query_only = on")
    connection.set_query_only = lambda _: None  # no transaction ends it


@pytest.mark.both_databases
def test_sign_in_is_a_503_page_while_the_database_is_read_only(app: Flask) -> None:
    with app.app_context():
        token = SignInToken.issue(ALICE).token
        db.session.commit()
    with read_only(app):
        for answer in (ask(app), Person(app, ALICE).post(f"/auth/link/{token}")):
            assert answer.status_code == 503
            assert "Try again" in answer.text
    assert Person(app, ALICE).post(f"/auth/link/{token}").status_code == 303


@pytest.mark.both_databases
def test_sign_in_is_a_503_page_while_the_database_is_not_migrated(app: Flask) -> None:
    with app.app_context():
        downgrade(revision="base")
    try:
        for answer in (ask(app), Person(app, ALICE).post("/auth/link/guessed")):
            assert answer.status_code == 503
            assert "The database is not migrated, so nothing was saved." in answer.text
    finally:
        with app.app_context():
            upgrade()


def test_limit_that_is_reached_is_a_503_page_while_the_database_is_away(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    app = make_app(DATABASE_URL=f"sqlite:///{tmp_path}/nowhere/x.sqlite")
    assert ask(app).status_code == 503
