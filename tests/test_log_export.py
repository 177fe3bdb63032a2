"""Exports while they are made: time passes, readers stall, the database goes away."""

import csv
import io
import json
import re
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask

from smstracker.clock import utcnow
from smstracker.messages import log_export, search
from smstracker.messages.filter_conditions import SearchFilters
from tests.clients import Person


@pytest.mark.both_databases
def test_export_and_its_rows_reckon_silence_at_one_moment(app: Flask, alice: Person) -> None:
    alice.has_message(status="sent")
    almost = utcnow() + timedelta(hours=71, minutes=59)
    for state, count in (("no-receipt", 0), ("waiting", 1)):
        with time_machine.travel(almost, tick=False) as clock:
            answer = alice.client.get(f"/messages/export.csv?state={state}", buffered=False)
            pieces = [next(answer.iter_encoded())]
            clock.shift(timedelta(hours=1))
            pieces += answer.iter_encoded()
        rows = list(csv.DictReader(io.StringIO(b"".join(pieces).decode("utf-8-sig"))))
        assert [row["state"] for row in rows] == [state] * count


def test_export_ends_with_the_moment_it_was_asked_for(app: Flask, alice: Person) -> None:
    now = utcnow()
    alice.has_message(created_at=now - timedelta(seconds=1))
    alice.has_message(created_at=now + timedelta(seconds=1))
    owner_id, hour = alice.id, timedelta(hours=1)
    with app.app_context():
        for until, count in ((None, 1), (now + hour, 1), (now - hour, 0)):
            filters = SearchFilters(owner_id, until=until, at=now)
            assert sum(map(len, log_export.read_batches(filters, now))) == count


@pytest.mark.both_databases
def test_export_that_breaks_off_does_not_look_whole(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        alice.has_message()
    monkeypatch.setattr(log_export, "BATCH_SIZE", 2)
    real = search.find_page

    def fail_on_second_batch(*args: object, **named: object) -> object:
        if named["before"]:
            raise ConnectionError
        return real(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(search, "find_page", fail_on_second_batch)
    for kind in ("csv", "json"):
        pieces: list[bytes] = []
        answer = alice.client.get(f"/messages/export.{kind}", buffered=False)
        with pytest.raises(ConnectionError):
            pieces.extend(answer.iter_encoded())
        answer.close()
        got = b"".join(pieces).decode("utf-8-sig")
        if kind == "csv":
            rows = list(csv.reader(io.StringIO(got)))
            assert len(rows) == 4
            assert rows[-1] == [log_export.INCOMPLETE_LINE]
        else:
            with pytest.raises(json.JSONDecodeError):
                json.loads(got)
    assert not log_export._slots._owners, "a broken export holds no place"


def csv_of(person: Person) -> tuple[str, list[dict[str, str]]]:
    """The export as it is sent, and its rows, oldest first, as Python reads them."""
    sent = person.get("/messages/export.csv").text.removeprefix("\ufeff")
    return sent, list(csv.DictReader(io.StringIO(sent)))[::-1]


def test_export_quotes_every_text_and_no_number(app: Flask, alice: Person) -> None:
    alice.has_message(body="hi;=1+1", segments=2, price_micros=7_900, price_unit="USD")
    sent, [row] = csv_of(alice)
    assert '"hi;=1+1"' in sent
    header, line = sent.splitlines()
    # As a reader that knows no quotes would take it apart.
    bare = [cell for cell in line.split(",") if not cell.startswith('"')]
    assert bare == ["2", "0.0079"]
    assert all(name.startswith('"') for name in header.split(","))
    assert (row["text"], row["segments"], row["price"]) == ("hi;=1+1", "2", "0.0079")


def test_export_keeps_phone_numbers_as_they_are(app: Flask, alice: Person) -> None:
    alice.has_message(recipient="+491512345678", sender="+15005550006")
    sent, [row] = csv_of(alice)
    assert '"+491512345678"' in sent
    assert (row["recipient"], row["sender"]) == ("+491512345678", "+15005550006")


def test_times_of_an_export_have_the_form_that_spreadsheets_read(alice: Person) -> None:
    alice.has_message(created_at=datetime(2026, 10, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    [row] = csv_of(alice)[1]
    assert row["created_at_utc"] == "2026-10-31 23:59:59"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row["status_at_utc"])
    assert row["final_at_utc"] == ""
    assert "created_at" not in row


STARTS = [
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\uff1d",
    " =",
    "\ufeff=",
    "\u30fc",
    "\uff70",
    "\u3000\u30fc",
]


@pytest.mark.parametrize("start", STARTS)
def test_export_lets_no_text_become_a_formula(app: Flask, alice: Person, start: str) -> None:
    alice.has_message(body=start + "1")
    assert csv_of(alice)[1][0]["text"] == "'" + start + "1"


def test_every_form_of_a_character_that_begins_a_formula_is_guarded() -> None:
    plain = [*"=+-@", "\u2212", "\u30fc"]
    forms = [c for c in map(chr, range(0x20000)) if unicodedata.normalize("NFKC", c) in plain]
    assert [c for c in forms if not log_export.GUARDED.match(c)] == []
    assert len(forms) > 20
    assert not log_export.GUARDED.match("アーク")  # the mark inside a word


def test_export_guards_a_text_that_is_a_phone_number_and_a_sender_that_is_none(
    app: Flask, alice: Person
) -> None:
    alice.has_message(body="+15551234567", sender="+A1&B1")
    [row] = csv_of(alice)[1]
    assert (row["text"], row["sender"]) == ("'+15551234567", "'+A1&B1")


def test_text_comes_back_from_an_export_without_its_first_apostrophe(
    app: Flask, alice: Person
) -> None:
    texts = ["'=1", "''-1", "'tis", "=1", "plain", 'say "hi", you', "two\nlines", "'"]
    for text in texts:
        alice.has_message(body=text)
    rows = csv_of(alice)[1]
    assert [row["text"].removeprefix("'") for row in rows] == texts


@pytest.mark.both_databases
def test_json_export_holds_numbers_and_texts_as_they_are_stored(app: Flask, alice: Person) -> None:
    texts = ["=1+1", "'=1", "hi;=1+1", "e\u0301 \u2019", "\t@x"]
    for text in texts:
        alice.has_message(body=text, recipient="+491512345678")
    listed = alice.get("/messages/export.json").json["messages"]  # type: ignore[index]
    assert [message["text"] for message in listed] == texts[::-1]
    assert {one["recipient"] for one in listed} == {"+491512345678"}
