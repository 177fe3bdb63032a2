"""Before sending: plain characters for costly ones, the same text lately, an opt-out."""

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event as sql_event

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import StatusEvent
from smstracker.models.messages import Content
from smstracker.models.notes import notes_on
from smstracker.plain_text import LOOK_ALIKE, SPELLING, plain
from smstracker.segments import GSM_BASIC, GSM_EXTENDED, count_segments
from tests.people import Person, hidden, words

SERVICE = "MG" + "a" * 32


def notes(person: Person, **typed: Any) -> str:
    return words(person.client.post("/messages/check", data=person.compose(**typed)).text)


def opt_out(person: Person, **columns: Any) -> int:
    message = person.has_message(**({"status": "refused", "error_code": "21610"} | columns))
    with person.app.app_context():
        proof = StatusEvent(message_id=message.id, status="refused", error_code="21610")
        proof.source, proof.payload, proof.received_at = "send", {}, utcnow()
        db.session.add(proof)
        db.session.commit()
        return proof.id


def test_replacements_cost_nothing_and_only_the_costly_are_replaced() -> None:
    cheap = GSM_BASIC | GSM_EXTENDED
    for table in (LOOK_ALIKE, SPELLING):
        assert not cheap.intersection(table)
        assert cheap.issuperset("".join(table.values()))


def test_plain_text_keeps_spelling_and_emoji() -> None:
    assert plain("“It’s” – ça va… 🚀") == '"It\'s" - ça va... 🚀'
    assert count_segments(plain("‘’“”–—…\u00a0")).encoding == "GSM-7"


def test_plain_characters_need_no_script(alice: Person) -> None:
    page = alice.send(body="It’s " + "a" * 80, check="1").text
    assert "Use plain characters (2 → 1 segment)" in page
    page = alice.send(body="It’s " + "a" * 80, plain="1").text
    assert "GSM-7 · 1 segment" in page
    assert "It&#39;s" in page
    assert alice.messages() == []


def test_same_text_lately_is_told(alice: Person, bob: Person) -> None:
    alice.has_message(created_at=utcnow() - timedelta(seconds=40))
    assert "You sent this text to this number 40 seconds ago" in notes(alice)
    assert "You sent this text" in alice.send(check="1").text
    assert "You sent" not in notes(alice, body="Another")
    assert "You sent" not in notes(bob)


def test_what_never_left_or_is_long_ago_is_no_first_copy(alice: Person) -> None:
    alice.has_message(status="unreached")
    alice.has_message(created_at=utcnow() - timedelta(days=2))
    assert "You sent" not in notes(alice)


def test_opt_out_is_told_with_the_event_that_proves_it(alice: Person, bob: Person) -> None:
    proof = opt_out(alice)
    page = alice.client.post("/messages/check", data=alice.compose()).text
    assert re.search(r"Opted out of this sender on \d+ \w+ \d{4}, [\d:]+ UTC", words(page))
    [message] = alice.messages()
    assert f"/messages/{message.public_id}#event-{proof}" in page
    assert f'id="event-{proof}"' in alice.get(f"/messages/{message.public_id}").text
    assert "Opted out" not in notes(bob)


def test_opt_out_is_never_widened(alice: Person) -> None:
    opt_out(alice)
    assert "Opted out" not in notes(alice, sender=SERVICE)
    assert "Opted out" not in notes(alice, sender="+15005550007")
    assert "Opted out" not in notes(alice, recipient="+1 555 867 5311")


def test_opt_out_of_a_service_is_none_of_its_number(alice: Person) -> None:
    opt_out(alice, messaging_service_sid=SERVICE)
    assert "Opted out" in notes(alice, sender=SERVICE)
    assert "Opted out" not in notes(alice)


@pytest.mark.parametrize("word", ["sent", "delivered", "read"])
def test_later_message_that_went_out_ends_an_opt_out(alice: Person, word: str) -> None:
    opt_out(alice)
    alice.has_message(status="delivered", body="Earlier", created_at=utcnow() - timedelta(hours=1))
    assert "Opted out" in notes(alice)
    alice.has_message(status="queued", body="Later")
    alice.has_message(status="undelivered", error_code="30004", body="Later")
    assert "Opted out" in notes(alice)
    alice.has_message(status=word, body="Later")
    assert "Opted out" not in notes(alice)


def test_notes_take_three_statements(alice: Person) -> None:
    opt_out(alice)
    owner_id, seen = alice.id, []
    with alice.app.app_context():
        sql_event.listen(db.engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
        notes_on(owner_id, Content("+15558675310", "+15005550006", "Hello"), utcnow())
    assert len([one for one in seen if one.lstrip().startswith("SELECT")]) == 3


def test_check_says_how_the_recipient_is_understood(alice: Person) -> None:
    assert "Germany: +49 1512 3456789" in notes(alice, recipient="+49 (0)151 23456789")
    assert "SMS and MMS, not WhatsApp" in notes(alice, recipient="whatsapp:+14155552671")
    assert notes(alice, recipient=" ") == ""


def test_check_needs_a_token_and_a_session(alice: Person) -> None:
    assert alice.client.post("/messages/check", data={"recipient": "1"}).status_code == 400
    token = hidden(alice.get("/messages/new").text, "csrf_token")
    alice.client.delete_cookie("__Host-session", domain="sms.example.org")
    assert alice.client.post("/messages/check", data={"csrf_token": token}).status_code != 200
