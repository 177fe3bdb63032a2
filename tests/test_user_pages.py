"""The pages of users: administrators let people in, shut them out and delete them, never all."""

import re
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import func, select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import AuditEntry, Message, SignInToken, User, UserSession
from smstracker.models.users import SESSION_LIFETIME
from tests.clients import Person, words

ALICE, BOB, ADMIN = "alice@example.org", "bob@example.org", "carol@example.org"
MakeApp = Callable[..., Flask]


def run(app: Flask, *arguments: str) -> str:
    return app.test_cli_runner().invoke(args=arguments).output


@pytest.fixture
def admin(app: Flask) -> Person:
    run(app, "users", "add", ADMIN, "--admin")
    return Person.signed_in(app, ADMIN)


def user(app: Flask, email: str) -> User:
    with app.app_context():
        return db.session.scalars(select(User).where(User.email == email)).one()


def change(admin: Person, email: str, name: str, **fields: str) -> str:
    """Press a button of the page of a user; the page that follows."""
    path = f"/users/{user(admin.app, email).id}"
    page = admin.post(f"{path}/{name}", fields, page=path, follow_redirects=True)
    return words(page.text)


def actions(app: Flask) -> list[tuple[str, str, str]]:
    columns = (AuditEntry.action, AuditEntry.actor, AuditEntry.subject)
    with app.app_context():
        return [tuple(row) for row in db.session.execute(select(*columns).order_by(AuditEntry.id))]


@pytest.mark.parametrize("path", ["/users", "/users/1", "/audit"])
def test_pages_are_for_administrators(alice: Person, path: str) -> None:
    assert alice.get(path).status_code == 403
    assert Person(alice.app, BOB).get(path).status_code == 302


def test_list_names_role_state_sessions_and_whom_the_setting_lets_in(
    admin: Person, alice: Person
) -> None:
    run(admin.app, "users", "deactivate", BOB)
    owner_id, expired_at = alice.id, utcnow() - SESSION_LIFETIME
    with admin.app.app_context():
        session = UserSession(key_hash="x", user_id=owner_id, created_at=expired_at)
        db.session.add(session)
        db.session.commit()
    page = words(admin.get("/users").text)
    assert "Everyone of @example.org may sign in without being added (SIGN_IN_ALLOW)." in page
    assert f"{ALICE} Active (SIGN_IN_ALLOW) last sign-in just now · 1 open session" in page
    assert f"{BOB} Deactivated never signed in · 0 open sessions" in page
    assert f"{ADMIN} Active (added) administrator you" in page


def test_long_list_has_pages(admin: Person) -> None:
    with admin.app.app_context():
        db.session.add_all(User(email=f"user{number:03}@example.org") for number in range(150))
        db.session.commit()
    first = admin.get("/users").text
    assert first.count('<li>\n    <a href="/users/') == 100
    assert "151 in all" in words(first)
    after = first.partition("?after=")[2].partition('"')[0]
    second = admin.get(f"/users?after={after}").text
    assert second.count('<li>\n    <a href="/users/') == 51
    assert admin.get("/users?after=x").status_code == 404


def test_address_is_added_and_may_be_an_administrator(admin: Person) -> None:
    page = admin.post("/users", {"email": " Zoe@Elsewhere.example "}, follow_redirects=True)
    assert "zoe@elsewhere.example may sign in." in words(page.text)
    for _ in range(2):
        admin.post("/users", {"email": "zoe@elsewhere.example", "administrator": "y"})
    assert user(admin.app, "zoe@elsewhere.example").administrator
    assert actions(admin.app)[-2:] == [
        ("added-user", ADMIN, "zoe@elsewhere.example"),
        ("gave-administrator", ADMIN, "zoe@elsewhere.example"),
    ]


@pytest.mark.parametrize("email", ["", "nonsense", "a@b", "@example.org", "*@example.org"])
def test_no_address_is_refused_with_a_reason(admin: Person, email: str) -> None:
    page = admin.post("/users", {"email": email})
    assert page.status_code == 422
    assert 'id="email-error"' in page.text


def test_deactivating_ends_sessions_and_links_at_once_and_for_good(
    admin: Person, alice: Person
) -> None:
    with admin.app.app_context():
        token = SignInToken.issue(ALICE).token
        db.session.commit()
    assert "deactivated and signed out everywhere" in change(admin, ALICE, "deactivate")
    assert alice.get("/messages").status_code == 302
    change(admin, ALICE, "let-in")
    assert Person(admin.app, ALICE).get(f"/auth/link/{token}").status_code == 410
    assert user(admin.app, ALICE).active


