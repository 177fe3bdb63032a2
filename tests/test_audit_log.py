"""The audit log: who did what, about whom; and what a stranger cannot do to it."""

import html
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import AuditEntry, SignInToken
from smstracker.models.audit_log import MAX_COUNTED, WORDS, AuditAction, record_audit
from smstracker.people.audit_views import PAGE_SIZE
from smstracker.worker.maintenance import purge
from tests.clients import Person
from tests.refused_callbacks import refusal
from tests.serving import drain_mail
from tests.smtp_server import Inbox

ALICE, BOB = "alice@example.org", "bob@example.org"
LINE = "command line"
MakeApp = Callable[..., Flask]


def entries(app: Flask) -> list[tuple[str, str, str, int]]:
    """Action, actor, subject and count of each entry, oldest first."""
    columns = (AuditEntry.action, AuditEntry.actor, AuditEntry.subject, AuditEntry.count)
    with app.app_context():
        return [tuple(row) for row in db.session.execute(select(*columns).order_by(AuditEntry.id))]


def link(app: Flask, email: str) -> str:
    with app.app_context():
        token = SignInToken.issue(email).token
        db.session.commit()
    return f"/auth/link/{token}"


def run(app: Flask, *arguments: str) -> str:
    return app.test_cli_runner().invoke(args=arguments).output


def test_every_action_has_words() -> None:
    assert set(WORDS) == set(AuditAction)


def test_sign_in_by_link_and_sign_out_are_recorded(app: Flask) -> None:
    person = Person(app, ALICE)
    person.post(link(app, ALICE))
    person.post("/auth/sign-out", page="/messages")
    assert entries(app) == [
        ("signed-in-by-link", ALICE, "", 1),
        ("signed-out", ALICE, "", 1),
    ]


@pytest.mark.both_databases
def test_dead_links_are_counted_within_their_hour_and_no_further_than_a_limit(app: Flask) -> None:
    stranger = Person(app, ALICE)
    now = utcnow().replace(minute=10)
    with time_machine.travel(now, tick=False):
        stranger.post("/auth/link/guess")
        stranger.post("/auth/link/another")
        assert entries(app) == [("sign-in-refused", "", "", 2)]
        with app.app_context():
            db.session.execute(db.update(AuditEntry).values(count=MAX_COUNTED))
            db.session.commit()
        stranger.post("/auth/link/guess")
        assert entries(app) == [("sign-in-refused", "", "", MAX_COUNTED)]
    with time_machine.travel(now + timedelta(hours=1), tick=False):
        stranger.post("/auth/link/guess")
    assert len(entries(app)) == 2


def test_wrong_code_is_counted_for_the_address_that_the_mail_went_to(
    make_app: MakeApp, inbox: Inbox
) -> None:
    app = make_app(MAIL_SERVER="127.0.0.1", MAIL_PORT=str(inbox.controller.port))
    person = Person(app, ALICE)
    person.post("/auth/sign-in", {"email": ALICE})
    drain_mail(app)
    for _ in range(2):
        person.post("/auth/code", {"code": "000000"}, page="/auth/sign-in?step=code")
    assert entries(app) == [("sign-in-refused", "", ALICE, 2)]


def test_address_of_a_stranger_is_not_stored_but_that_of_a_deactivated_user_is(
    make_app: MakeApp, inbox: Inbox
) -> None:
    app = make_app(MAIL_SERVER="127.0.0.1", MAIL_PORT=str(inbox.controller.port))
    run(app, "users", "deactivate", ALICE)
    for email in (ALICE, "outsider@elsewhere.example"):
        Person(app, email).post("/auth/sign-in", {"email": email})
        drain_mail(app)
    assert sorted(entries(app)) == [
        ("deactivated-user", LINE, ALICE, 1),
        ("sign-in-refused", "", "", 1),
        ("sign-in-refused", "", ALICE, 1),
    ]


