"""Tokens of programs are shown once, stored as digests, and end with their owner."""

import csv
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from click.testing import Result
from flask import Flask
from sqlalchemy import select

from config import ROOT
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import ApiToken, AuditEntry
from smstracker.models.api_tokens import Caller, find_caller
from smstracker.models.token_secret import is_whole, new_secret
from smstracker.models.users import digest
from tests.clients import Person, words
from tests.programs import Program

MakeApp = Callable[..., Flask]
SECRET = re.compile(r"smst_[0-9A-Za-z]{49}")
FIELDS = {"name": "Shop", "rights": "send", "days": "90"}


def add(person: Person, **fields: str) -> str:
    """Add a token by the form; its secret."""
    answer = person.post("/settings/tokens", FIELDS | fields, page="/settings/tokens/new")
    assert answer.status_code == 200
    [secret] = SECRET.findall(answer.text)
    return secret


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["tokens", *arguments])


def stored(app: Flask) -> list[ApiToken]:
    with app.app_context():
        return list(db.session.scalars(select(ApiToken).order_by(ApiToken.id)))


def is_live(app: Flask, secret: str) -> bool:
    with app.app_context():
        return isinstance(find_caller(secret, utcnow()), Caller)


def acts(app: Flask) -> list[tuple[str, str, str]]:
    with app.app_context():
        entries = db.session.scalars(select(AuditEntry).order_by(AuditEntry.id))
        return [
            (entry.action, entry.actor, entry.subject)
            for entry in entries
            if "token" in entry.action
        ]


def test_secrets_differ_and_hold_their_checksum() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        assert SECRET.fullmatch(secret)
        assert is_whole(secret)


@pytest.mark.parametrize(
    "change",
    [
        lambda secret: secret[:-1],
        lambda secret: secret + "0",
        lambda secret: secret.swapcase(),
        lambda secret: secret[:20] + ("a" if secret[20] != "a" else "b") + secret[21:],
        lambda secret: secret[:-1] + "é",
        lambda _secret: "",
        lambda _secret: "smst_",
    ],
)
def test_changed_secret_is_told_from_a_whole_one(change: Callable[[str], str]) -> None:
    assert not is_whole(change(new_secret()))


@pytest.mark.both_databases
def test_token_is_shown_once_and_stored_as_digest(alice: Person) -> None:
    answer = alice.post("/settings/tokens", FIELDS, page="/settings/tokens/new")
    [secret] = SECRET.findall(answer.text)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "only time that it is shown" in words(answer.text)
    [token] = stored(alice.app)
    assert token.digest == digest(secret)
    assert secret not in alice.get("/settings").text
    assert is_live(alice.app, secret)
    assert acts(alice.app) == [("added-token", alice.email, f"token {token.id} of {alice.email}")]


def test_settings_list_rights_limits_and_use(alice: Person) -> None:
    add(alice, name="Reader", rights="read", days="")
    add(alice, limit_per_minute="5", limit_per_day="1000", days="30")
    page = words(alice.get("/settings").text)
    assert "Reader reads only never used · no end" in page
    assert "Shop sends and reads · 5 a minute · 1,000 a day never used · ends" in page


def test_senders_are_chosen_where_there_are_several(make_app: MakeApp) -> None:
    app = make_app(TWILIO_PHONE_NUMBER="+15005550006,+442079460018")
    alice = Person.signed_in(app, "alice@example.org")
    add(alice, senders="+442079460018")
    add(alice, name="All")
    limited, unlimited = stored(app)
    assert limited.allowed_senders == ["+442079460018"]
    assert unlimited.allowed_senders is None
    assert "from +442079460018" in words(alice.get("/settings").text)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": " "}, "Type a name"),
        ({"name": "x" * 81}, "at most 80 characters"),
        ({"limit_per_minute": "0"}, "whole number from 1"),
        ({"limit_per_day": "many"}, "Not a valid integer"),
        ({"rights": "all"}, "Not a valid choice"),
        ({"days": "9999"}, "Not a valid choice"),
        ({"senders": "+15550000000"}, "not a valid choice"),
    ],
)
def test_faulty_form_adds_nothing(alice: Person, fields: dict[str, str], problem: str) -> None:
    answer = alice.post("/settings/tokens", FIELDS | fields, page="/settings/tokens/new")
    assert answer.status_code == 422
    assert problem in words(answer.text)
    assert stored(alice.app) == []


