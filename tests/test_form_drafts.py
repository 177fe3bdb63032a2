"""What drafts.js learns from the server: whose form it is, from where, and when it is accepted."""

import re

import pytest
from flask import Flask
from sqlalchemy import delete

from smstracker.extensions import db, writing
from smstracker.models import UserSession
from tests.clients import Person, hidden

NEW = "/messages/new?saved=0"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def location_after(person: Person, draft: str) -> str:
    return person.send(draft=draft).headers["Location"].partition("#")[2]


def test_only_a_form_that_is_kept_leads_to_a_fragment(alice: Person) -> None:
    assert location_after(alice, NEW) == f"accepted={NEW}"
    assert location_after(alice, "") == ""
    assert "#" not in alice.send().headers["Location"]


def test_fragment_is_one_whatever_was_sent(alice: Person) -> None:
    assert location_after(alice, "/ü\r\nX: <1>#2") == "accepted=/%C3%BC%0D%0AX:%20%3C1%3E%232"


def test_settings_and_batch_are_accepted_too(alice: Person) -> None:
    form = {"draft": "/settings", "appearance": "dark", "has_shortcuts": "y"}
    assert alice.post("/settings", form).headers["Location"] == "/settings#accepted=/settings"
    form = {"form_id": hidden(alice.get("/batches/new").text, "form_id"), "sender": "+15005550006"}
    form |= {"draft": "/batches/new", "body": "Hello", "pasted": "+1 555 867 5310"}
    answer = alice.post("/batches", form, page="/batches/new")
    assert answer.headers["Location"].endswith("#accepted=/batches/new")


def test_answer_to_a_form_names_the_page_that_it_came_from(alice: Person) -> None:
    assert hidden(alice.get(NEW).text, "draft") == ""
    refused = alice.send(recipient="1", draft=NEW)
    assert (refused.status_code, hidden(refused.text, "draft")) == (422, NEW)
    assert 'name="draft"' not in alice.send(recipient="1").text


def test_form_that_outlives_its_session_still_names_its_page(app: Flask, alice: Person) -> None:
    form = alice.compose(draft=NEW)
    with app.app_context(), writing():
        db.session.execute(delete(UserSession))
    page = alice.client.post("/messages", data=form)
    assert (page.status_code, hidden(page.text, "draft")) == (401, NEW)


@pytest.mark.parametrize("path", ["/messages", "/settings", "/batches/new"])
def test_reader_has_one_name_that_says_nothing(app: Flask, alice: Person, path: str) -> None:
    bob = Person.signed_in(app, "bob@example.org")
    again = Person.signed_in(app, alice.email)
    names = [
        re.findall(r'data-reader="([0-9a-f]{16})"', person.get(path).text)
        for person in (alice, again, bob)
    ]
    assert names[0] == names[1] != names[2]
    assert all(len(name) == 1 for name in names)
