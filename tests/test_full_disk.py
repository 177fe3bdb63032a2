"""The disk for temporary files is full: people and programs are told, and nothing is lost."""

import tempfile
from datetime import timedelta
from io import BytesIO

import pytest
import time_machine
from flask import Flask
from sqlalchemy import func, select
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from smstracker.batches.table import MAX_ROW_CHARACTERS
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Batch
from smstracker.models.batches import CHECK_LEASE, BatchState
from smstracker.web.uploaded_files import MEMORY_BYTES, UploadedFile
from tests.batches import SENDER, check, number, people, read_batch, ready_batch, upload
from tests.clients import Person, hidden, words
from tests.full_disk import full_disk, open_full
from tests.programs import Program

FULL = "the server's disk for temporary files is full"
ROWS = MEMORY_BYTES // MAX_ROW_CHARACTERS + 2  # of a file that needs the disk
LARGE = "phone,name,notes\n" + "\n".join(
    f"{number(position)},Ann,{'x' * (MAX_ROW_CHARACTERS - 100)}" for position in range(ROWS)
)


def send_form(person: Person, content: str, **typed: str) -> TestResponse:
    page = person.client.get("/batches/new").text
    fields = {name: hidden(page, name) for name in ("csrf_token", "form_id")}
    file = FileStorage(BytesIO(content.encode()), "a.csv")
    boundary, data = encode_multipart(fields | typed | {"sender": SENDER, "file": file})
    content_type = f"multipart/form-data; boundary={boundary}"
    with full_disk():
        return person.client.post("/batches", data=data, content_type=content_type)


def test_file_that_cannot_be_stored_loses_no_text(app: Flask, alice: Person) -> None:
    typed = {"body": "Dear ((name))", "quiet_from": "21:00", "quiet_until": "08:00"}
    refused = send_form(alice, LARGE, **typed)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert f"Nothing was saved: {FULL}. Choose the file again" in words(refused.text)
    assert "Dear ((name))</textarea>" in refused.text
    assert 'value="21:00"' in refused.text
    assert count_batches(app) == 0


def test_file_whose_last_bytes_find_no_room_is_not_taken_for_whole() -> None:
    file = UploadedFile()
    file.close()
    file._file = open_full()
    file.write(b"x")
    assert file.error is not None
    assert file.seek(0, 2) == 0


def test_small_file_needs_no_room(app: Flask, alice: Person) -> None:
    assert send_form(alice, people(3), body="Hi ((name))").status_code == 303
    assert count_batches(app) == 1


def count_batches(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(Batch)) or 0


@pytest.mark.both_databases
def test_check_waits_for_room_and_holds_up_no_other(
    app: Flask, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = upload(alice, people(2)), upload(bob, people(3))
    named = tempfile.NamedTemporaryFile
    with full_disk(), monkeypatch.context() as patch:
        files = iter((open_full, named))
        patch.setattr(tempfile, "NamedTemporaryFile", lambda **facts: next(files)(**facts))
        assert check(app) == 2
    batch = read_batch(app, first)
    assert batch.state == BatchState.CHECKING
    assert read_batch(app, second).state == BatchState.READY
    page = words(alice.get(f"/batches/{batch.public_id}").text)
    assert f"The rows cannot be checked yet: {FULL}. The check is tried again" in page
    assert upload(alice, people(2)) == first
    with time_machine.travel(utcnow() + CHECK_LEASE + timedelta(seconds=1)):
        check(app)
    batch = read_batch(app, first)
    assert (batch.state, batch.good_count, batch.check_delay) == (BatchState.READY, 2, None)


def test_program_learns_why_its_batch_is_not_checked(app: Flask) -> None:
    program = Program(app)
    body = {"text": "Hi", "rows": [{"to": number(1)}], "start_count": 1}
    key = {"Idempotency-Key": "k"}
    program.post("batches", json=body, headers=key)
    with full_disk():
        check(app)
    again = program.post("batches", json=body, headers=key)
    assert (again.status_code, again.json["state"]) == (200, "checking")
    assert FULL in again.json["problem"]
    with time_machine.travel(utcnow() + CHECK_LEASE + timedelta(seconds=1)):
        check(app)
    again = program.post("batches", json=body, headers=key)
    assert (again.json["state"], again.json["problem"]) == ("running", None)


def test_file_that_the_app_makes_for_an_answer_finds_no_room(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.test_cli_runner().invoke(args=["users", "add", alice.email, "--admin"])
    ready_batch(alice, people(1))
    with open("/dev/full", "w+b", buffering=0) as file, monkeypatch.context() as patch:
        patch.setattr("smstracker.privacy.views.TemporaryFile", lambda: file)
        answer = alice.post("/privacy/export", {"number": number(0)}, page="/privacy")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "The server's disk for temporary files is full. Try again" in words(answer.text)


def test_program_is_told_of_a_full_disk_as_of_any_problem(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> None:
        with open_full() as file:
            file.write(b"x")

    program = Program(app)
    monkeypatch.setitem(app.view_functions, "api.send_batch", write)
    answer = program.post("batches", json={}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json["detail"].startswith("The server's disk for temporary files is full.")
