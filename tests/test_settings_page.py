"""One's own settings hold on every page, without script; sessions are seen and ended."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import AuditEntry, SignInToken, UserSession
from tests.clients import Person, words

MakeApp = Callable[..., Flask]
DEFAULTS = {"time_zone": "", "appearance": "system", "has_shortcuts": "y"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def save(person: Person, **fields: str) -> str:
    page = person.post("/settings", DEFAULTS | fields, follow_redirects=True)
    assert page.status_code == 200
    return page.text


def html_tag(page: str) -> str:
    return page.partition("<html")[2].partition(">")[0]


def test_defaults_are_those_of_the_browser(alice: Person) -> None:
    page = alice.get("/settings").text
    assert re.findall(r" ([a-z-]+)", html_tag(page)) == ["lang", "data-reader"]
    assert 'id="keys"' in page


@pytest.mark.parametrize("appearance", ["light", "dark"])
def test_appearance_is_in_the_markup_of_every_page(alice: Person, appearance: str) -> None:
    save(alice, appearance=appearance)
    for path in ("/messages", "/insights", "/messages/new", "/settings"):
        assert f'data-theme="{appearance}"' in html_tag(alice.get(path).text)


def test_time_zone_holds_without_script(alice: Person) -> None:
    at = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    message = alice.has_message(status_source="send", created_at=at, status_at=at)
    assert "1 Jul 2026, 22:30:00 UTC" in alice.get(f"/messages/{message.public_id}").text
    save(alice, time_zone="Europe/Berlin")
    page = alice.get(f"/messages/{message.public_id}").text
    assert "2 Jul 2026, 00:30:00 CEST" in page
    assert "Times are in Europe/Berlin." in page
    assert 'datetime="2026-07-01T22:30:00.000+00:00"' in page


def test_days_of_filters_and_insights_are_of_the_time_zone(alice: Person) -> None:
    at = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    alice.has_message(body="Late", created_at=at, status_at=at)
    path = "/messages.json?from=2026-07-02&to=2026-07-02"
    assert alice.get(path).json["messages"] == []
    save(alice, time_zone="Europe/Berlin")
    assert len(alice.get(path).json["messages"]) == 1
    assert alice.get(f"{path}&zone=UTC").json["messages"] == []
    assert "Europe/Berlin" in alice.get("/insights?from=2026-07-02").text


def test_time_zone_is_saved_by_its_name(alice: Person) -> None:
    page = save(alice, time_zone=" new york ")
    assert 'value="America/New_York"' in page
    assert "Times are in America/New_York." in page
    page = save(alice, time_zone=" ")
    assert "data-zone" not in html_tag(page)


def test_time_zone_that_is_none_stays_in_its_field_with_near_names(alice: Person) -> None:
    page = alice.post("/settings", DEFAULTS | {"time_zone": "Europe/Kiew"})
    assert page.status_code == 422
    assert "Did you mean Europe/Kiev" in words(page.text)
    [field] = re.findall(r'<input[^>]*name="time_zone"[^>]*>', page.text)
    assert 'value="Europe/Kiew"' in field
    assert "autofocus" in field
    assert 'list="zones"' in field
    assert '<option value="Europe/Kyiv">' in page.text


@pytest.mark.parametrize("fields", [{"time_zone": "Nowhere/Land"}, {"appearance": "pink"}])
def test_unknown_choices_are_refused(alice: Person, fields: dict[str, str]) -> None:
    assert alice.post("/settings", DEFAULTS | fields).status_code == 422


def test_shortcuts_are_switched_off_whole(alice: Person) -> None:
    assert "keyboard.js" in alice.get("/messages").text
    alice.post("/settings", {"time_zone": "", "appearance": "system"})
    page = alice.get("/messages").text
    assert "keyboard.js" not in page
    assert "keys-hint" not in page


def test_exact_times_replace_relative_ones_without_script(alice: Person) -> None:
    with time_machine.travel(datetime(2026, 11, 20, 12, 0, tzinfo=UTC), tick=False):
        person = Person.signed_in(alice.app, alice.email)
        alice.has_message(status_source="send")
        assert ">just now</time>" in person.get("/messages").text
        save(person, shows_exact_times="y", time_zone="Asia/Tokyo")
        page = person.get("/messages").text
    assert ">20 Nov, 21:00:00</time>" in page
    assert 'class="exact-times" data-exact' in html_tag(page)


def test_settings_are_of_one_user(alice: Person, bob: Person) -> None:
    save(alice, appearance="dark")
    assert "data-theme" not in html_tag(bob.get("/settings").text)


def sign_in(app: Flask, email: str, user_agent: str) -> Person:
    with app.app_context():
        token = SignInToken.issue(email).token
        db.session.commit()
    person = Person(app, email)
    person.client.environ_base["HTTP_USER_AGENT"] = user_agent
    person.post(f"/auth/link/{token}")
    return person


def test_sessions_have_browser_last_use_and_mark(alice: Person) -> None:
    now = utcnow()
    firefox = sign_in(alice.app, alice.email, FIREFOX)
    with time_machine.travel(now + timedelta(hours=3), tick=False):
        page = words(firefox.get("/settings").text)
    assert "Firefox on Linux this one last used just now" in page
    assert "A browser last used 3 hours ago" in page


@pytest.mark.both_databases
def test_use_is_noted_now_and_then(alice: Person) -> None:
    def used_at() -> datetime | None:
        with alice.app.app_context():
            return db.session.scalars(select(UserSession.used_at)).one()

    started = used_at()
    assert started is not None
    for minutes, expected in ((14, started), (16, None), (20, None)):
        with time_machine.travel(started + timedelta(minutes=minutes), tick=False):
            alice.get("/messages")
        later = expected or started + timedelta(minutes=16)
        assert used_at() == later


def test_one_session_is_ended(alice: Person) -> None:
    other = Person.signed_in(alice.app, alice.email)
    page = alice.get("/settings").text
    path = page.partition('action="/settings/sessions/')[2]
    ids = [part.partition("/end")[0] for part in page.split('action="/settings/sessions/')[1:]]
    assert path
    [session_id] = [id_ for id_ in ids if id_.isdecimal()]
    answer = alice.post(
        f"/settings/sessions/{session_id}/end", page="/settings", follow_redirects=True
    )
    assert "1 session is ended." in words(answer.text)
    assert other.get("/messages").status_code == 302
    assert alice.get("/messages").status_code == 200


def test_all_other_sessions_are_ended(alice: Person) -> None:
    others = [Person.signed_in(alice.app, alice.email) for _ in range(2)]
    alice.post("/settings/sessions/end-others", page="/settings")
    assert [person.get("/messages").status_code for person in others] == [302, 302]
    assert alice.get("/messages").status_code == 200
    with alice.app.app_context():
        entry = db.session.scalars(select(AuditEntry)).one()
        assert (entry.action, entry.actor, entry.subject) == (
            "ended-sessions",
            alice.email,
            "2 of them",
        )


def test_session_of_somebody_else_is_left_alone(alice: Person, bob: Person) -> None:
    with alice.app.app_context():
        ids = db.session.scalars(select(UserSession.id).order_by(UserSession.id)).all()
    for session_id in (ids[1], 2**70):
        path = f"/settings/sessions/{session_id}/end"
        answer = alice.post(path, page="/settings", follow_redirects=True)
        assert "0 sessions are ended." in words(answer.text)
    assert bob.get("/messages").status_code == 200


def test_many_sessions_are_summed_up(alice: Person) -> None:
    owner_id = alice.id
    with alice.app.app_context():
        db.session.add_all(UserSession(key_hash=str(n), user_id=owner_id) for n in range(300))
        db.session.commit()
    page = words(alice.get("/settings").text)
    assert "And 271 sessions that were used less recently." in page


def test_page_wants_a_sign_in(app: Flask) -> None:
    assert app.test_client().get("/settings").status_code == 302