def test_answer_that_is_loaded_anew_adds_no_second_token(alice: Person) -> None:
    add(alice)
    again = alice.post("/settings/tokens", FIELDS, page="/settings/tokens/new")
    assert again.status_code == 409
    assert "There is a token “Shop” already" in words(again.text)
    assert len(stored(alice.app)) == 1


def test_revoked_token_ends_at_once_and_frees_its_name(alice: Person) -> None:
    secret = add(alice)
    [token] = stored(alice.app)
    path = f"/settings/tokens/{token.id}/revoke"
    page = words(alice.post(path, page="/settings", follow_redirects=True).text)
    assert "The token “Shop” is revoked." in page
    assert "None yet." in page
    assert not is_live(alice.app, secret)
    assert alice.post(path, page="/settings").status_code == 404
    assert is_live(alice.app, add(alice))
    assert [act[0] for act in acts(alice.app)] == ["added-token", "revoked-token", "added-token"]


def test_token_of_somebody_else_is_not_found(alice: Person, bob: Person) -> None:
    secret = add(alice)
    [token] = stored(alice.app)
    assert bob.post(f"/settings/tokens/{token.id}/revoke", page="/settings").status_code == 404
    assert bob.post(f"/settings/tokens/{2**70}/revoke", page="/settings").status_code == 404
    assert "Shop" not in bob.get("/settings").text
    assert is_live(alice.app, secret)


def test_token_expires(alice: Person) -> None:
    secret, now = add(alice, days="30"), utcnow()
    for days, expected in ((29, True), (31, False)):
        with time_machine.travel(now + timedelta(days=days), tick=False):
            assert is_live(alice.app, secret) is expected
    with time_machine.travel(now + timedelta(days=31), tick=False):
        reader = Person.signed_in(alice.app, alice.email)
        assert "Shop expired" in words(reader.get("/settings").text)
        assert is_live(alice.app, add(reader))


@pytest.mark.both_databases
def test_token_ends_with_its_owner_and_does_not_come_back(alice: Person, bob: Person) -> None:
    secret, others = add(alice), add(bob)
    users = alice.app.test_cli_runner()
    users.invoke(args=["users", "deactivate", alice.email])
    assert not is_live(alice.app, secret)
    users.invoke(args=["users", "add", alice.email])
    assert not is_live(alice.app, secret)
    assert is_live(alice.app, others)
    users.invoke(args=["users", "delete", alice.email, "--keep-messages"])
    [left] = stored(alice.app)
    assert left.digest == digest(others)


def test_token_ends_while_its_owner_has_no_access(alice: Person, make_app: MakeApp) -> None:
    secret = add(alice)
    assert not is_live(make_app(SIGN_IN_ALLOW="@elsewhere.example"), secret)
    assert is_live(alice.app, secret)


def test_signing_out_everywhere_ends_no_token(alice: Person) -> None:
    secret = add(alice)
    alice.app.test_cli_runner().invoke(args=["users", "sign-out", alice.email])
    assert is_live(alice.app, secret)


@pytest.mark.both_databases
def test_command_adds_lists_and_revokes(app: Flask) -> None:
    options = ("--name", "Shop", "--read-only", "--expires", "7")
    added = run(app, "add", "alice@example.org", *options)
    secret = added.stdout.strip()
    assert is_whole(secret)
    assert is_live(app, secret)
    [token] = stored(app)
    assert not token.may_send
    [line] = run(app, "list").output.splitlines()
    assert line.startswith(f"{token.id}  alice@example.org  Shop  reads only  until ")
    assert line.endswith("never used")
    assert secret not in line
    assert run(app, "revoke", str(token.id)).output.endswith("is revoked.\n")
    assert not is_live(app, secret)
    assert run(app, "revoke", str(token.id)).exit_code == 1
    assert run(app, "list").output.startswith("No tokens.")
    assert [(act[0], act[1]) for act in acts(app)] == [
        ("added-token", "command line"),
        ("revoked-token", "command line"),
    ]


