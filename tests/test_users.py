"""Who is let in: added, named by SIGN_IN_ALLOW, or a guest of a demo; and for how long."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from config import ConfigError
from smstracker.extensions import db
from smstracker.models import SignInToken, User
from smstracker.models.users import digest, live_key_hashes
from tests.clients import Person
from tests.live_settings import settings
from tests.serving import drain_mail
from tests.smtp_server import Inbox

ALICE, ZOE = "alice@example.org", "zoe@elsewhere.example"
MakeApp = Callable[..., Flask]


def run(app: Flask, *arguments: str) -> str:
    return app.test_cli_runner().invoke(args=arguments).output


def set_up_anew(app: Flask, **changed: Any) -> None:
    """Start the app again with other settings."""
    app.config["SETTINGS"] = replace(app.config["SETTINGS"], **changed)


def begin_demo(app: Flask) -> None:
    set_up_anew(app, demo=True, sign_in_allow=None)


def go_live(app: Flask, *allow: str) -> None:
    set_up_anew(app, demo=False, sign_in_allow=allow)


def is_in(person: Person) -> bool:
    return person.get("/messages").status_code == 200


def ask(app: Flask, email: str) -> Person:
    person = Person(app, email)
    assert person.post("/auth/sign-in", {"email": email}).status_code == 303
    drain_mail(app)
    return person


def user(app: Flask, email: str) -> User:
    with app.app_context():
        return db.session.scalars(select(User).where(User.email == email)).one()


def test_domain_with_sharp_s_lets_in_nobody_of_the_domain_with_ss(
    make_app: MakeApp, inbox: Inbox
) -> None:
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": str(inbox.controller.port)}
    app = make_app(SIGN_IN_ALLOW="@straße.example", **mail)
    for email in ("mallory@strasse.example", "ann@straße.example", "ann@xn--strae-oqa.example"):
        ask(app, email)
    assert [to for to, _ in inbox.mails] == ["ann@xn--strae-oqa.example"] * 2
    assert "may not sign in" in run(app, "users", "sign-in-link", "mallory@strasse.example")


def test_address_of_a_setting_is_spelled_as_typed_addresses_are(make_app: MakeApp) -> None:
    app = make_app(SIGN_IN_ALLOW="User@Bücher.example")
    assert "/auth/link/" in run(app, "users", "sign-in-link", "user@xn--bcher-kva.example")


PATTERNS = ["*@example.org", ".*@example.org", "%@example.org", "?@example.org", "@*.example.org"]
PATTERNS += ["@%.example.org", "[a-z]@example.org", "*", "*.example.org", "^a@example.org$"]


@pytest.mark.parametrize("entry", [*PATTERNS, "example.org", "@.example.org"])
def test_entry_that_means_a_domain_is_told_how_to_write_it(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"entry 1 .* for a whole domain write @example.org"):
        settings(SIGN_IN_ALLOW=entry)


@pytest.mark.parametrize("email", ["*@example.org", "%@example.org"])
def test_pattern_is_no_user(app: Flask, email: str) -> None:
    done = app.test_cli_runner().invoke(args=["users", "add", email])
    assert (done.exit_code, "@example.org in SIGN_IN_ALLOW" in done.output) == (1, True)


def test_domain_of_a_private_network_is_let_in_by_setting_form_and_command(
    make_app: MakeApp, inbox: Inbox
) -> None:
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": str(inbox.controller.port)}
    app = make_app(SIGN_IN_ALLOW="@praxis.local", **mail)
    ask(app, "ann@praxis.local")
    assert "may sign in" in run(app, "users", "add", "ben@mail.home.arpa")
    ask(app, "ben@mail.home.arpa")
    assert [to for to, _ in inbox.mails] == ["ann@praxis.local", "ben@mail.home.arpa"]


@pytest.mark.parametrize("entry", ["@", "müller@example.org", "@a_b.example"])
def test_entry_that_names_nobody_is_reported_by_its_place(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"SIGN_IN_ALLOW.*entry 2"):
        settings(SIGN_IN_ALLOW=f"a@example.org, {entry}")


def test_both_spellings_of_a_domain_are_one_user(make_app: MakeApp, inbox: Inbox) -> None:
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": str(inbox.controller.port)}
    app = make_app(SIGN_IN_ALLOW="@bücher.example", **mail)
    assert "user@xn--bcher-kva.example may" in run(app, "users", "add", "user@bücher.example")
    visitor = ask(app, "USER@bücher.example")
    assert inbox.mails[-1][0] == "user@xn--bcher-kva.example"
    assert visitor.post(inbox.link).status_code == 303
    assert len(run(app, "users", "list").splitlines()) == 1
    assert "signed out" in run(app, "users", "sign-out", "user@bücher.example")


@pytest.mark.parametrize("email", ["müller@example.org", "a@clinic.invalid", "a@example.org."])
def test_address_is_refused_by_command_and_form_with_one_reason(app: Flask, email: str) -> None:
    done = app.test_cli_runner().invoke(args=["users", "add", email])
    assert done.exit_code == 1
    reason = done.output.removeprefix("Error: ").split(".")[0].split("“")[0]
    answer = Person(app, ALICE).post("/auth/sign-in", {"email": email})
    assert answer.status_code == 422
    assert reason in answer.text


def test_user_of_the_setting_is_out_at_once_when_it_shrinks(app: Flask, alice: Person) -> None:
    assert is_in(alice)
    go_live(app, "bob@example.org")
    assert alice.get("/messages").status_code == 302
    assert "may not sign in" in run(app, "users", "sign-in-link", ALICE)
    assert "out (no longer in SIGN_IN_ALLOW)" in run(app, "users", "list")


def test_person_is_shut_out_before_a_first_sign_in(app: Flask) -> None:
    visitor = Person(app, ALICE)
    with app.app_context():
        token = SignInToken.issue(ALICE).token
        db.session.commit()
    said = run(app, "users", "deactivate", "Alice@Example.org")
    assert said == (
        f"{ALICE} is deactivated and cannot sign in. "
        "Nobody with this address was added or has signed in yet.\n"
    )
    assert visitor.post(f"/auth/link/{token}").status_code == 410
    assert "may not sign in" in run(app, "users", "sign-in-link", ALICE)
    assert f"{ALICE}  user  deactivated" in run(app, "users", "list")
    run(app, "users", "add", ALICE)
    assert is_in(Person.signed_in(app, ALICE))


@pytest.mark.parametrize(("email", "reason"), [(ZOE, "no user"), ("nonsense", "does not look")])
def test_nobody_is_made_to_shut_out_whom_nothing_lets_in(
    app: Flask, email: str, reason: str
) -> None:
    assert reason in run(app, "users", "deactivate", email)
    no_users = "No users yet. Add the first one: flask users add EMAIL --admin\n"
    assert run(app, "users", "list") == no_users


def test_open_streams_of_who_is_no_longer_allowed_are_ended(app: Flask, alice: Person) -> None:
    with alice.client.session_transaction(base_url="https://sms.example.org") as session:
        key = digest(session["_user_id"])
    with app.app_context(), db.engine.connect() as connection:
        assert live_key_hashes(connection, settings(), [key]) == {key}
        assert live_key_hashes(connection, settings(SIGN_IN_ALLOW="b@example.org"), [key]) == set()


def test_added_user_stays_when_the_setting_shrinks(app: Flask, alice: Person) -> None:
    run(app, "users", "add", ALICE)
    go_live(app)
    assert is_in(alice)
    assert "active (added)" in run(app, "users", "list")


def test_right_of_an_administrator_is_given_taken_and_otherwise_left(app: Flask) -> None:
    run(app, "users", "add", ALICE, "--admin")
    for option, is_administrator in (
        (["--admin"], True),
        ([], True),
        (["--no-admin"], False),
        ([], False),
    ):
        run(app, "users", "add", ZOE, *option)
        assert user(app, ZOE).administrator is is_administrator


def test_guest_of_a_demo_is_no_user_of_the_live_installation(app: Flask) -> None:
    begin_demo(app)
    guest = Person.signed_in(app, ZOE)
    assert guest.get("/callbacks").status_code == 200
    go_live(app, "@example.org")
    assert not is_in(guest)
    assert "may not sign in" in run(app, "users", "sign-in-link", ZOE)
    assert "out (from a demo)" in run(app, "users", "list")


def test_guest_of_a_demo_who_is_allowed_comes_in_as_a_sender(app: Flask) -> None:
    begin_demo(app)
    guest = Person.signed_in(app, ALICE)
    go_live(app, "@example.org")
    assert not is_in(guest)
    alice = Person.signed_in(app, ALICE)
    assert alice.get("/messages").status_code == 200
    assert alice.get("/callbacks").status_code == 403


def test_guest_of_a_demo_who_is_added_becomes_a_user_without_the_right(app: Flask) -> None:
    begin_demo(app)
    guest = Person.signed_in(app, ZOE)
    go_live(app)
    run(app, "users", "add", ZOE)
    assert not is_in(guest)
    assert not user(app, ZOE).administrator
    assert is_in(Person.signed_in(app, ZOE))


def test_session_and_link_of_a_demo_are_worth_nothing_for_a_real_user(app: Flask) -> None:
    begin_demo(app)
    run(app, "users", "add", ZOE, "--admin")
    anybody = Person.signed_in(app, ZOE)
    with app.app_context():
        token = SignInToken.issue(ZOE).token
        db.session.commit()
    assert is_in(anybody)
    go_live(app)
    assert not is_in(anybody)
    assert Person(app, ZOE).post(f"/auth/link/{token}").status_code == 410
    assert Person.signed_in(app, ZOE).get("/callbacks").status_code == 200
