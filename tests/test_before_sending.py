"""Before sending: cheaper characters, the same text sent lately, an opt-out."""

import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event as sql_event

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.messages.send_warnings import find_warnings
from smstracker.models.messages import Content
from smstracker.sms.gsm_replacements import (
    LOOK_ALIKE,
    SHAPING,
    SPELLING,
    Replacement,
    cost_advice,
    look_alike,
    replace_characters,
    split_pieces,
)
from smstracker.sms.segments import GSM_BASIC, GSM_EXTENDED, count_segments
from smstracker.web_templates import advice_line, offer_line
from tests.clients import Person, hidden, words

SERVICE = "MG" + "a" * 32


def check_form(person: Person, **fields: Any) -> str:
    return words(person.client.post("/messages/check", data=person.compose(**fields)).text)


def test_replacements_cost_nothing_and_only_the_costly_are_replaced() -> None:
    cheap = GSM_BASIC | GSM_EXTENDED
    for table in (LOOK_ALIKE, SPELLING):
        assert not cheap.intersection(table)
        assert cheap.issuperset("".join(table.values()))


LONG = "a" * 80


def test_plain_text_keeps_spelling_and_emoji() -> None:
    assert replace_characters(f"“It’s” – voilà… {LONG}") == f'"It\'s" - voilà... {LONG}'
    assert replace_characters(f"“It’s” – ça va… {LONG}") == f"“It’s” – ça va… {LONG}"
    assert replace_characters(f"“It’s” 🚀 {LONG}") == f"“It’s” 🚀 {LONG}"


@pytest.mark.parametrize(
    "text",
    [
        *("", "It’s", "ça va", "🚀", "\u200b", "cafe\u0301"),
        "…" * 60,  # one segment in UCS-2, two in GSM-7
        "🚀" * 100,  # nothing would be left
        "你好" * 40,
        "’" + "a" * 10_000,  # far too long to be sent
        f"ж’{LONG}",  # a letter stays, and with it UCS-2
    ],
)
def test_no_advice_where_nothing_saves_a_segment(text: str) -> None:
    assert cost_advice(text) is None
    assert replace_characters(text) == text


@pytest.mark.parametrize(
    ("text", "cheaper"),
    [
        ("cafe\u0301 ", "café "),
        ("\u1112\u1161\u11ab" * 40, "한" * 40),
        ("\u2126 \u212b \u212a", "Ω Å K"),
        ("ﬁﬂﬀﬃ", "fiflffffi"),
        ("Ｈｅｌｌｏ！", "Hello!"),
        ("𝐇𝐞𝐥𝐥𝐨", "Hello"),
        ("1\u20115\u00a0\u2009\u200bx", "1-5  x"),
        ("Ⅳ ǆ ĳ ‼", "IV ǆ ij !!"),
    ],
)
def test_composed_and_compatibility_forms_are_offered(text: str, cheaper: str) -> None:
    assert "".join(look_alike(piece) for piece in split_pieces(text)) == cheaper


@pytest.mark.parametrize("mark", SHAPING)
def test_stray_joiner_or_mark_of_direction_is_left_out_of_plain_text(mark: str) -> None:
    assert replace_characters(f"Auf{mark}lage {LONG}") == f"Auflage {LONG}"
    advice = cost_advice(f"zażó{mark}łć {LONG}")
    assert advice
    assert Replacement(mark, 1, "") in advice.offers


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم " * 20,
        "क्\u200dष " * 40,
        "র\u200d\u09cdয " * 40,
        f"{LONG} 👩\u200d🚀",
        f"{LONG} שלום\u200f!",
        f"{LONG} \u2067שלום\u2069 \u200e– {LONG}",
    ],
)
def test_joiner_or_mark_of_direction_stays_where_it_shapes_text(text: str) -> None:
    advice = cost_advice(text)
    offers = advice.offers if advice else ()
    assert not [offer for offer in offers if offer.piece[0] in SHAPING and offer.replacement == ""]
    assert all(mark in replace_characters(text) for mark in {*text} & {*SHAPING})


@pytest.mark.parametrize("text", ["x²", "1½", "①", "日本", "👩‍🚀", "❤\ufe0f", "א\u05b8"])
def test_character_with_another_meaning_has_no_look_alike(text: str) -> None:
    assert "".join(look_alike(piece) for piece in split_pieces(text)) == text