@pytest.mark.both_databases
def test_sign_out_everywhere_ends_sessions_and_links(admin: Person, alice: Person) -> None:
    with admin.app.app_context():
        token = SignInToken.issue(ALICE).token
        db.session.commit()
    assert "signed out everywhere" in change(admin, ALICE, "sign-out")
    assert alice.get("/messages").status_code == 302
    assert Person(admin.app, ALICE).get(f"/auth/link/{token}").status_code == 410
    assert Person.signed_in(admin.app, ALICE).get("/messages").status_code == 200


def test_role_is_given_and_taken(admin: Person, alice: Person) -> None:
    assert "is an administrator now" in change(admin, ALICE, "give-administrator")
    assert alice.get("/users").status_code == 200
    assert "no administrator any more" in change(admin, ALICE, "take-administrator")
    assert alice.get("/users").status_code == 403


def test_own_rights_are_given_up_only_when_confirmed(admin: Person) -> None:
    change(admin, ADMIN, "sign-out")
    admin = Person.signed_in(admin.app, ADMIN)
    run(admin.app, "users", "add", BOB, "--admin")
    for name in ("take-administrator", "deactivate"):
        assert "tick the box" in change(admin, ADMIN, name)
    assert user(admin.app, ADMIN).administrator
    change(admin, ADMIN, "take-administrator", confirmed="on")
    assert not user(admin.app, ADMIN).administrator


@pytest.mark.parametrize("name", ["take-administrator", "deactivate", "delete"])
def test_last_administrator_stays(admin: Person, name: str) -> None:
    run(admin.app, "users", "deactivate", BOB)
    fields = {"confirmed": "on", "messages": "keep"}
    assert "the only administrator who may sign in" in change(admin, ADMIN, name, **fields)
    commands = {
        "take-administrator": ("add", ADMIN, "--no-admin"),
        "deactivate": ("deactivate", ADMIN),
        "delete": ("delete", ADMIN, "--keep-messages"),
    }
    assert "the only administrator" in run(admin.app, "users", *commands[name])
    assert admin.get("/users").status_code == 200


def test_administrator_whom_no_setting_lets_in_any_more_does_not_count(
    make_app: MakeApp, admin: Person
) -> None:
    with admin.app.app_context():
        db.session.add(User(email="gone@x.example", administrator=True, let_in_by="setting"))
        db.session.commit()
    assert "the only administrator" in change(admin, ADMIN, "deactivate", confirmed="on")


def make_link(admin: Person, user_id: int) -> str:
    """The path of a new sign-in link, from the page that shows it."""
    path = f"/users/{user_id}"
    answer = admin.post(f"{path}/sign-in-link", page=path)
    assert (answer.status_code, answer.location) == (303, f"{path}/sign-in-link")
    return shown_link(admin, user_id)


def shown_link(admin: Person, user_id: int) -> str:
    page = admin.get(f"/users/{user_id}/sign-in-link")
    assert page.headers["Cache-Control"] == "no-store"
    return page.text.partition('<code id="link">https://sms.example.org')[2].partition("<")[0]


def test_printed_link_signs_in_once_and_is_shown_until_then(admin: Person, alice: Person) -> None:
    path = make_link(admin, alice.id)
    assert path.startswith("/auth/link/")
    assert path not in admin.get(f"/users/{alice.id}").text
    assert Person(admin.app, ALICE).post(path).status_code == 303
    assert "was used, has expired" in words(admin.get(f"/users/{alice.id}/sign-in-link").text)
    assert actions(admin.app).count(("made-sign-in-link", ADMIN, ALICE)) == 1


@pytest.mark.both_databases
def test_reload_makes_no_new_link_and_a_new_one_ends_the_former(
    admin: Person, alice: Person
) -> None:
    with admin.app.app_context():
        mailed = SignInToken.issue(ALICE, "browser").token
        db.session.commit()
    former = make_link(admin, alice.id)
    assert shown_link(admin, alice.id) == former
    newest = make_link(admin, alice.id)
    visitor = Person(admin.app, ALICE)
    assert visitor.get(former).status_code == 410
    assert visitor.get(newest).status_code == 200
    assert visitor.get(f"/auth/link/{mailed}").status_code == 200


