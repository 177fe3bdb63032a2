"""Rows of programs: each is sent as it was given, or refused by its number."""

import csv
import io
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update
from werkzeug.test import TestResponse

from smstracker.batches.uploads import Upload, pack_file, store_upload
from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.models import Message
from tests.batches import (
    SENDER,
    check,
    number,
    queue,
    read_batch,
    read_messages,
    read_rows,
    start,
    upload,
)
from tests.clients import Person, words
from tests.programs import Program

MakeApp = Callable[..., Flask]
HI = "Hi ((name))"
# What a spreadsheet would compute, strip, split or refuse.
TEXTS = [
    '="0151"',
    "=)",
    "'-20 % today",
    "'=1+1",
    "  Ann  ",
    "a\x07b",
    "a;b;c",
    "Hello;\u2028World;\u0085x",
    'a "quoted, one',
    "a\nb",
    "\ufeffa",
    "0151",
    "+49 151",
]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(SEND_PER_SECOND="10000")


def send(program: Program, rows: list[dict[str, Any]], text: str = HI, **fields: Any) -> Any:
    body = {"text": text, "rows": rows, **fields}
    return program.post("batches", json=body, headers={"Idempotency-Key": "k"})


def post_literal(program: Program, path: str, content: str) -> TestResponse:
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    return program.post(path, data=content, headers=headers)


def read(program: Program, response: TestResponse) -> dict[str, Any]:
    answer: dict[str, Any] = program.get(f"batches/{response.json['id']}").json
    return answer


@pytest.mark.both_databases
def test_texts_are_sent_as_they_are_by_both_kinds_of_request(app: Flask) -> None:
    program = Program(app)
    rows = [{"to": number(position), "name": text} for position, text in enumerate(TEXTS)]
    response = send(program, rows, "((name))", start_count=len(rows))
    check(app)
    queue(app)
    assert read(program, response)["state"] == "running"
    assert [message.body for message in read_messages(app, 1)] == TEXTS
    alone = [program.send(to=number(100), text=text).json["text"] for text in TEXTS]
    assert alone == TEXTS


def test_each_row_has_its_number_and_its_outcome(app: Flask) -> None:
    program = Program(app)
    rows = [
        {},
        {"to": number(1), "name": "Ann"},
        {"to": "", "name": ""},
        {"to": None, "name": "Bo"},
        {"to": number(2), "name": " \u200b"},
        {"to": number(2), "name": 7},
        {"to": "12", "name": "Cy"},
        {"to": number(3)},
    ]
    batch = read(program, send(program, rows))
    check(app)
    batch = read(program, program.get(f"batches/{batch['id']}"))
    assert (batch["rows"], batch["valid_rows"]) == (8, 2)
    assert [problem["row"] for problem in batch["row_problems"]] == [1, 3, 4, 5, 7, 8]
    assert batch["row_problems"][0]["problem"] == (
        "to: There is no number. name: There is no value."
    )
    assert [row.number for row in read_rows(app, 1)] == list(range(1, 9))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"to": number(1), "a\0b": "x"}], "A name contains a character (NUL)"),
        ([{"to": number(1), "\ud800": "x"}], "A name contains half of a character"),
        ([{"to": number(1), "x" * 201: "x"}], "A name has more than 200 characters."),
        ([{"name": "Ann"}, {"Name": "Bo"}], "“name” and “Name” are one name"),
        ([{"To": number(1), "name": "Ann"}], "“to” and “To” are one name"),
        ([{"nam": "Ann"}], "No row has “name”. The names are: “to”, “nam”."),
        ([{str(position): "x" for position in range(100)}], "at most 100 different names"),
    ],
)
def test_names_that_are_wrong_are_told_at_once(
    app: Flask, rows: list[dict[str, Any]], problem: str
) -> None:
    response = send(Program(app), rows)
    assert response.status_code == 422
    assert problem in response.json["detail"]
    assert response.json["errors"][0]["field"] == "rows"


def test_names_may_come_in_any_order_and_null_is_left_out(app: Flask) -> None:
    program, row = Program(app), {"to": number(0), "name": "Ann", "city": "Bonn"}
    text = "((name)) of ((city))"
    first = send(program, [row, row], text)
    assert first.status_code == 202
    for other in (dict(reversed(row.items())), row | {"note": None}):
        repeated = send(program, [other, row], text)
        assert (repeated.status_code, repeated.json["id"]) == (200, first.json["id"])
    assert send(program, [row | {"city": "Köln"}, row], text).status_code == 409


