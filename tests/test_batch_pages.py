"""The pages of batches, from the upload to the file with the outcomes."""

import csv
import io
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select, update
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from smstracker.batches import batch_counts, control, resending, uploads
from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.models import Batch, Message, SavedText, SenderPace, message_drafts
from smstracker.models.audit_log import COMMAND_LINE
from smstracker.models.batches import BatchState
from smstracker.privacy.batch_removal import remove_expired_batches
from smstracker.privacy.removal import delete_messages
from smstracker.sms.quiet_hours import QuietHours
from smstracker.web.request_framing import MAX_BODY_BYTES, MAX_UPLOAD_BYTES
from tests import spreadsheets
from tests.batches import (
    SENDER,
    check,
    earlier_message,
    number,
    people,
    queue,
    read_batch,
    read_messages,
    ready_batch,
    start,
    upload,
)
from tests.clients import Person, hidden, words
from tests.programs import Program

MakeApp = Callable[..., Flask]
MINUTE = timedelta(minutes=1)


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(SEND_PER_SECOND="10000", SEND_LIMIT_PER_DAY="100000")


def post_form(person: Person, content: bytes | str | None = None, **fields: Any) -> TestResponse:
    """Fill in and send the form of a new batch."""
    page = person.client.get("/batches/new").text
    data = {
        "csrf_token": hidden(page, "csrf_token"),
        "form_id": hidden(page, "form_id"),
        "body": "Hi ((name))",
        "sender": SENDER,
        **fields,
    }
    if content is not None:
        raw = content.encode() if isinstance(content, str) else content
        data["file"] = (io.BytesIO(raw), "people.csv")
    return person.client.post("/batches", data=data, content_type="multipart/form-data")


def post(person: Person, path: str, **fields: str) -> TestResponse:
    page = person.client.get("/batches/new").text
    return person.client.post(path, data={"csrf_token": hidden(page, "csrf_token"), **fields})


def url(app: Flask, batch_id: int) -> str:
    return f"/batches/{read_batch(app, batch_id).public_id}"


def page(person: Person, batch_id: int, query: str = "") -> str:
    return words(person.client.get(url(person.app, batch_id) + query).text)


def settle(app: Flask, batch_id: int, position: int, status: str, code: str | None = None) -> None:
    message = read_messages(app, batch_id)[position]
    with app.app_context(), writing():
        changes = {"status": status, "error_code": code}
        db.session.execute(update(Message).where(Message.id == message.id).values(changes))


def test_upload_leads_to_the_page_of_its_check(app: Flask, alice: Person) -> None:
    response = post_form(alice, people(3))
    assert response.status_code == 303
    assert "Being checked" in words(alice.client.get(response.location).text)
    check(app)
    shown = words(alice.client.get(response.location).text)
    assert "Ready, not sent" in shown
    changing = alice.client.get(response.location).text.partition('id="batch"')[2]
    changing = changing.partition('aria-label="The batch"')[0]
    assert "Unless it is sent, this batch is deleted" in changing, "what batch.js replaces"
    assert "Send to 3 people" in shown
    assert "Hi Person 0" in shown


def test_form_that_was_sent_before_with_another_file_says_so(app: Flask, alice: Person) -> None:
    key = str(uuid.uuid4())
    first, second = (post_form(alice, people(count), form_id=key) for count in (1, 2))
    assert first.location != second.location
    shown = words(alice.client.get(second.location).text)
    assert "has made another batch before, “people.csv”, which is not started" in shown


def test_spreadsheet_and_pasted_numbers_are_taken(app: Flask, alice: Person) -> None:
    sheet = spreadsheets.xlsx({"People": [["phone", "name"], [number(1), "Ann"]]})
    assert post_form(alice, sheet).status_code == 303
    assert post_form(alice, pasted=f"{number(1)}, {number(2)}", body="Hi").status_code == 303
    check(app)
    assert [read_batch(app, batch_id).good_count for batch_id in (1, 2)] == [1, 2]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "Choose a file, or paste numbers below."),
        ({"pasted": "1", "body": " "}, "Type a text."),
        ({"pasted": "1", "body": "Hi ((name"}, "does not end with ))"),
        ({"pasted": "1", "body": "x" * 1601}, "1 more than one message can hold"),
        ({"pasted": "1", "quiet_from": "21:00"}, "Choose both times"),
        ({"pasted": "1", "quiet_from": "21:00", "quiet_until": "21:00"}, "two different times"),
        ({"pasted": "1", "quiet_from": "9pm", "quiet_until": "8:00"}, "like 21:00"),
        (
            {"pasted": "1", "quiet_from": "21:00", "quiet_until": "08:00", "quiet_zone": "Nowhere"},
            "No time zone is called",
        ),
        ({"pasted": "1", "form_id": "x"}, "The form was incomplete"),
        ({"pasted": "1", "form_id": str(uuid.uuid5(uuid.NAMESPACE_OID, "2"))}, "incomplete"),
    ],
)
def test_form_says_what_is_missing(alice: Person, fields: dict[str, str], problem: str) -> None:
    response = post_form(alice, **fields)
    assert response.status_code == 422
    assert problem in words(response.text)


