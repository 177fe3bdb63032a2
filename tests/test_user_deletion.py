"""Deleting a user: nothing of theirs stays but what was asked to stay, and totals."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta

import click
import pytest
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import func, select, text

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.insights.query import measure
from smstracker.models import (
    AuditEntry,
    Message,
    RecipientSearch,
    RefusedCallback,
    StatusEvent,
    User,
    message_drafts,
)
from smstracker.models.users import Appearance, is_shut_out
from smstracker.people import user_views
from smstracker.privacy.retention import remove_expired
from smstracker.sms.status import State
from smstracker.web.time_range import TimeRange
from tests.clients import Person, words
from tests.refused_callbacks import refusal
from tests.signing import call_back, fields, sid

ALICE, FORMER = "alice@example.org", "former user 1"
NUMBER = "+15558675310"
MakeApp = Callable[..., Flask]


def run(app: Flask, *arguments: str) -> str:
    return app.test_cli_runner().invoke(args=arguments).output


def delete(app: Flask, choice: str) -> str:
    return run(app, "users", "delete", ALICE, choice, *["--yes"] * (choice == "--erase-messages"))


def count(app: Flask, table: type) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(table)) or 0


def run_job(app: Flask) -> list[int]:
    with app.app_context():
        return list(remove_expired(None))


@pytest.fixture
def app_of_alice(alice: Person) -> Flask:
    """Alice has settings, a search, a delivered message with an event, and one under way."""
    owner_id = alice.id
    with alice.app.app_context():
        user = db.session.get_one(User, owner_id)
        user.time_zone, user.appearance, user.has_shortcuts = "Asia/Tokyo", Appearance.DARK, False
        RecipientSearch.get_or_create(owner_id, NUMBER[1:], is_full=True)
        db.session.commit()
    done = alice.has_message(status="delivered", twilio_sid=sid(1), next_lookup_at=None)
    alice.has_message(status="sent", twilio_sid=sid(2), next_lookup_at=utcnow())
    with alice.app.app_context():
        event = StatusEvent(message_id=done.id, status="delivered", source="callback")
        event.payload, event.received_at = {"To": NUMBER}, utcnow()
        db.session.add_all((event, refusal(utcnow(), twilio_sid=sid(1))))
        db.session.commit()
    return alice.app


def test_command_wants_a_choice(app_of_alice: Flask) -> None:
    assert "--keep-messages or --erase-messages" in run(app_of_alice, "users", "delete", ALICE)
    assert "no user with this address" in run(app_of_alice, "users", "delete", "x@y.example")
    assert ALICE in run(app_of_alice, "users", "list")


def test_contradictory_options_delete_nothing(app_of_alice: Flask) -> None:
    for options in (
        ["--keep-messages", "--erase-messages"],
        ["--erase-messages", "--keep-messages"],
    ):
        said = run(app_of_alice, "users", "delete", ALICE, *options, "--yes")
        assert "--keep-messages or --erase-messages, not both" in said
    assert count(app_of_alice, Message) == 2
    assert ALICE in run(app_of_alice, "users", "list")


@pytest.mark.parametrize(("answer", "left"), [("n\n", 2), ("", 2), ("y\n", 1)])
def test_messages_are_erased_only_after_a_question(
    app_of_alice: Flask, answer: str, left: int
) -> None:
    arguments = ["users", "delete", ALICE, "--erase-messages"]
    said = app_of_alice.test_cli_runner().invoke(args=arguments, input=answer).output
    assert f"Erase 2 messages of {ALICE}? This cannot be undone." in said
    assert count(app_of_alice, Message) == left
    assert (ALICE in run(app_of_alice, "users", "list")) is (left == 2)


def test_callbacks_are_stored_while_the_question_is_open(
    app_of_alice: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command may write from its first query on, which others wait for on SQLite."""
    codes = []

    def answer(*_: object, **_options: object) -> None:
        codes.append(call_back(app_of_alice.test_client(), fields(sid(99), "sent")).status_code)

    monkeypatch.setattr(click, "confirm", answer)
    assert "is deleted" in run(app_of_alice, "users", "delete", ALICE, "--erase-messages")
    assert codes == [204]


@pytest.mark.parametrize("choice", [[], ["--keep-messages"], ["--erase-messages"]])
def test_user_without_messages_needs_no_choice(alice: Person, choice: list[str]) -> None:
    said = run(alice.app, "users", "delete", ALICE, *choice)
    assert f"{ALICE} is deleted. There were no messages." in said
    assert ALICE not in run(alice.app, "users", "list")


