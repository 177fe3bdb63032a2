"""Programs that send to many."""

import re
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from smstracker.batches import checking, control, uploads
from smstracker.clock import utcnow
from smstracker.models.api_tokens import TokenRights
from smstracker.models.batches import CHECK_LEASE
from smstracker.privacy.batch_removal import remove_expired_batches
from tests.batches import check, number, queue, read_messages
from tests.clients import Person, words
from tests.programs import Program
from tests.retention_settings import let_settings_begin
from tests.signing import BASE_URL

MakeApp = Callable[..., Flask]
ROWS = [{"to": number(1), "name": "Ann"}, {"to": number(2), "name": "Zoë, Bo"}]
TEXT = "Hi ((name))"


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(SEND_PER_SECOND="10000")


def send(program: Program, key: str = "k", **fields: Any) -> TestResponse:
    body = {"text": TEXT, "rows": ROWS, "from_": None} | fields
    body = {name.rstrip("_"): value for name, value in body.items() if value is not None}
    return program.post("batches", json=body, headers={"Idempotency-Key": key})


def read(program: Program, response: TestResponse) -> dict[str, Any]:
    answer: dict[str, Any] = program.get(f"batches/{response.json['id']}").json
    return answer


def test_batch_of_the_expected_number_starts_by_itself(app: Flask) -> None:
    program = Program(app)
    response = send(program, start_count=2, name="Parcels")
    assert (response.status_code, response.json["state"]) == (202, "checking")
    assert response.location == f"/api/v1/batches/{response.json['id']}"
    check(app)
    queue(app)
    assert [message.body for message in read_messages(app, 1)] == ["Hi Ann", "Hi Zoë, Bo"]
    batch = read(program, response)
    assert (batch["state"], batch["name"], batch["valid_rows"]) == ("running", "Parcels", 2)
    assert batch["counts"]["waiting_here"] == 2
    listed = program.get(f"messages?batch={batch['id']}").json["messages"]
    assert [message["recipient"] for message in listed] == [number(2), number(1)]


def test_batch_and_its_messages_name_the_token(app: Flask, alice: Person) -> None:
    program = Program(app, alice.email, name="Shop")
    public_id = send(program, start_count=2).json["id"]
    check(app)
    queue(app)
    paths = [f"/batches/{public_id}", f"/messages/{read_messages(app, 1)[0].public_id}"]
    for path in paths:
        assert "by the token Shop" in words(alice.get(path).text)