@pytest.mark.parametrize(
    ("text", "line", "offers"),
    [
        (
            f"ça va’ {LONG}",
            "2 segments, 1 with all of them replaced",
            ["ç ×1 → c (changes the spelling)", "’ ×1 → '"],
        ),
        (f"🚀 {LONG} 🚀", "2 segments, 1 without them", ["🚀 ×2"]),
        (f"’🚀{LONG}", "1 with all of them replaced or left out", ["’ ×1 → '", "🚀 ×1"]),
        ("e\u0301 " * 60 + "ж", "3 segments, 2 with", ["é (U+0065 U+0301) ×60 → é"]),
        (f"\u200c{LONG}", "2 segments, 1 with", ["zero-width non-joiner (U+200C) ×1 → nothing"]),
        (f"👩\u200d🚀{LONG}", "1 without", ["👩 ×1", "zero-width joiner (U+200D) ×1", "🚀 ×1"]),
        (f"\u200b{LONG}", "2 segments, 1 with", ["zero-width space (U+200B) ×1 → nothing"]),
        (f"œ µ đ ế{LONG}", "2 segments, 1 with", [f"{c} ×1 → {to} (changes the spelling)"
            for c, to in (("œ", "oe"), ("µ", "u"), ("đ", "d"), ("ế", "e"))]),
    ],
)  # fmt: skip
def test_advice_says_what_all_of_it_saves(text: str, line: str, offers: list[str]) -> None:
    advice = cost_advice(text)
    assert advice
    assert line in advice_line(advice)
    assert [offer_line(offer) for offer in advice.offers] == offers


@given(
    st.text(alphabet=[*LOOK_ALIKE, *SHAPING, *SPELLING, *"aé €ê\u0301ﬁжΩ🚀日\ufe0f"], max_size=200)
)
def test_advice_always_saves_what_it_says(text: str) -> None:
    advice = cost_advice(text)
    if advice is None:
        return
    replacements = {offer.piece: offer.replacement or "" for offer in advice.offers}
    changed = "".join(replacements.get(piece, piece) for piece in split_pieces(text))
    assert count_segments(changed).count == advice.after < advice.before
    assert advice.plain in (None, changed)


def test_plain_characters_need_no_script(alice: Person) -> None:
    page = alice.send(body="It’s " + LONG, check="1").text
    assert "Use plain characters (2 → 1 segment)" in page
    page = alice.send(body="It’s " + LONG, plain="1").text
    assert "GSM-7 · 1 segment" in words(page)
    assert "It&#39;s" in page
    assert alice.messages() == []


def test_form_gives_no_advice_that_saves_nothing(alice: Person) -> None:
    page = alice.send(body="It’s short", check="1").text
    assert "make it cost more" not in page
    assert "Use plain characters" not in page


def test_pictures_have_no_segments_to_save(alice: Person) -> None:
    page = alice.send(body="It’s " + LONG, media_urls="https://a.example/1.jpg", check="1").text
    assert "MMS · charged by the message" in words(page)
    assert "make it cost more" not in page


def test_what_is_typed_is_what_is_sent(alice: Person) -> None:
    alice.send(body="cafe\u0301 ﬁne’ " + LONG)
    assert alice.message().body == "cafe\u0301 ﬁne’ " + LONG


def test_same_text_lately_is_reported(alice: Person, bob: Person) -> None:
    with time_machine.travel(utcnow(), tick=False):
        alice.has_message(created_at=utcnow() - timedelta(seconds=40))
        assert "You sent this text to this number 40 seconds ago" in check_form(alice)
    assert "You sent this text" in alice.send(check="1").text
    assert "You sent" not in check_form(alice, body="Another")
    assert "You sent" not in check_form(bob)


def test_unsent_or_old_message_is_no_first_copy(alice: Person) -> None:
    alice.has_message(status="unreached")
    alice.has_message(created_at=utcnow() - timedelta(days=2))
    assert "You sent" not in check_form(alice)


def test_opt_out_is_reported_with_the_event_that_proves_it(alice: Person, bob: Person) -> None:
    event_id = alice.has_opt_out()
    page = alice.client.post("/messages/check", data=alice.compose()).text
    assert re.search(r"Opted out of this sender on \d+ \w+ \d{4}, [\d:]+ UTC", words(page))
    [message] = alice.messages()
    assert f"/messages/{message.public_id}#event-{event_id}" in page
    assert f'id="event-{event_id}"' in alice.get(f"/messages/{message.public_id}").text
    assert "Opted out" not in check_form(bob)