def test_command_sets_senders_and_limits(app: Flask) -> None:
    options = ("--sender", "+15005550006", "--per-minute", "5", "--per-day", "50")
    run(app, "add", "alice@example.org", "--name", "Shop", *options)
    [token] = stored(app)
    assert (token.allowed_senders, token.limit_per_minute, token.limit_per_day) == (
        ["+15005550006"],
        5,
        50,
    )
    assert "from +15005550006  5 a minute  50 a day  never used" in run(app, "list").output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("stranger@elsewhere.example", "--name", "x"), "may not sign in"),
        (("alice@example.org", "--name", " "), "1 to 80 printable"),
        (("alice@example.org", "--name", "x", "--expires", "0"), "--expires"),
        (("alice@example.org", "--name", "x", "--sender", "+15550000000"), "none of the senders"),
    ],
)
def test_command_refuses(app: Flask, arguments: tuple[str, ...], problem: str) -> None:
    result = run(app, "add", *arguments)
    assert result.exit_code
    assert problem in result.output
    assert stored(app) == []


def test_command_lists_tokens_of_owners_without_access(alice: Person, make_app: MakeApp) -> None:
    add(alice)
    shut_out = make_app(SIGN_IN_ALLOW="@elsewhere.example")
    assert "its owner may not sign in" in run(shut_out, "list").output


@pytest.mark.both_databases
def test_ended_tokens_are_purged_after_a_while(alice: Person) -> None:
    add(alice, days="30")
    add(alice, name="Endless", days="")
    add(alice, name="Revoked", days="")
    now = utcnow()
    run(alice.app, "revoke", str(stored(alice.app)[2].id))
    for days, names in ((80, "Shop Endless Revoked"), (100, "Shop Endless"), (130, "Endless")):
        with time_machine.travel(now + timedelta(days=days), tick=False):
            alice.app.test_cli_runner().invoke(args=["purge"])
            assert [token.name for token in stored(alice.app)] == names.split()


@pytest.mark.both_databases
def test_page_and_file_name_the_token_of_a_message_also_after_it_ended(alice: Person) -> None:
    program, app = Program(alice.app, alice.email, name="=Shop"), alice.app
    assert program.send().status_code == 202
    alice.has_message()
    by_program, by_hand = (f"/messages/{message.public_id}" for message in alice.messages())
    run(app, "revoke", str(program.token_id))
    with time_machine.travel(utcnow() + timedelta(days=100), tick=False):
        app.test_cli_runner().invoke(args=["purge"])
        assert program.get("messages").json["code"] == "token_unknown"
        later = Person.signed_in(app, alice.email)
        assert "by the token =Shop" in words(later.get(by_program).text)
        assert "by the token" not in words(later.get(by_hand).text)
        rows = list(csv.reader(later.get("/messages/export.csv").text.splitlines()))
    assert [row[-1] for row in rows] == ["token", "", "'=Shop"]


def test_name_of_a_token_goes_with_its_owner(alice: Person) -> None:
    Program(alice.app, alice.email, name="Shop").send()
    command = ["users", "delete", alice.email, "--keep-messages"]
    result = alice.app.test_cli_runner().invoke(args=command)
    assert result.exit_code == 0, result.output
    assert stored(alice.app) == []


def test_pages_want_a_sign_in(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/settings/tokens/new").status_code == 302
    assert client.post("/settings/tokens").status_code in (302, 400)


def test_documentation_tells_the_end_that_the_page_proposes(alice: Person) -> None:
    page = alice.get("/settings/tokens/new").text
    proposed = re.search(r'<option selected value="\d+">([^<]+)<', page)
    assert proposed
    documentation = (ROOT / "docs" / "api.md").read_text()
    assert f"The page gives it {proposed[1]} unless you choose otherwise" in documentation