def test_link_is_shown_only_where_it_was_made(admin: Person, alice: Person, bob: Person) -> None:
    make_link(admin, alice.id)
    assert shown_link(admin, bob.id) == ""
    assert shown_link(Person.signed_in(admin.app, ADMIN), alice.id) == ""
    assert alice.get(f"/users/{alice.id}/sign-in-link").status_code == 403


def test_nobody_who_is_out_gets_a_link(admin: Person, alice: Person) -> None:
    change(admin, ALICE, "deactivate")
    assert "Let them in first" in change(admin, ALICE, "sign-in-link")


def test_missing_and_deleted_users_are_a_404(admin: Person, alice: Person) -> None:
    path = f"/users/{alice.id}"
    change(admin, ALICE, "delete", messages="keep", confirmed="on")
    for absent in (path, "/users/99999", f"/users/{2**70}"):
        assert admin.get(absent).status_code == 404


@pytest.mark.parametrize(
    ("fields", "checked", "focused"),
    [
        ({}, [], 'value="keep"'),
        ({"messages": "erase"}, ['value="erase"'], 'name="confirmed"'),
        ({"messages": "keep"}, ['value="keep"'], 'name="confirmed"'),
        ({"confirmed": "on"}, ['name="confirmed"'], 'value="keep"'),
    ],
)
def test_deletion_wants_a_choice_and_a_tick_and_keeps_either(
    admin: Person, alice: Person, fields: dict[str, str], checked: list[str], focused: str
) -> None:
    alice.has_message()
    page = admin.post(f"/users/{alice.id}/delete", fields, page=f"/users/{alice.id}").text
    assert page.count("Nothing was deleted") == 1
    assert re.findall(r'(\S+="\S+") checked', page) == checked
    assert re.findall(r'((?:name|value)="\w+") autofocus', page) == [focused]
    assert user(admin.app, ALICE).deleted_at is None


def test_user_without_messages_is_deleted_without_a_choice(admin: Person, alice: Person) -> None:
    address = f"/users/{alice.id}"
    assert 'name="messages"' not in admin.get(address).text
    page = admin.post(f"{address}/delete", {}, page=address).text
    assert "Nothing was deleted: tick the box." in page
    assert re.findall(r'((?:name|value)="\w+") autofocus', page) == ['name="confirmed"']
    page = admin.post(
        f"{address}/delete", {"confirmed": "on"}, page=address, follow_redirects=True
    ).text
    assert f"{ALICE} is deleted. There were no messages." in page


def test_change_without_a_token_is_refused(admin: Person, alice: Person) -> None:
    assert admin.client.post(f"/users/{alice.id}/deactivate").status_code == 400
    assert user(admin.app, ALICE).active


def test_audit_page_shows_who_did_what_and_filters(admin: Person, alice: Person) -> None:
    change(admin, ALICE, "sign-out")
    page = words(admin.get("/audit").text)
    assert f"Signed a user out everywhere: {ALICE} {ADMIN}" in page
    assert "Let a user in: carol@example.org command line" in page
    only = admin.get("/audit?action=signed-user-out").text
    assert only.count("<li>\n    <p>") == 1
    assert "Nothing of this kind" in admin.get("/audit?action=alert-muted").text
    assert admin.get("/audit?action=nonsense").status_code == 404
    assert "No older entries" in admin.get("/audit?before=1").text
    assert admin.get("/audit?before=x").status_code == 404


def test_long_audit_log_has_pages(admin: Person) -> None:
    with admin.app.app_context():
        db.session.add_all(AuditEntry(action="signed-out", actor="x") for _ in range(250))
        db.session.commit()
        newest = db.session.scalar(select(func.max(AuditEntry.id)))
    first = admin.get("/audit?action=signed-out").text
    assert f"before={newest - 99}" in first
    third = admin.get(f"/audit?action=signed-out&before={newest - 199}").text
    assert third.count("<li>\n    <p>") == 50
    assert "Older" not in words(third)


def test_changes_end_no_message(admin: Person, alice: Person) -> None:
    alice.has_message()
    change(admin, ALICE, "deactivate")
    with admin.app.app_context():
        assert db.session.scalar(select(func.count()).select_from(Message)) == 1
        assert db.session.scalar(select(func.count()).select_from(UserSession)) == 1