def test_program_uploads_not_without_end(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_DRAFTS", 1)
    program = Program(app)
    assert send(program, key="a").status_code == 202
    refused = send(program, key="b")
    assert (refused.status_code, refused.json["code"]) == (409, "too_many_batches")
    assert send(program, key="a").status_code == 200


def test_batch_of_another_number_waits_for_a_person(app: Flask) -> None:
    program = Program(app)
    response = send(program, start_count=3, rows=[*ROWS, {"to": "12", "name": "Bad"}])
    check(app)
    batch = read(program, response)
    assert (batch["state"], batch["rows"], batch["valid_rows"]) == ("ready", 3, 2)
    assert batch["problem"] == (
        "It was not started by itself: start_count is 3, and 2 rows can be sent."
    )
    assert batch["row_problems"][0]["row"] == 3
    assert batch["counts"] is None


def test_check_that_is_killed_before_the_start_is_done_anew(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(app)
    response = send(program, start_count=2)
    with monkeypatch.context() as patched:
        patched.setattr(control, "start", Mock(side_effect=SystemExit))
        with pytest.raises(SystemExit):
            check(app)
    assert read(program, response)["state"] == "checking"
    with time_machine.travel(utcnow() + CHECK_LEASE * 2, tick=False):
        check(app)
        assert read(program, response)["state"] == "running"


def test_batch_without_a_number_waits_for_a_person(app: Flask) -> None:
    program = Program(app)
    response = send(program)
    assert response.json["problem"] is None
    check(app)
    batch = read(program, response)
    assert (batch["state"], batch["problem"]) == (
        "ready",
        "Nothing is sent yet. A person starts it on its page.",
    )
    assert batch["url"] == f"{BASE_URL}/batches/{batch['id']}"
    assert batch["url"] == response.json["url"]


def test_same_request_is_one_batch_and_other_content_a_conflict(app: Flask) -> None:
    program = Program(app)
    first = send(program, start_count=2)
    again = send(program, start_count=2)
    assert (again.status_code, again.json["id"]) == (200, first.json["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    check(app)
    assert send(program, start_count=2).json["state"] == "running"
    other = send(program, text="Bye ((name))")
    assert (other.status_code, other.json["code"]) == (409, "idempotency_key_reused")


def test_request_whose_batch_was_refused_by_our_fault_is_checked_anew(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(app)
    first = send(program, start_count=2)
    with monkeypatch.context() as patch:
        patch.setattr(checking, "read_program_rows", None)
        check(app)
    refused = read(program, first)
    assert (refused["state"], "could not be checked" in refused["problem"]) == ("refused", True)
    again = send(program, start_count=2)
    assert (again.status_code, again.json["id"]) == (202, first.json["id"])
    assert (again.json["state"], again.json["problem"]) == ("checking", None)
    assert "Idempotent-Replayed" not in again.headers
    check(app)
    assert send(program, start_count=2).json["state"] == "running"
    queue(app)
    assert len(read_messages(app, 1)) == 2


def test_request_whose_rows_cannot_be_sent_is_not_checked_anew(app: Flask) -> None:
    program = Program(app)
    send(program, rows=[{"to": "1", "name": "Ann"}])
    check(app)
    again = send(program, rows=[{"to": "1", "name": "Ann"}])
    assert (again.status_code, again.json["state"]) == (200, "refused")


def test_request_whose_batch_was_deleted_sends_nothing_again(make_app: MakeApp) -> None:
    app = make_app(KEEP_MESSAGE_DAYS="1")
    program = Program(app)
    send(program)
    check(app)
    let_settings_begin(app)
    with app.app_context(), time_machine.travel(utcnow() + timedelta(days=2), tick=False):
        assert sum(remove_expired_batches()) == 3
    again = send(program)
    assert (again.status_code, again.json["code"]) == (409, "idempotency_key_reused")
    assert "was deleted here" in again.json["detail"]
    assert send(program, "other").status_code == 202


@pytest.mark.both_databases
def test_request_whose_batch_a_person_has_deleted_sends_nothing_again(
    app: Flask, alice: Person
) -> None:
    program = Program(app, alice.email)
    public_id = send(program, start_count=3).json["id"]
    check(app)
    alice.post(f"/batches/{public_id}/discard", page="/batches/new")
    for _ in range(2):  # before and after a worker deletes its rows
        again = send(program, start_count=3)
        assert (again.status_code, again.json["code"]) == (409, "idempotency_key_reused")
        assert "was deleted here" in again.json["detail"]
        with app.app_context():
            list(remove_expired_batches())
    assert send(program, "other", start_count=2).status_code == 202


@pytest.mark.parametrize("first_count", [None, 3])
def test_same_people_with_the_right_number_under_another_key_are_sent_to(
    app: Flask, first_count: int | None
) -> None:
    program = Program(app)
    send(program, start_count=first_count)
    check(app)
    other = send(program, start_count=2)
    assert (other.status_code, other.json["code"]) == (409, "idempotency_key_reused")
    second = send(program, "other", start_count=2)
    assert second.status_code == 202
    check(app)
    assert read(program, second)["state"] == "running"


@pytest.mark.both_databases
def test_rows_that_repeat_a_number_wait_for_a_person_unless_it_is_allowed(app: Flask) -> None:
    program, rows = Program(app), [*ROWS, ROWS[0], ROWS[1], {"to": "12", "name": "Bad"}]
    held = send(program, rows=rows, start_count=4)
    check(app)
    assert (read(program, held)["state"], read(program, held)["problem"]) == (
        "ready",
        "It was not started by itself: 2 rows repeat the number of an earlier row. Start it on its "
        "page, or send the rows with another Idempotency-Key and “repeats”: true.",
    )
    assert send(program, rows=rows, start_count=4, repeats=True).status_code == 409
    allowed = send(program, "other", rows=rows, start_count=4, repeats=True)
    check(app)
    assert read(program, allowed)["state"] == "running"


@pytest.mark.both_databases
def test_same_people_and_texts_wait_for_a_person_unless_it_is_allowed(app: Flask) -> None:
    program = Program(app)
    first = send(program, start_count=2)
    check(app)
    held = send(program, "other", start_count=2, repeats=True)
    check(app)
    batch = read(program, held)
    assert (batch["state"], batch["problem"]) == (
        "ready",
        "It was not started by itself: The same texts were sent to the same people before, by the "
        f"batch {first.json['id']}. Start it on its page, or send the rows with another "
        "Idempotency-Key and “again”: true.",
    )
    assert send(program, "other", start_count=2, again=True).status_code == 409
    allowed = send(program, "third", start_count=2, again=True)
    check(app)
    assert read(program, allowed)["state"] == "running"


@pytest.mark.parametrize("name", ["repeats", "again"])
def test_what_is_not_allowed_is_the_same_as_left_out(app: Flask, name: str) -> None:
    program = Program(app)
    first = send(program, start_count=2)
    again = send(program, start_count=2, **{name: False})
    assert (again.status_code, again.json["id"]) == (200, first.json["id"])


@pytest.mark.parametrize(
    ("module", "name", "value", "problem"),
    [
        (checking, "MAX_ROWS_BYTES", 10, "the rows hold more than"),
        (checking, "MAX_DRAFT_BYTES", 10, "of this batch, more than"),
        (checking, "find_row_warnings", None, "The rows could not be checked."),
        (control, "offered_senders", list, "Make a new batch with another one."),
        (control, "settings", lambda: Mock(send_limit_per_day=1), "Divide the batch, or ask"),
        (control, "count_of_day", lambda _id, _now: 10**6, "or divide the batch."),
    ],
)
def test_problem_tells_a_program_of_no_file(
    app: Flask,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    name: str,
    value: object,
    problem: str,
) -> None:
    program = Program(app)
    response = send(program, start_count=2)
    with monkeypatch.context() as patched:
        patched.setattr(module, name, value)
        check(app)
    sentence = read(program, response)["problem"]
    assert problem in sentence
    assert not re.search("file|upload|column|cell", sentence, re.I)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"text": " "}, "text"),
        ({"text": "Hi ((name"}, "text"),
        ({"text": 5}, "text"),
        ({"rows": []}, "rows"),
        ({"rows": [1]}, "rows"),
        ({"rows": [{"to": number(1), "name": ["x"]}]}, "rows[0]"),
        ({"rows": [{"to": number(1), "name": "\0"}]}, "rows[0]"),
        ({"rows": [{"to": number(1), "name": True}]}, "rows[0]"),
        ({"rows": [*ROWS, {"to": 14155550001, "name": "Cy"}]}, "rows[2]"),
        ({"rows": [{"to": number(1), "name": "x" * 20_000}]}, "rows[0]"),
        ({"from_": "+1999"}, "from"),
        ({"from_": ""}, "from"),
        ({"from_": 5}, "from"),
        ({"start_count": 0}, "start_count"),
        ({"start_count": 100_001}, "start_count"),
        ({"start_count": 2**31}, "start_count"),
        ({"start_count": 2**63}, "start_count"),
        ({"start_count": "2"}, "start_count"),
        ({"repeats": "send"}, "repeats"),
        ({"again": 1}, "again"),
        ({"other": 1}, "other"),
    ],
)
def test_all_that_is_wrong_is_told(app: Flask, fields: dict[str, Any], field: str) -> None:
    response = send(Program(app), **fields)
    assert response.status_code == 422
    assert field in [error["field"] for error in response.json["errors"]]


@pytest.mark.parametrize(
    ("rights", "code"),
    [
        (TokenRights(may_send=False), "token_read_only"),
        (TokenRights(limit_per_day=5), "batch_not_allowed"),
        (TokenRights(allowed_senders=["+15005550001"]), "sender_not_allowed"),
    ],
)
def test_token_without_the_right_sends_no_batch(app: Flask, rights: TokenRights, code: str) -> None:
    response = send(Program(app, rights=rights), from_="+15005550006")
    assert (response.status_code, response.json["code"]) == (403, code)


def test_batch_of_another_user_is_not_there(app: Flask) -> None:
    response = send(Program(app))
    other = Program(app, "bob@example.org").get(f"batches/{response.json['id']}")
    assert (other.status_code, other.json["code"]) == (404, "not_found")


def test_many_rows_are_more_than_other_requests_may_send(app: Flask) -> None:
    rows = [{"to": number(position % 10_000), "name": "x" * 100} for position in range(3_000)]
    assert send(Program(app), rows=rows).status_code == 202
    rows = [{"to": number(1), "name": "x" * 1_000}] * 9_000
    assert send(Program(app), rows=rows).status_code == 413