def test_file_and_pasted_numbers_are_too_much(alice: Person) -> None:
    response = post_form(alice, people(1), pasted="1")
    assert "not both" in words(response.text)


def test_form_comes_back_with_its_text_if_the_file_is_too_large(alice: Person) -> None:
    file = FileStorage(io.BytesIO(b"x" * (MAX_UPLOAD_BYTES + 1)), "people.csv")
    fields = {"body": "Dear ((name))", "file": file, "pasted": "+1", "quiet_from": "21:00"}
    boundary, data = encode_multipart(fields)
    content_type = f"multipart/form-data; boundary={boundary}"
    answer = alice.client.post("/batches", data=data, content_type=content_type)
    assert answer.status_code == 413
    assert "The file has 27 MB; at most 25 MB can be read. Delete the columns" in words(answer.text)
    for typed in ("\nDear ((name))</textarea>", 'value="21:00"', "+1</textarea>"):
        assert typed in answer.text


class SlowLine(io.BytesIO):
    """A body that tells whether a transaction is open while it is read."""

    had_transaction = False

    def read(self, size: int | None = -1) -> bytes:
        self.had_transaction |= db.session().in_transaction()
        return super().read(size)

    def readinto(self, buffer: Any) -> int:
        self.had_transaction |= db.session().in_transaction()
        return super().readinto(buffer)


@pytest.mark.parametrize(
    ("size", "code"), [(MAX_BODY_BYTES, 303), (MAX_UPLOAD_BYTES, 413)], ids=["large", "too large"]
)
def test_no_transaction_is_open_while_a_file_arrives(alice: Person, size: int, code: int) -> None:
    page = alice.client.get("/batches/new").text
    fields = {name: hidden(page, name) for name in ("csrf_token", "form_id")}
    fields |= {"body": "Hi ((name))", "sender": SENDER}
    file = FileStorage(io.BytesIO(people(1).encode() + b"\n" * size), "people.csv")
    boundary, data = encode_multipart({**fields, "file": file})
    body = SlowLine(data)
    answer = alice.client.post(
        "/batches",
        input_stream=body,
        content_length=len(data),
        content_type=f"multipart/form-data; boundary={boundary}",
    )
    assert (answer.status_code, body.had_transaction) == (code, False)


def test_no_transaction_is_open_while_the_rows_of_a_program_arrive(app: Flask) -> None:
    content = b'{"text": "Hi", "rows": [{"to": "+15558675310"}]}'
    body, program = SlowLine(content), Program(app)
    program.get("messages")  # the first use of a token is stored
    answer = program.post(
        "batches",
        input_stream=body,
        content_length=len(content),
        headers={"Content-Type": "application/json", "Idempotency-Key": "k"},
    )
    assert (answer.status_code, body.had_transaction) == (202, False)


EMPTY_FIELD = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
LONG_NAME = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n\r\n' % (b"n" * 60_000)
ENDLESS_NAME = b'--b\r\nContent-Disposition: form-data; name="' + b"n" * MAX_UPLOAD_BYTES


