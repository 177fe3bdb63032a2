"""Finding texts whose accents are composed or apart; the texts stay as they were typed."""

import unicodedata

import pytest
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import text

from smstracker.extensions import db
from smstracker.messages import filter_conditions
from tests.clients import Person

pytestmark = pytest.mark.both_databases


APART = "Cafe\u0301 for E\u0301lodie, \u1112\u1161\u11ab\u1100\u1173\u11af, 5 \u2126"
COMPOSED = unicodedata.normalize("NFC", APART)


def find_texts(person: Person, term: str) -> list[str]:
    listed = person.get("/messages.json", query_string={"text": term}).json
    return [message["text"] for message in listed["messages"]]  # type: ignore[index]


@pytest.fixture(params=[2_000, 1], ids=["newest", "index"])
def looked_through(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts found among the newest messages, and by the index."""
    monkeypatch.setattr(filter_conditions, "TEXT_SCAN_LIMIT", request.param)


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("stored", [APART, COMPOSED], ids=["apart", "composed"])
@pytest.mark.usefixtures("looked_through")
def test_text_is_found_however_its_accents_are_spelled(alice: Person, stored: str) -> None:
    alice.has_message(body=stored)
    for whole in (APART, COMPOSED):
        for term in (whole, whole[3:9], whole.upper(), whole.split("lodie")[1]):
            assert find_texts(alice, term) == [stored], term
    assert find_texts(alice, "cafe for") == []


def test_text_stays_as_it_was_typed(alice: Person) -> None:
    alice.send(body=APART)
    assert alice.message().body == APART


@pytest.mark.both_databases(every_case=True)
@pytest.mark.usefixtures("looked_through")
def test_changed_text_is_found_by_what_it_says_now(app: Flask, alice: Person) -> None:
    message = alice.has_message(body=APART)
    with app.app_context():
        db.session.execute(text("UPDATE message SET body = 'Man\u0303ana'"))
        db.session.commit()
    assert message.id
    assert find_texts(alice, "Café") == []
    assert find_texts(alice, "mañana") == ["Man\u0303ana"]


CURLY = "It\u2019s \u201cdone\u201d at\u00a09\u202fo\u2018clock"
STRAIGHT = "It's \"done\" at 9 o'clock"


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("stored", [CURLY, STRAIGHT], ids=["curly", "straight"])
@pytest.mark.usefixtures("looked_through")
def test_quotes_and_spaces_are_found_by_either_form(alice: Person, stored: str) -> None:
    alice.has_message(body=stored)
    for whole in (CURLY, STRAIGHT):
        for term in (whole, whole[:4], whole[5:11], whole[12:16], whole[-8:]):
            assert find_texts(alice, term) == [stored], term


def test_quotes_of_before_are_indexed_anew_in_both_directions(app: Flask, alice: Person) -> None:
    for body in (CURLY, STRAIGHT, "e\u0301 it\u2019s"):
        alice.has_message(body=body)
    for _ in range(2):
        assert (hits(app, "t's"), hits(app, "t\u2019s"), hits(app, "t 9")) == (3, 0, 2)
        with app.app_context():
            downgrade(revision="0012")
        assert (hits(app, "t's"), hits(app, "t\u2019s"), hits(app, "t 9")) == (1, 2, 1)
        with app.app_context():
            upgrade()
    with app.app_context():
        db.session.execute(text("UPDATE message SET body = 'other'"))
        db.session.commit()
    assert (hits(app, "t's"), hits(app, "t\u2019s")) == (0, 0)


def test_term_that_is_too_short_when_composed_is_refused(alice: Person) -> None:
    answer = alice.get("/messages.json", query_string={"text": "e\u0301a"})
    assert answer.status_code == 422


def hits(app: Flask, gram: str) -> int:
    """The messages that the index itself has for three characters."""
    gram = gram.replace("'", "''")
    fts = f"SELECT count(*) FROM message_fts WHERE message_fts MATCH '\"{gram}\"'"
    grams = f"SELECT count(*) FROM message_text WHERE text_grams(owner_id, body) @> ARRAY['{gram}']"
    with app.app_context():
        return db.session.scalar(text(fts if db.engine.dialect.name == "sqlite" else grams)) or 0


def test_messages_of_before_are_indexed_anew_in_both_directions(app: Flask, alice: Person) -> None:
    for body in (APART, COMPOSED, "plain CAFE"):
        alice.has_message(body=body)
    for _ in range(2):
        assert (hits(app, "fé "), hits(app, "fe\u0301"), hits(app, "caf")) == (2, 0, 3)
        with app.app_context():
            downgrade(revision="0009-1")
        assert (hits(app, "fé "), hits(app, "fe\u0301"), hits(app, "caf")) == (1, 1, 3)
        with app.app_context():
            upgrade()
    assert sorted(m.body for m in alice.messages()) == sorted([APART, COMPOSED, "plain CAFE"])