def test_account_is_emptied_and_its_messages_stay(app_of_alice: Flask, alice: Person) -> None:
    assert f"kept under “{FORMER}”" in delete(app_of_alice, "--keep-messages")
    assert alice.get("/messages").status_code == 302
    with app_of_alice.app_context():
        user = db.session.scalars(select(User)).one()
        facts = (user.email, user.active, user.administrator, user.time_zone, user.appearance)
        assert facts == (FORMER, False, False, None, "system")
        assert user.last_sign_in_at is None
    assert count(app_of_alice, Message) == 2
    assert count(app_of_alice, RecipientSearch) == 0
    assert run_job(app_of_alice) == []
    assert ALICE not in run(app_of_alice, "users", "list")


def test_messages_are_erased_but_those_under_way_only_when_settled(app_of_alice: Flask) -> None:
    said = delete(app_of_alice, "--erase-messages")
    assert "is deleted, with 1 message." in said
    assert "1 more is under way: the worker erases each once it is settled" in said
    assert count(app_of_alice, Message) == 1
    with app_of_alice.app_context():
        assert db.session.scalars(select(StatusEvent.payload)).all() in ([], [{}])
    assert count(app_of_alice, RefusedCallback) == 0
    assert run_job(app_of_alice) == []
    with app_of_alice.app_context():
        db.session.execute(db.update(Message).values(status="delivered", next_lookup_at=None))
        db.session.commit()
    assert run_job(app_of_alice) == [1]
    assert count(app_of_alice, Message) == 0


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("is_active", [True, False])
def test_messages_that_wait_here_are_cancelled_and_erased(alice: Person, is_active: bool) -> None:
    """Also one that a restore holds, which no worker would ever settle."""
    for send_at in (None, utcnow() + timedelta(days=3)):
        alice.has_message(status="outbox", send_at=send_at, next_lookup_at=None)
    if not is_active:
        run(alice.app, "users", "deactivate", ALICE)
    assert delete(alice.app, "--erase-messages").endswith("is deleted, with 2 messages.\n")
    assert count(alice.app, Message) == 0


def test_totals_of_erased_messages_stay(app_of_alice: Flask) -> None:
    period = TimeRange(since=utcnow() - timedelta(days=7))

    def delivered() -> int:
        with app_of_alice.app_context():
            bars = measure(None, period, utcnow()).outcomes
            return sum(bar.get(State.DELIVERED, 0) for bar in bars)

    assert delivered() == 1
    delete(app_of_alice, "--erase-messages")
    assert delivered() == 1


def test_search_index_holds_nothing_of_erased_messages(app_of_alice: Flask) -> None:
    delete(app_of_alice, "--erase-messages")
    with app_of_alice.app_context():
        is_sqlite = db.engine.dialect.name == "sqlite"
        table = "message_fts_docsize" if is_sqlite else "message_text"
        # Of the message that is under way.
        assert db.session.scalar(text(f"SELECT count(*) FROM {table}")) == 1


def test_resend_of_an_erased_message_is_erased_too(alice: Person) -> None:
    with alice.app.app_context():
        original = db.session.get_one(Message, alice.has_message(status="failed").id)
        resend = message_drafts.create_resend(original)
        resend.status = "delivered"
        db.session.execute(db.update(Message).values(next_lookup_at=None))
        db.session.commit()
    assert "with 2 messages" in delete(alice.app, "--erase-messages")


def test_many_messages_are_erased(alice: Person) -> None:
    owner_id = alice.id
    with alice.app.app_context():
        now = utcnow()
        row = {"owner_id": owner_id, "recipient": NUMBER, "body": "x", "media_urls": []}
        row |= {"simulated": False, "status": "delivered", "status_at": now, "created_at": now}
        keys = ({"idempotency_key": uuid.uuid4(), "public_id": uuid.uuid4()} for _ in range(251))
        db.session.execute(db.insert(Message), [row | key for key in keys])
        db.session.get_one(User, owner_id).erases_messages = True
        db.session.commit()
    assert sum(run_job(alice.app)) == 251
    assert count(alice.app, Message) == 0