@pytest.mark.parametrize(
    "part", [EMPTY_FIELD, LONG_NAME, ENDLESS_NAME], ids=["empty", "long name", "endless name"]
)
def test_of_too_large_a_form_with_other_parts_only_the_beginning_is_read(
    alice: Person, part: bytes
) -> None:
    typed = b'--b\r\nContent-Disposition: form-data; name="body"\r\n\r\nDear\r\n'
    body = io.BytesIO(typed + part * (MAX_UPLOAD_BYTES // len(part) + 1))
    content_type = "multipart/form-data; boundary=b"
    answer = alice.client.post("/batches", input_stream=body, content_type=content_type)
    assert answer.status_code == 413
    assert "\nDear</textarea>" in answer.text
    assert body.tell() <= 256 * 1024


@pytest.mark.parametrize(
    ("content_type", "part"),
    [
        ("application/x-www-form-urlencoded", b"a&"),
        ("multipart/form-data; boundary=b", EMPTY_FIELD),
    ],
    ids=["urlencoded", "multipart"],
)
def test_form_of_many_empty_fields_is_refused_early(
    alice: Person, content_type: str, part: bytes
) -> None:
    body = io.BytesIO(part * (1024 * 1024 // len(part)))
    answer = alice.client.post("/batches", input_stream=body, content_type=content_type)
    assert answer.status_code == 413
    assert body.tell() <= 256 * 1024


def test_more_numbers_than_another_form_may_hold_can_be_pasted(app: Flask, alice: Person) -> None:
    lines = "\n".join(["phone", *(number(position) for position in range(12_000))])
    answer = post_form(alice, pasted=lines, body="Hi")
    assert answer.status_code == 303


def outcome_rows(person: Person, batch_id: int, name: str = "outcome") -> list[list[str]]:
    file = person.client.get(f"{url(person.app, batch_id)}/{name}.csv").text
    return list(csv.reader(io.StringIO(file.lstrip("\ufeff"))))


@pytest.mark.both_databases
def test_first_of_pasted_lines_is_row_1_and_none_is_taken_for_headings(
    app: Flask, alice: Person
) -> None:
    lines = f"Ann {number(1)}\n\nBo 12\nCy: {number(3)}"
    post_form(alice, pasted=lines)
    check(app)
    shown = page(alice, 1)
    assert "Hi Ann" in shown
    assert "Next: row 4" in shown
    for told in ("headings", "named by", "column", "names the", "file"):
        assert told not in shown, told
    assert "Correct the lines" in shown
    form = alice.client.get(f"/batches/new?like={read_batch(app, 1).public_id}").text
    assert f"{lines}</textarea>" in form
    [heading, problem] = outcome_rows(alice, 1, "problems")
    assert (heading, problem[:3]) == (["phone", "name", "row", "problem"], ["12", "Bo", "3"])
    start(app, 1)
    queue(app)
    outcomes = [row[:4] for row in outcome_rows(alice, 1)[1:]]
    assert outcomes == [
        [number(1), "Ann", "1", number(1)],
        ["12", "Bo", "3", ""],
        [number(3), "Cy", "4", number(3)],
    ]
    assert [message.body for message in read_messages(app, 1)] == ["Hi Ann", "Hi Cy"]
    # What comes back can be uploaded again.
    file = alice.client.get(f"{url(app, 1)}/outcome.csv").data
    assert read_batch(app, ready_batch(alice, file, "Hi ((name))")).good_count == 2


def test_every_one_of_plain_pasted_numbers_is_sent_to(app: Flask, alice: Person) -> None:
    post_form(alice, pasted=f"{number(1)}\n{number(2)}", body="Hi")
    check(app)
    shown = page(alice, 1)
    assert "Send to 2 people" in shown
    assert "names the columns" not in shown
    assert "Row 1" in shown


def test_lines_and_a_file_of_the_same_bytes_are_two_batches(app: Flask, alice: Person) -> None:
    content = f"12\n{number(1)}"
    assert post_form(alice, content, body="Hi").location != (
        post_form(alice, pasted=content, body="Hi").location
    )
    check(app)
    assert [read_batch(app, batch_id).row_count for batch_id in (1, 2)] == [1, 2]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("Hi ((street))", "The text has ((street)). Pasted lines hold only a number and a name"),
        ("Hi ((name))", "None of the lines can be sent. Correct the lines."),
    ],
)
def test_field_that_lines_do_not_hold_is_told_and_the_lines_come_back(
    app: Flask, alice: Person, body: str, problem: str
) -> None:
    post_form(alice, pasted=number(1), body=body)
    check(app)
    assert problem in page(alice, 1)
    assert "Change the text or the lines" in page(alice, 1)
    form = alice.client.get(f"/batches/new?like={read_batch(app, 1).public_id}").text
    assert f"{number(1)}</textarea>" in form


def test_rest_of_pasted_lines_is_sent_again_as_lines(app: Flask, alice: Person) -> None:
    post_form(alice, pasted=f"Ann {number(1)}\nBo {number(2)}")
    check(app)
    start(app, 1)
    queue(app)
    settle(app, 1, 0, "delivered")
    settle(app, 1, 1, "unreached")
    queue(app)
    post(alice, f"{url(app, 1)}/again")
    check(app)
    shown = page(alice, 2)
    assert "Hi Bo" in shown
    assert "column" not in shown


def test_nul_in_pasted_lines_is_told(alice: Person) -> None:
    response = post_form(alice, pasted=f"Ann\0 {number(1)}")
    assert response.status_code == 422
    assert "What you pasted contains a character (NUL)" in words(response.text)


def test_pasted_names_are_filled_in_and_two_numbers_are_told(app: Flask, alice: Person) -> None:
    lines = [f"Ann {number(1)}", f"Bo: {number(2)}, Smith", f"Cy {number(3)} or {number(4)}"]
    response = post_form(alice, pasted="\n".join(lines))
    check(app)
    shown = words(alice.client.get(response.location).text)
    assert "Hi Ann" in shown
    assert "phone: That looks like more than one number." in shown
    assert "Hi Bo Smith" in words(alice.client.get(f"{response.location}?row=2").text)


def test_form_says_what_to_delete_and_keeps_its_text(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_DRAFTS", 1)
    post_form(alice, people(2))
    refused = post_form(alice, people(3), body="Dear ((name))")
    assert refused.status_code == 409
    assert "Dear ((name))</textarea>" in refused.text
    assert "batches are uploaded and not sent. Send or delete some" in words(refused.text)


def test_batches_of_others_are_not_there(app: Flask, alice: Person, bob: Person) -> None:
    batch_id = ready_batch(alice, people(1))
    path = url(app, batch_id)
    for suffix in ("", "/outcome.csv", "/problems.csv"):
        assert bob.client.get(path + suffix).status_code == 404
    for action in ("start", "pause", "resume", "stop", "discard", "again", "choose", "save-text"):
        assert post(bob, f"{path}/{action}", count="1").status_code == 404
    assert "people.csv" not in bob.client.get("/batches").text
    assert "people.csv" in alice.client.get("/batches").text


@pytest.mark.both_databases
def test_list_tells_batches_apart(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_batch(alice, people(2), "The clinic is closed")
    for text in ("Hi ((name))", f"Dear ((name)), {'see you ' * 30}"):
        batch_id = ready_batch(alice, people(5, "12,Bad"), text)
        start(app, batch_id, knows_equal=True)
        queue(app)
        for position, status in enumerate(("delivered", "undelivered", "unreached", "canceled")):
            settle(app, batch_id, position, status)
    shown = words(alice.client.get("/batches").text)
    assert "people.csv The clinic is closed 2 messages" in shown
    progress = "2 of 5 handed over, 2 failed, 1 row left out"
    assert f"Hi ((name)) {progress}" in shown
    assert re.search(rf"Dear \(\(name\)\), see you [^0-9]+\.\.\. {progress}", shown)
    monkeypatch.setattr(batch_counts, "MAX_COUNTED", 7)
    shown = words(alice.client.get("/batches").text)
    assert shown.count(progress) == 1, "the newest batch; the page of the other one counts it"
    assert "Hi ((name)) 5 messages, 1 row left out" in shown


def test_preview_shows_any_row_and_its_neighbours(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(3, "12,Bad", f"{number(9)},Last"))
    shown = page(alice, batch_id, "?row=4")
    assert "Hi Person 2" in shown
    assert "Previous: row 3 Next: row 6" in shown
    assert "Hi Last" in page(alice, batch_id, "?row=5"), "a row that cannot be sent"


@pytest.mark.both_databases
@pytest.mark.parametrize("number", ["-1", "x", str(2**31), str(10**30)])
def test_number_of_no_row_or_batch_is_no_server_error(
    app: Flask, alice: Person, number: str
) -> None:
    batch_id = ready_batch(alice, people(1))
    assert "Hi Person 0" in page(alice, batch_id, f"?row={number}")
    assert alice.client.get(f"/batches?before={number}").status_code in (200, 404)


def test_problems_and_warnings_are_shown_and_do_not_block(app: Flask, alice: Person) -> None:
    lines = [f"{position},Bad" for position in range(1, 13)]
    batch_id = ready_batch(alice, people(2, f"{number(0)},✓✓", *lines))
    shown = page(alice, batch_id)
    assert "12 rows cannot be sent" in shown
    assert shown.count("phone: ") == 10
    assert "1 row repeats the number of an earlier row. Row 4 ." in shown
    assert "1 row costs more because of a character" in shown
    response = alice.client.get(f"{url(app, batch_id)}/problems.csv")
    rows = list(csv.reader(io.StringIO(response.text.lstrip("\ufeff"))))
    assert rows[0] == ["phone", "name", "row", "problem"]
    assert len(rows) == 13
    assert rows[1][:3] == ["1", "Bad", "5"]


def test_heading_that_is_a_formula_runs_in_no_file(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, f"=1+2 phone\n{number(0)}\n12", "Hi")
    for name in ("problems", "outcome"):
        response = alice.client.get(f"{url(app, batch_id)}/{name}.csv")
        rows = csv.reader(io.StringIO(response.text.lstrip("\ufeff")))
        assert not [cell for row in rows for cell in row if cell.startswith("=")], name


def test_price_is_that_of_earlier_messages(app: Flask, alice: Person) -> None:
    earlier_message(alice, number(0), price_micros=7_900, price_unit="USD", segments=1)
    shown = page(alice, ready_batch(alice, people(100, "+491512345678,Ann")))
    assert "about 0.79 USD, as Twilio charged for your last message; not known for +49" in shown


def test_column_is_chosen_on_the_page(app: Flask, alice: Person) -> None:
    batch_id = upload(alice, f"phone,mobile\n{number(1)},{number(2)}", "Hi")
    check(app)
    shown = page(alice, batch_id)
    assert "Which column holds the numbers? phone mobile" in shown
    post(alice, f"{url(app, batch_id)}/choose", column="mobile")
    check(app)
    assert "Send to 1 person" in page(alice, batch_id)


def test_start_asks_for_the_number_once(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(1204))
    path = url(app, batch_id)
    response = post(alice, f"{path}/start", count="12")
    assert (response.status_code, read_batch(app, batch_id).state) == (409, BatchState.READY)
    field = re.search(r'<input id="count"[^>]*>', response.text)
    assert field
    for attribute in ('value="12"', 'aria-describedby="count-error"', "autofocus"):
        assert attribute in field[0]
    error = re.search(r'<p class="error" id="count-error">(.*?)</p>', response.text)
    assert error
    assert error[1] == "Nothing was sent. Type 1204, the number of messages, to send them."
    assert post(alice, f"{path}/start", count="1,204").status_code == 303
    assert post(alice, f"{path}/start", count="1,204").status_code == 303
    assert "0 of 1,204 handed over (0 %)" in page(alice, batch_id)


def test_equal_batch_is_asked_about_with_the_first_one(app: Flask, alice: Person) -> None:
    start(app, ready_batch(alice, people(2)))
    batch_id = ready_batch(alice, people(2))
    shown = page(alice, batch_id)
    assert "The same texts were sent to the same people before: people.csv" in shown
    path = f"{url(app, batch_id)}/start"
    refused = post(alice, path, count="2").text
    assert "Nothing was sent. Tick the box" in words(refused)
    assert re.search(r'<input id="count"[^>]* value="2"', refused)
    assert post(alice, path, count="2", equal="1").status_code == 303


def test_progress_counts_outcomes_and_reasons(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(5, "12,Bad"))
    start(app, batch_id)
    queue(app)
    settle(app, batch_id, 0, "delivered")
    settle(app, batch_id, 1, "undelivered", "30003")
    settle(app, batch_id, 2, "undelivered", "30003")
    settle(app, batch_id, 3, "sent")
    shown = page(alice, batch_id)
    assert "4 of 5 handed over (80 %)" in shown
    assert "Waiting here 1 Handed over 4 Waiting for an outcome 1 Delivered 1 Failed 2" in shown
    assert "Left out 1 row that" in shown
    assert re.search(r"Why messages failed Reason Messages [^0-9]+ 2", shown)


def test_pause_resume_and_stop_by_their_buttons(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(3))
    start(app, batch_id)
    path = url(app, batch_id)
    for action, state in (("pause", "paused"), ("resume", "running"), ("stop", "stopped")):
        assert post(alice, f"{path}/{action}").status_code == 303
        assert read_batch(app, batch_id).state == state
    post(alice, f"{path}/resume")
    assert read_batch(app, batch_id).state == "stopped"


def test_resume_asks_after_a_pause_of_days(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(3))
    start(app, batch_id)
    queue(app)
    path = url(app, batch_id)
    with time_machine.travel(utcnow(), tick=False) as clock:
        post(alice, f"{path}/pause")
        assert re.search(r"From .+ on, Resume asks first", page(alice, batch_id))
        clock.shift(timedelta(days=5))
        assert "Resume asks first" not in page(alice, batch_id)
        answer = post(alice, f"{path}/resume")
        assert read_batch(app, batch_id).state == "paused"
        asked = words(alice.client.get(answer.location).text)
        assert re.search(r"Send the rest now\? .+ 3 messages are not handed over yet\.", asked)
        post(alice, f"{path}/resume", pause="known")
    assert read_batch(app, batch_id).state == "running"


def test_stop_is_asked_about_and_does_not_look_like_done(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(5))
    start(app, batch_id)
    queue(app)
    settle(app, batch_id, 0, "delivered")
    path = url(app, batch_id)
    assert f"{path}/stop" not in alice.client.get(path).text
    asked = alice.client.get(f"{path}?ask=stop").text
    assert "Stop the rest? 4 messages are not handed over yet." in words(asked)
    assert "data-refresh" not in asked
    post(alice, f"{path}/stop")
    for _ in range(2):  # before and after what waits is cancelled
        shown = page(alice, batch_id)
        assert "1 of 5 handed over" in shown
        assert "Not sent 4, because the rest was stopped" in shown
        assert "Cancelled" not in shown
        queue(app)
    file = alice.client.get(f"{path}/outcome.csv").text
    assert (file.count('"Not sent"'), file.count("Cancelled")) == (4, 0)


def test_those_who_were_stopped_are_sent_to_once_more(make_app: MakeApp) -> None:
    app = make_app()  # 30 of a minute wait
    alice = Person.signed_in(app, "alice@example.org")
    batch_id = ready_batch(alice, people(40, "12,Bad"))
    start(app, batch_id)
    queue(app)
    settle(app, batch_id, 0, "delivered")
    settle(app, batch_id, 1, "canceled")  # alone, before the stop
    path = url(app, batch_id)
    with time_machine.travel(utcnow() + timedelta(minutes=1), tick=False):
        post(alice, f"{path}/stop")
        assert "(28 still being cancelled)" in page(alice, batch_id)
        assert "who were stopped" not in page(alice, batch_id)
        assert 'data-refresh="2"' in alice.client.get(path).text
        queue(app)
    assert "still being cancelled" not in page(alice, batch_id)
    assert "Send to the 38 who were stopped" in page(alice, batch_id)
    post(alice, f"{path}/again")
    check(app)
    assert "Send to 38 people" in page(alice, batch_id + 1)
    assert "Send to the 38 who were stopped" in page(alice, batch_id)
    start(app, batch_id + 1)
    assert "who were stopped" not in page(alice, batch_id)
    queue(app)
    # Stopped as well, and once more: nobody is sent to twice, whichever of them is sent again.
    post(alice, f"{url(app, batch_id + 1)}/stop")
    settle(app, batch_id + 1, 0, "delivered")
    with time_machine.travel(utcnow() + timedelta(minutes=1), tick=False):
        queue(app)
    post(alice, f"{url(app, batch_id + 1)}/again")
    check(app)
    start(app, batch_id + 2)
    while queue(app):
        with app.app_context(), writing():
            is_waiting = Message.status == "outbox"
            db.session.execute(update(Message).where(is_waiting).values(status="delivered"))
    with app.app_context():
        delivered = select(Message.recipient).where(Message.status == "delivered")
        recipients = db.session.scalars(delivered).all()
    assert sorted(recipients) == [number(0), *map(number, range(2, 40))]


def test_page_says_why_a_batch_waits_instead_of_when_it_ends(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(5))
    start(app, batch_id)
    queue(app)
    now = utcnow()
    with app.app_context(), writing():
        handed_over = update(Message).where(Message.id <= 2)
        db.session.execute(handed_over.values(status="queued", handed_over_at=now - MINUTE))
    with time_machine.travel(now + timedelta(seconds=30), tick=False):
        assert "At the present pace" in page(alice, batch_id)
        with app.app_context(), db.engine.begin() as connection:
            SenderPace.pause(connection, SENDER, "20429", utcnow())
        shown = page(alice, batch_id)
        assert "Twilio asks to slow down, so the messages of this sender wait. Next try at" in shown
        assert "At the present pace" not in shown


def test_page_of_a_batch_that_is_over_follows_its_outcomes(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(1))
    start(app, batch_id)
    queue(app)
    for status, refreshes in (("queued", True), ("delivered", False)):
        settle(app, batch_id, 0, status)
        queue(app)
        assert read_batch(app, batch_id).state == BatchState.DONE
        assert ("data-refresh" in alice.client.get(url(app, batch_id)).text) is refreshes


@pytest.mark.parametrize("rows", [people(1), "12,Bad"])
def test_form_of_a_batch_that_is_made_anew_has_all_but_the_file(
    app: Flask, alice: Person, bob: Person, rows: str
) -> None:
    window = {"quiet_from": "22:00", "quiet_until": "07:30", "quiet_zone": "berlin"}
    post_form(alice, rows, body="Dear ((name)), how are you?", **window)
    check(app)
    link = f"/batches/new?like={read_batch(app, 1).public_id}"
    assert link in alice.client.get(url(app, 1)).text
    form = alice.client.get(link).text
    for value in ("Dear ((name)), how are you?", "22:00", "07:30", "Europe/Berlin"):
        assert value in form
    assert bob.client.get(link).status_code == 404


def test_message_of_a_batch_says_why_it_waits(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(1))
    start(app, batch_id)
    queue(app)
    [message] = read_messages(app, batch_id)

    def shown() -> str:
        return words(alice.client.get(f"/messages/{message.public_id}").text)

    assert "Batch people.csv" in shown()
    assert "Its batch" not in shown()
    post(alice, f"{url(app, batch_id)}/pause")
    assert "Its batch is paused. It is not sent until you press Resume there." in shown()
    post(alice, f"{url(app, batch_id)}/resume")
    with app.app_context(), writing():
        batch = db.session.get_one(Batch, batch_id)
        batch.set_quiet_hours(QuietHours(0, 24 * 60 - 1, "UTC"))
    with time_machine.travel(datetime(2026, 11, 28, 12, 0, tzinfo=UTC), tick=False):
        assert "Its batch has quiet hours. It goes on at 28 Nov 2026, 23:59" in shown()


def test_quiet_hours_are_set_and_shown(app: Flask, alice: Person) -> None:
    window = {"quiet_from": "00:00", "quiet_until": "23:59", "quiet_zone": "berlin"}
    post_form(alice, people(1), **window)
    check(app)
    assert "00:00 to 23:59 (Europe/Berlin)" in page(alice, 1)


@pytest.mark.parametrize(
    ("path", "name"),
    [("/batches/new", "quiet_zone"), ("/messages/new", "send_zone"), ("/settings", "time_zone")],
)
def test_zones_are_offered_without_script(alice: Person, path: str, name: str) -> None:
    page = alice.client.get(path).text
    field = re.search(rf'<input[^>]*name="{name}"[^>]*>', page)
    assert field
    assert 'list="zones"' in field[0]
    offered = page.partition('<datalist id="zones">')[2].partition("</datalist>")[0]
    assert '<option value="Europe/Berlin">' in offered


def test_file_comes_back_with_the_outcomes_in_its_own_order(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(2, "12,=1+1", f"{number(7)},Late"), "Hi")
    start(app, batch_id)
    queue(app)
    settle(app, batch_id, 0, "delivered")
    settle(app, batch_id, 1, "undelivered", "30006")
    response = alice.client.get(f"{url(app, batch_id)}/outcome.csv")
    rows = list(csv.reader(io.StringIO(response.text.lstrip("\ufeff"))))
    assert rows[0][:6] == ["phone", "name", "row", "sent_to", "outcome", "reason"]
    assert [row[:5] for row in rows[1:]] == [
        [number(0), "Person 0", "2", number(0), "Delivered"],
        [number(1), "Person 1", "3", number(1), "Not delivered"],
        ["12", "'=1+1", "4", "", "Cannot be sent"],
        [number(7), "Late", "5", number(7), "Queued here"],
    ]
    # What comes back can be uploaded again.
    again = ready_batch(alice, response.data, "Hi ((name))")
    assert read_batch(app, again).good_count == 3


def test_outcome_of_a_row_whose_message_is_deleted_is_not_known(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(2))
    start(app, batch_id)
    queue(app)
    settle(app, batch_id, 0, "delivered")
    message_id = read_messages(app, batch_id)[0].id
    with app.app_context(), db.engine.begin() as connection:
        now = utcnow()
        delete_messages(connection, [message_id], now, at_twilio=False, created_before=None)
    assert "Not known" in alice.client.get(f"{url(app, batch_id)}/outcome.csv").text


def test_failed_messages_for_which_it_makes_sense_are_sent_again(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(4))
    start(app, batch_id)
    queue(app)
    for position, (status, code) in enumerate(
        [
            ("undelivered", "30003"),
            ("undelivered", "30006"),
            ("delivered", None),
            ("unreached", None),
        ]
    ):
        settle(app, batch_id, position, status, code)
    queue(app)
    assert read_batch(app, batch_id).state == BatchState.DONE
    assert "3 of 4 handed over, 1 could not be" in page(alice, batch_id)
    assert "Send again to the 2 for whom it makes sense" in page(alice, batch_id)
    path = url(app, batch_id)
    response = post(alice, f"{path}/again")
    assert post(alice, f"{path}/again").location == response.location, "one batch"
    check(app)
    assert "Prepared to be sent again, and not sent yet: people.csv (again)" in page(
        alice, batch_id
    )
    assert "Send to 2 people" in words(alice.client.get(response.location).text)
    resend_id = batch_id + 1
    start(app, resend_id)
    queue(app)
    originals = read_messages(app, batch_id)
    resends = read_messages(app, resend_id)
    assert [message.resend_of_id for message in resends] == [originals[0].id, originals[3].id]
    assert "Sent again as people.csv (again)" in page(alice, batch_id)
    assert "for whom it makes sense" not in page(alice, batch_id)


@pytest.mark.parametrize("failed_before", [[0], [2], [0, 1, 2]])
def test_nobody_is_sent_to_a_third_time_after_an_error_worth_one_retry(
    app: Flask, alice: Person, failed_before: list[int]
) -> None:
    batch_id = ready_batch(alice, people(3))
    start(app, batch_id)
    queue(app)
    for position in failed_before:
        settle(app, batch_id, position, "undelivered", "30003")
    with app.app_context(), writing():
        control.stop(batch_id, COMMAND_LINE)
    queue(app)
    post(alice, f"{url(app, batch_id)}/again")
    check(app)
    start(app, batch_id + 1)
    queue(app)
    for position in range(3):
        settle(app, batch_id + 1, position, "undelivered", "30003")
    queue(app)
    with app.app_context():
        second = db.session.get_one(Batch, batch_id + 1)
        assert resending.count_resendable(second, utcnow()) == 3 - len(failed_before)


def test_message_that_was_sent_again_meanwhile_is_left_out(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(1))
    start(app, batch_id)
    queue(app)
    settle(app, batch_id, 0, "unreached")
    queue(app)
    post(alice, f"{url(app, batch_id)}/again")
    check(app)
    start(app, batch_id + 1)
    original_id = read_messages(app, batch_id)[0].id
    with app.app_context(), writing():
        message_drafts.create_resend(db.session.get_one(Message, original_id))
    queue(app)
    assert read_messages(app, batch_id + 1) == []


def test_log_shows_the_messages_of_one_batch(app: Flask, alice: Person, bob: Person) -> None:
    batch_id = ready_batch(alice, people(3))
    start(app, batch_id)
    queue(app)
    earlier_message(alice, number(0))
    public_id = read_batch(app, batch_id).public_id
    shown = alice.client.get(f"/messages?batch={public_id}").text
    assert shown.count("data-id=") == 3
    assert "Batch people.csv" in words(shown)
    for person, value in ((bob, public_id), (alice, uuid.uuid4()), (alice, "x")):
        assert person.client.get(f"/messages?batch={value}").status_code == 422
    export = alice.client.get(f"/messages/export.csv?batch={public_id}&state=waiting").text
    assert export.count("Person ") == 3


def test_unsent_batch_can_be_deleted_and_a_sent_one_not(app: Flask, alice: Person) -> None:
    first, second = ready_batch(alice, people(1)), ready_batch(alice, people(2))
    start(app, second)
    public_id = read_batch(app, first).public_id
    for batch_id in (first, second):
        post(alice, f"{url(app, batch_id)}/discard")
    assert alice.client.get(f"/batches/{public_id}").status_code == 404
    with app.app_context():
        for _ in remove_expired_batches():
            pass
        assert db.session.scalars(select(Batch.id)).all() == [second]


def test_text_is_saved_used_and_deleted(app: Flask, alice: Person, bob: Person) -> None:
    batch_id = ready_batch(alice, people(1))
    path = f"{url(app, batch_id)}/save-text"
    for name in ("Reminder", "Reminder"):
        post(alice, path, name=name)
    form = alice.client.get("/batches/new").text
    assert "You have a text called “Reminder” already" in form
    with app.app_context():
        saved_id = db.session.scalars(SavedText.select_owned(alice.id)).one().public_id
    assert "Hi ((name))</textarea>" in alice.client.get(f"/batches/new?saved={saved_id}").text
    assert bob.client.get(f"/batches/new?saved={saved_id}").status_code == 404
    assert post(bob, f"/batches/texts/{saved_id}/delete").status_code == 404
    form = alice.client.get("/messages/new").text
    assert f"/messages/new?saved={saved_id}" in form
    form = alice.client.get(f"/messages/new?saved={saved_id}").text
    assert "Hi ((name))</textarea>" in form
    assert bob.client.get(f"/messages/new?saved={saved_id}").status_code == 404
    post(alice, f"/batches/texts/{saved_id}/delete")
    assert "Reminder" not in alice.client.get("/batches/new").text.replace("“Reminder”", "")


def test_list_of_batches_has_pages(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_DRAFTS", 100)
    assert "No batches yet" in words(alice.client.get("/batches").text)
    for position in range(52):
        upload(alice, people(1), f"Hi {position}")
    first = alice.client.get("/batches").text
    assert first.count("people.csv") == 50
    older = re.search(r'class="older" href="([^"]+)"', first)
    assert older
    assert alice.client.get(older[1]).text.count("people.csv") == 2


def test_page_of_a_running_batch_refreshes_without_script(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(2))
    refresh = '<noscript><meta http-equiv="refresh"'
    assert refresh not in alice.client.get(url(app, batch_id)).text
    start(app, batch_id)
    assert refresh in alice.client.get(url(app, batch_id)).text


def test_text_that_still_holds_a_field_is_not_sent(alice: Person) -> None:
    response = alice.send(body="Hi ((name))")
    assert response.status_code == 422
    assert "“((name))” is a field that only a batch fills in" in words(response.text)
    assert alice.messages() == []