def test_changes_by_command_are_recorded(app: Flask) -> None:
    for arguments in (
        ("add", ALICE, "--admin"),
        ("add", BOB, "--admin"),
        ("add", BOB, "--no-admin"),
        ("sign-in-link", BOB),
        ("sign-out", BOB),
        ("deactivate", BOB),
    ):
        run(app, "users", *arguments)
    assert [(action, subject) for action, actor, subject, _ in entries(app) if actor == LINE] == [
        ("added-user", ALICE),
        ("gave-administrator", ALICE),
        ("added-user", BOB),
        ("gave-administrator", BOB),
        ("took-administrator", BOB),
        ("made-sign-in-link", BOB),
        ("signed-user-out", BOB),
        ("deactivated-user", BOB),
    ]
    lines = run(app, "audit", "list").splitlines()
    assert len(lines) == 8
    assert lines[0].endswith(f"UTC  {LINE}  Deactivated a user  {BOB}")
    assert run(app, "audit", "list", "--action", "signed-user-out").count("\n") == 1
    assert "Nothing of this kind" in run(app, "audit", "list", "--action", "alert-muted")


def test_replays_by_page_and_by_command_are_recorded(app: Flask) -> None:
    run(app, "users", "add", ALICE, "--admin")
    alice = Person.signed_in(app, ALICE)
    with app.app_context():
        db.session.add(refusal(utcnow()))
        db.session.commit()
    alice.post("/callbacks/replay", {"id": "1"}, page="/callbacks")
    run(app, "callbacks", "replay", "--all")
    assert entries(app)[-2:] == [
        ("replayed-callbacks", ALICE, "1", 1),
        ("replayed-callbacks", LINE, "1 of them", 1),
    ]


def test_exports_of_the_log_are_counted(alice: Person) -> None:
    with time_machine.travel(utcnow().replace(minute=10)):
        for kind in ("csv", "json"):
            assert alice.get(f"/messages/export.{kind}").status_code == 200
    assert entries(alice.app) == [("exported-log", ALICE, "", 2)]


def test_long_list_names_the_way_to_the_rest(app: Flask) -> None:
    with app.app_context():
        for _ in range(51):
            record_audit(AuditAction.SIGNED_OUT, actor=ALICE)
        db.session.commit()
    assert run(app, "audit", "list").splitlines()[50:] == ["Older: flask audit list --all"]
    assert run(app, "audit", "list", "--all").count("\n") == 51


def test_page_shows_each_entry_once(app: Flask) -> None:
    admin = Person.signed_in(app, ALICE)
    run(app, "users", "add", ALICE, "--admin")
    with app.app_context():
        for number in range(2 * PAGE_SIZE):
            record_audit(AuditAction.SIGNED_OUT, actor=ALICE, subject=f"entry {number}.")
        db.session.commit()
    subjects, path = [], "/audit?action=signed-out"
    while path:
        page = admin.get(path).text
        subjects += re.findall("entry ([0-9]+)[.]", page)
        older = re.search('class="older" href="([^"]*)"', page)
        path = html.unescape(older[1]) if older else ""
    assert list(map(int, subjects)) == list(reversed(range(2 * PAGE_SIZE)))


def test_empty_list_says_so(app: Flask) -> None:
    assert run(app, "audit", "list") == "Nothing is recorded yet.\n"


@pytest.mark.both_databases
def test_entries_are_purged_after_audit_days(make_app: MakeApp) -> None:
    with make_app(AUDIT_DAYS="30").app_context():
        for days in (29, 31):
            at = utcnow() - timedelta(days=days)
            with time_machine.travel(at):
                record_audit(AuditAction.SIGNED_OUT, actor=f"{days}@example.org")
                db.session.commit()
        assert purge()["audit entries"] == 1
        assert db.session.scalars(select(AuditEntry.actor)).all() == ["29@example.org"]


@pytest.mark.both_databases
def test_entry_is_undone_with_the_change_it_records(app: Flask) -> None:
    with app.app_context():
        record_audit(AuditAction.SIGNED_OUT, actor=ALICE)
        db.session.rollback()
    assert entries(app) == []
