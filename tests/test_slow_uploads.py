"""A large body on a slow line: nobody waits for the database, nor it for them, meanwhile."""

import json
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder

from smstracker.extensions import db
from smstracker.web.large_bodies import MAX_HEADERS_BYTES, PIECE_BYTES
from smstracker.web.request_framing import MAX_BODY_BYTES, MAX_UPLOAD_BYTES
from tests.batches import SENDER, number, people
from tests.clients import Person, hidden
from tests.programs import Program

pytestmark = pytest.mark.both_databases


class SlowBody(BytesIO):
    """Notes at each read whether a transaction is open, which PostgreSQL ends after 15 s."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.has_transaction = list[bool]()

    def read(self, size: int | None = -1, /) -> bytes:
        self.has_transaction.append(db.session().in_transaction())
        return super().read(size)

    def readinto(self, buffer: Any, /) -> int:
        self.has_transaction.append(db.session().in_transaction())
        return super().readinto(buffer)


def send_form(person: Person, content: str) -> tuple[SlowBody, Any]:
    page = person.get("/batches/new").text
    fields: dict[str, Any] = {name: hidden(page, name) for name in ("csrf_token", "form_id")}
    fields |= {"body": "Hi ((name))", "sender": SENDER}
    fields["file"] = (BytesIO(content.encode()), "people.csv")
    environ = EnvironBuilder(method="POST", data=fields).get_environ()
    with environ["wsgi.input"] as stream:
        body = SlowBody(stream.read())
    names = {"Content-Type": "CONTENT_TYPE", "Content-Length": "CONTENT_LENGTH"}
    headers = {name: environ[key] for name, key in names.items()}
    return body, person.client.post("/batches", input_stream=body, headers=headers)


def assert_free(body: SlowBody) -> None:
    assert set(body.has_transaction) == {False}


def test_file_of_a_person_is_read_outside_of_transactions(alice: Person) -> None:
    body, response = send_form(alice, people(10_000))
    assert response.status_code == 303
    assert_free(body)


def test_file_that_is_too_large_is_skimmed_outside_of_transactions(alice: Person) -> None:
    body, response = send_form(alice, "x" * MAX_UPLOAD_BYTES)
    assert response.status_code == 413
    assert "Hi ((name))</textarea>" in response.text
    assert_free(body)


def test_large_body_in_which_no_part_begins_is_not_read_to_its_end(alice: Person) -> None:
    """Until a part begins, all of it would be held in memory."""
    body = SlowBody(b"a" * (MAX_UPLOAD_BYTES + 1))
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    headers["Content-Length"] = str(MAX_UPLOAD_BYTES + 1)
    response = alice.client.post("/batches", input_stream=body, headers=headers)
    assert response.status_code == 413
    assert body.tell() <= MAX_HEADERS_BYTES + PIECE_BYTES


def test_rows_of_a_program_are_read_outside_of_transactions(app: Flask) -> None:
    program = Program(app)
    program.get("messages")  # notes the use of the token, which would end the transaction
    rows = [{"to": number(n), "name": "Ann"} for n in range(5_000)]
    body = SlowBody(json.dumps({"text": "Hi ((name))", "rows": rows}).encode())
    size = len(body.getvalue())
    assert size > MAX_BODY_BYTES
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    headers["Content-Length"] = str(size)
    assert program.post("batches", input_stream=body, headers=headers).status_code == 202
    assert_free(body)