def test_another_try_does_not_move_the_proof_of_an_opt_out(alice: Person) -> None:
    event_id = alice.has_opt_out()
    alice.has_opt_out()
    page = alice.client.post("/messages/check", data=alice.compose()).text
    assert f"#event-{event_id}" in page


def test_opt_out_is_never_widened(alice: Person) -> None:
    alice.has_opt_out()
    assert "Opted out" not in check_form(alice, sender=SERVICE)
    assert "Opted out" not in check_form(alice, sender="+15005550007")
    assert "Opted out" not in check_form(alice, recipient="+1 555 867 5311")


def test_opt_out_of_a_service_does_not_hold_for_a_number(alice: Person) -> None:
    alice.has_opt_out(messaging_service_sid=SERVICE)
    assert "Opted out" in check_form(alice, sender=SERVICE)
    assert "Opted out" not in check_form(alice)


@pytest.mark.parametrize("word", ["sent", "delivered", "read"])
def test_later_message_that_went_out_ends_an_opt_out(alice: Person, word: str) -> None:
    alice.has_opt_out()
    alice.has_message(status="delivered", body="Earlier", created_at=utcnow() - timedelta(hours=1))
    assert "Opted out" in check_form(alice)
    alice.has_message(status="queued", body="Later")
    alice.has_message(status="undelivered", error_code="30004", body="Later")
    assert "Opted out" in check_form(alice)
    alice.has_message(status=word, body="Later")
    assert "Opted out" not in check_form(alice)


def test_same_text_that_waits_is_said_to_wait(alice: Person) -> None:
    now = utcnow()
    sent_at = {"created_at": now - timedelta(days=9), "send_at": now - timedelta(hours=2)}
    alice.has_message(status="delivered", handed_over_at=now - timedelta(hours=2), **sent_at)
    assert "You sent this text to this number 2 hours ago" in check_form(alice)
    alice.has_message(status="outbox", body="Soon", send_at=now, created_at=now - timedelta(days=2))
    page = check_form(alice, body="Soon")
    assert "A message with this text to this number waits here to be sent" in page
    assert "You sent" not in page
    alice.has_message(status="outbox", body="Later", send_at=now + timedelta(days=3))
    page = check_form(alice, body="Later")
    assert "A message with this text to this number is scheduled for" in page
    assert "You sent" not in page


def test_edited_message_repeats_nothing(alice: Person) -> None:
    ahead = utcnow() + timedelta(days=3)
    edited, other = (alice.has_message(status="outbox", send_at=ahead) for _ in range(2))
    path = f"/messages/{edited.public_id}/edit"
    [check] = re.findall('data-check="([^"]*)"', alice.get(path).text)
    form = alice.compose()
    for url, fields in ((check, form), (path, form | {"check": "1"})):
        page = alice.client.post(url, data=fields).text
        assert f'/messages/{other.public_id}">scheduled for' in page
        assert f'/messages/{edited.public_id}">scheduled for' not in page
    alice.post(f"/messages/{other.public_id}/cancel", {})
    for url, fields in ((check, form), (path, form | {"check": "1"})):
        assert "scheduled for" not in words(alice.client.post(url, data=fields).text)


def test_warnings_take_four_statements(alice: Person) -> None:
    alice.has_opt_out()
    owner_id, statements = alice.id, []
    with alice.app.app_context():
        sql_event.listen(
            db.engine, "before_cursor_execute", lambda *args: statements.append(args[2])
        )
        find_warnings(owner_id, Content("+15558675310", "+15005550006", "Hello"), utcnow())
    assert len([sql for sql in statements if sql.lstrip().startswith("SELECT")]) == 4


def test_check_says_how_the_recipient_is_understood(alice: Person) -> None:
    assert "Germany: +49 1512 3456789" in check_form(alice, recipient="+49 (0)151 23456789")
    assert "SMS and MMS, not WhatsApp" in check_form(alice, recipient="whatsapp:+14155552671")
    assert check_form(alice, recipient=" ") == ""


def test_check_needs_a_token_and_a_session(alice: Person) -> None:
    assert alice.client.post("/messages/check", data={"recipient": "1"}).status_code == 400
    token = hidden(alice.get("/messages/new").text, "csrf_token")
    alice.client.delete_cookie("__Host-session", domain="sms.example.org")
    assert alice.client.post("/messages/check", data={"csrf_token": token}).status_code != 200