def test_same_address_comes_back_as_somebody_new(app_of_alice: Flask) -> None:
    delete(app_of_alice, "--keep-messages")
    assert "may sign in" in run(app_of_alice, "users", "add", ALICE)
    again = Person.signed_in(app_of_alice, ALICE)
    assert again.messages() == []
    assert "Hello" not in words(again.get("/messages").text)
    assert again.id != 1
    assert "deleted" in delete(app_of_alice, "--keep-messages")


def test_deleted_user_who_was_deactivated_stays_out_until_added(
    make_app: MakeApp, bob: Person
) -> None:
    app = make_app(SIGN_IN_ALLOW="@example.org")
    Person.signed_in(app, ALICE)
    run(app, "users", "deactivate", ALICE)
    assert f"{ALICE} stays shut out" in delete(app, "--keep-messages")
    assert "may not sign in" in run(app, "users", "sign-in-link", ALICE)
    assert "http" in run(app, "users", "sign-in-link", "somebody.else@example.org")
    assert "may sign in" in run(app, "users", "add", ALICE)
    assert "http" in run(app, "users", "sign-in-link", ALICE)
    assert "stays shut out" not in delete(app, "--keep-messages")
    assert "http" in run(app, "users", "sign-in-link", ALICE)


def test_page_says_who_can_come_back(make_app: MakeApp, bob: Person) -> None:
    app = make_app(SIGN_IN_ALLOW="@example.org")
    owner_id = Person.signed_in(app, ALICE).id
    run(app, "users", "add", "carol@example.org", "--admin")
    admin = Person.signed_in(app, "carol@example.org")
    page = f"/users/{owner_id}"
    assert "can sign in again as a new user" in words(admin.get(page).text)
    run(app, "users", "deactivate", ALICE)
    shown = words(admin.get(page).text)
    assert "it stays shut out" in shown
    assert "can sign in again" not in shown


def test_name_of_a_former_user_is_no_address(app_of_alice: Flask) -> None:
    delete(app_of_alice, "--keep-messages")
    for command in (("sign-in-link",), ("deactivate",), ("sign-out",), ("add",)):
        assert "Error" in run(app_of_alice, "users", *command, FORMER)


def test_page_deletes_and_leaves_the_messages_to_the_worker(app_of_alice: Flask) -> None:
    run(app_of_alice, "users", "add", "carol@example.org", "--admin")
    admin = Person.signed_in(app_of_alice, "carol@example.org")
    form = {"messages": "erase", "confirmed": "on"}
    page = admin.post("/users/1/delete", form, page="/users/1", follow_redirects=True)
    assert f"{ALICE} is deleted. The worker erases the messages." in words(page.text)
    assert run_job(app_of_alice) == [1]
    assert f"Deleted a user and the messages: {ALICE}" in words(admin.get("/audit").text)


@pytest.mark.parametrize(
    "name",
    ["delete", "deactivate", "let-in", "give-administrator", "take-administrator", "sign-out"],
)
def test_user_whom_somebody_else_deletes_meanwhile_stays_as_that_left_them(
    app_of_alice: Flask, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The first of two who delete somebody decides on the messages."""
    run(app_of_alice, "users", "deactivate", ALICE)
    run(app_of_alice, "users", "add", "carol@example.org", "--admin")
    admin = Person.signed_in(app_of_alice, "carol@example.org")
    writing = user_views.writing

    def delete_before() -> AbstractContextManager[None]:
        monkeypatch.setattr(user_views, "writing", writing)
        with ThreadPoolExecutor(1) as thread:
            thread.submit(delete, app_of_alice, "--erase-messages").result()
        return writing()

    monkeypatch.setattr(user_views, "writing", delete_before)
    form = {"messages": "keep", "confirmed": "on"}
    page = admin.post(f"/users/1/{name}", form, page="/users/1", follow_redirects=True)
    assert "Somebody else has just deleted this user. Nothing was changed." in words(page.text)
    with app_of_alice.app_context():
        user = db.session.get_one(User, 1)
        assert (user.email, user.erases_messages) == (FORMER, True)
        assert (user.active, user.administrator) == (False, False)
        assert is_shut_out(ALICE)
        assert FORMER not in db.session.scalars(select(AuditEntry.subject)).all()


def test_former_users_survive_a_downgrade_as_deactivated_users(app_of_alice: Flask) -> None:
    delete(app_of_alice, "--keep-messages")
    with app_of_alice.app_context():
        downgrade(revision="0014")
        upgrade()
        user = db.session.scalars(select(User)).one()
        assert (user.email, user.active) == (FORMER, False)