def test_names_that_the_text_does_not_need_may_be_alike(app: Flask) -> None:
    rows = [{"to": number(1), "name": "Ann", "Note": "a", "note": "b"}]
    assert send(Program(app), rows).status_code == 202


@pytest.mark.parametrize("literal", ["1.10", "1e16", "1e400", "-1E400", "12345678901234567890.0"])
def test_number_with_a_fraction_or_exponent_is_refused(app: Flask, literal: str) -> None:
    program = Program(app)
    row = f'{{"to": "{number(1)}", "amount": {literal}}}'
    batch = post_literal(program, "batches", f'{{"text": "((amount))", "rows": [{row}]}}')
    assert batch.status_code == 422
    assert batch.json["detail"] == 'Give “amount” as a text: "…".'
    message = post_literal(program, "messages", f'{{"to": "{number(1)}", "text": {literal}}}')
    assert message.status_code == 422
    assert message.json["detail"] == 'Give “text” as a text: "…".'


def test_whole_number_is_written_out(app: Flask) -> None:
    program = Program(app)
    send(program, [{"to": number(1), "amount": 12345678901234567890}], "((amount))", start_count=1)
    check(app)
    queue(app)
    assert [message.body for message in read_messages(app, 1)] == ["12345678901234567890"]


def test_batch_without_a_good_row_says_how_to_correct_it(app: Flask) -> None:
    program = Program(app)
    response = send(program, [{"to": "12", "name": "Ann"}])
    check(app)
    batch = read(program, response)
    assert batch["state"] == "refused"
    assert "with another Idempotency-Key" in batch["problem"]


@pytest.mark.both_databases
def test_person_sees_the_rows_and_may_have_them_checked_again(app: Flask, alice: Person) -> None:
    program = Program(app, alice.email)
    rows = [{"to": number(1), "name": f"={letter})"} for letter in "ab"]
    path = f"/batches/{send(program, rows).json['id']}"
    check(app)
    shown = words(alice.get(path).text)
    assert "Hi =a)" in shown
    assert "Row 2 ." in shown
    assert "names the columns" not in shown
    alice.post(f"{path}/read", {"repeats": "once"}, page="/batches/new")
    check(app)
    shown = words(alice.get(path).text)
    assert "2 Row 1 has the same number." in shown
    start(app, 1)
    queue(app)
    assert [message.body for message in read_messages(app, 1)] == ["Hi =a)"]
    lines = csv.DictReader(io.StringIO(alice.get(f"{path}/outcome.csv").text.lstrip("\ufeff")))
    assert [(line["row"], line["name"], line["outcome"]) for line in lines] == [
        ("1", "'=a)", "Queued here"),
        ("2", "'=b)", "Cannot be sent"),
    ]


def test_file_of_rows_that_cannot_be_sent_can_be_uploaded(app: Flask, alice: Person) -> None:
    program = Program(app, alice.email)
    rows = [{"to": "12", "name": "-20 %"}, {"to": number(2), "name": "Bo"}]
    path = f"/batches/{send(program, rows).json['id']}"
    check(app)
    corrected = alice.get(f"{path}/problems.csv").text.replace("12", number(1), 1)
    batch_id = upload(alice, corrected)
    check(app)
    start(app, batch_id)
    queue(app)
    assert [message.body for message in read_messages(app, batch_id)] == ["Hi -20 %"]


def test_failed_message_that_begins_like_a_formula_is_sent_again(app: Flask, alice: Person) -> None:
    program = Program(app, alice.email)
    path = f"/batches/{send(program, [{'to': number(1), 'name': '=)'}], start_count=1).json['id']}"
    check(app)
    queue(app)
    with app.app_context(), writing():
        failed = {"status": "failed", "error_code": "30003", "final_at": utcnow()}
        db.session.execute(update(Message).values(failed))
    queue(app)
    alice.post(f"{path}/again", page="/batches/new")
    check(app)
    assert read_batch(app, 2).good_count == 1


def test_rows_that_an_older_version_has_stored_are_read(app: Flask) -> None:
    program = Program(app)
    file = pack_file([f"to,name\r\n{number(1)},Ann\r\n12,Bo\r\n".encode()])
    stored = Upload("x", HI, SENDER, file, phone_column="to", token_id=program.token_id)
    with app.app_context(), writing():
        batch, _is_new = store_upload(program.owner_id, uuid.uuid4(), stored)
        public_id = batch.public_id
    check(app)
    batch = program.get(f"batches/{public_id}").json
    assert (batch["state"], batch["valid_rows"]) == ("ready", 1)
    assert [problem["row"] for problem in batch["row_problems"]] == [2]
