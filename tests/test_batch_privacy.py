"""What batches hold of people: found, exported, erased and deleted in time."""

import json
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from io import BytesIO
from itertools import count as count_from
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from smstracker.batches import control, queueing
from smstracker.batches.checking import _Check, check_waiting
from smstracker.batches.resending import create_resend_batch
from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.models import (
    Batch,
    BatchFile,
    BatchRow,
    CarrierRemoval,
    Message,
    SavedText,
    User,
)
from smstracker.models.audit_log import COMMAND_LINE
from smstracker.models.batches import BatchState
from smstracker.models.user_changes import deactivate_user, delete_user
from smstracker.privacy import batch_rows, erasure, person_records
from smstracker.privacy.batch_removal import _delete_rows, _remove_portion, remove_expired_batches
from smstracker.privacy.batch_rows import FoundRows
from smstracker.privacy.export import write_export
from smstracker.privacy.portions import Portion
from smstracker.privacy.retention import remove_expired
from smstracker.web_templates import format_absolute_time
from tests.batches import (
    check,
    number,
    people,
    queue,
    read_batch,
    read_messages,
    read_rows,
    ready_batch,
    start,
    upload,
)
from tests.clients import Person, words
from tests.databases import await_lock_wait
from tests.retention_settings import let_settings_begin
from tests.signing import sid

pytestmark = pytest.mark.both_databases

MakeApp = Callable[..., Flask]
HELD = f"{number(7)},Person 7"
# The number as another column has it, without its country code, and spelled wrongly.
FILE = "\n".join(
    [
        "phone,name,mother",
        f"{number(7)},Person 7,",
        f"{number(8)},Person 8,{number(7)}",
        f"{number(9)},Person 9,",
        "415 555 0007 0,Wrong,",
    ]
)


def erase(app: Flask) -> None:
    with app.app_context():
        erasure.erase(number(7), at_twilio=False, actor="carol@example.org")


def remove_old(app: Flask, days: int) -> None:
    let_settings_begin(app)
    with app.app_context(), time_machine.travel(utcnow() + timedelta(days=days), tick=False):
        for _ in remove_expired_batches():
            pass


def count(app: Flask, table: type[Batch] | type[BatchRow] | type[BatchFile]) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(table)) or 0


def test_rows_of_a_person_are_found_and_exported(app: Flask, alice: Person) -> None:
    ready_batch(alice, FILE)
    with app.app_context():
        records = erasure.read_records(number(7))
        assert [key.number for key in records.batch_rows.keys] == [2, 3, 5]
        assert records.counts()["rows of batches"] == 3
        file = BytesIO()
        write_export(records, file)
    exported = json.loads(zipfile.ZipFile(file).read("export.json"))
    assert [row["cells"][0] for row in exported["batch_rows"]] == [
        number(7),
        number(8),
        "415 555 0007 0",
    ]


def test_person_who_may_be_in_an_unread_file_is_erased_and_gets_no_message(
    app: Flask, alice: Person
) -> None:
    """Nobody has read the one; in the other either column may hold the numbers."""
    admin = Person.signed_in(app, "carol@example.org")
    with app.app_context(), writing():
        db.session.scalars(User.select_by_email(admin.email)).one().administrator = True
    unread = upload(alice, FILE)
    refused = upload(alice, f"phone home,phone work\n{number(1)},{number(7)}\n")
    with app.app_context(), writing():
        Batch.lock(unread).start_count = 3
        Batch.lock(refused).state = BatchState.REFUSED
    page = words(admin.post("/privacy/person", {"number": number(7)}, page="/privacy").text)
    assert "Unread files of batches that may hold it 2" in page
    assert "They go too, and have to be uploaded again." in page
    erased = app.test_cli_runner().invoke(args=["messages", "erase", "--yes"], input=number(7))
    assert "2  unread files of batches that may hold it" in erased.output
    assert "Receipt " in erased.output
    check(app)
    queue(app)
    assert read_messages(app, unread) == []
    assert (count(app, BatchFile), count(app, BatchRow)) == (0, 0)
    assert (
        "Nothing is held"
        in admin.post("/privacy/person", {"number": number(7)}, page="/privacy").text
    )


def test_erasure_leaves_nothing_of_a_person_in_batches(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, FILE)
    erase(app)
    assert [(row.number, row.cells) for row in read_rows(app, batch_id)] == [
        (3, [number(8), "Person 8", ""]),
        (4, [number(9), "Person 9"]),
    ]
    with app.app_context():
        assert erasure.read_receipts()[0][0].batch_rows == 3


def test_row_whose_text_held_an_erased_number_is_not_sent(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, FILE, "Call ((mother))")
    with app.app_context(), writing():
        Batch.lock(batch_id)
    erase(app)
    problems = [row.problem for row in read_rows(app, batch_id)]
    assert problems[0] == "A cell was deleted when the data of a person was erased."


def test_message_that_waits_with_an_erased_number_in_its_text_is_cancelled(
    app: Flask, alice: Person
) -> None:
    file = f"phone,mother\n{number(8)},{number(7)}\n{number(9)},{number(6)}\n"
    batch_id = ready_batch(alice, file, "Call ((mother))")
    start(app, batch_id)
    queue(app)
    erase(app)
    messages = {m.recipient: m for m in read_messages(app, batch_id)}
    assert (messages[number(8)].status, messages[number(9)].status) == ("canceled", "outbox")


@pytest.mark.parametrize(
    "cell",
    [
        *("(415) 555-0007", "4155550007 ext 5", "Call +1 415 555 0007 please"),
        *("https://wa.me/?phone=%2B1%20415%20555%200007", "415&#32;555&#32;0007"),
    ],
)
def test_number_is_erased_from_cells_however_it_is_written(
    app: Flask, alice: Person, cell: str
) -> None:
    file = f"phone,mother\n{number(8)},{cell}\n{number(9)},(415) 555-00071\n"
    batch_id = ready_batch(alice, file, "Call ((mother))")
    start(app, batch_id)
    queue(app)
    erase(app)
    assert [row.cells[1] for row in read_rows(app, batch_id)] == ["", "(415) 555-00071"]
    messages = [(m.status, m.body) for m in read_messages(app, batch_id)]
    assert messages == [("canceled", ""), ("outbox", "Call (415) 555-00071")]


def test_row_that_is_shorter_than_the_heading_is_erased(app: Flask, alice: Person) -> None:
    file = f"phone,mother,name\n{number(8)},{number(7)},Bob\n"
    batch_id = ready_batch(alice, file, "Hi ((name))")
    with app.app_context(), writing():
        db.session.execute(db.update(BatchRow).values(cells=[number(8), number(7)]))
    erase(app)
    assert [row.cells for row in read_rows(app, batch_id)] == [[number(8), ""]]


def test_number_in_the_problem_of_a_row_is_found_and_erased(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, f"phone\n{number(8)}\n", "Hello")
    with app.app_context(), writing():
        db.session.execute(db.update(BatchRow).values(problem="Ann (415) 555-0007: empty."))
    erase(app)
    [row] = read_rows(app, batch_id)
    assert row.problem == "A cell was deleted when the data of a person was erased."


def test_text_with_an_erased_number_goes_once_its_message_is_settled(
    app: Flask, alice: Person
) -> None:
    batch_id = ready_batch(alice, f"phone,mother\n{number(8)},{number(7)}\n", "Call ((mother))")
    start(app, batch_id)
    queue(app)
    is_its = Message.batch_id == batch_id
    with app.app_context(), writing():
        sent = {"status": "sent", "twilio_sid": sid(1), "status_at": utcnow()}
        db.session.execute(db.update(Message).where(is_its).values(sent))
    with app.app_context():
        receipt = erasure.erase(number(7), at_twilio=True, actor="carol@example.org").receipt
        assert erasure.count_left(receipt) == 1
        db.session.execute(db.update(Message).where(is_its).values(status="delivered"))
        db.session.commit()
        with time_machine.travel(utcnow() + timedelta(minutes=2)):
            list(remove_expired(None))
        assert erasure.count_left(receipt) == 0
        removals = select(CarrierRemoval.action, CarrierRemoval.receipt)
        assert [tuple(row) for row in db.session.execute(removals)] == [("redact", receipt)]
    [message] = read_messages(app, batch_id)
    assert (message.body, message.content_deleted_at is None) == ("", False)


def test_number_in_many_rows_is_erased_in_several_transactions(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_rows, "SCANNED_ROWS", 2)
    lines = [f"{number(n)},(415) 555-0007" for n in range(10, 15)]
    batch_id = ready_batch(alice, "\n".join(["phone,mother", *lines]), "Call ((mother))")
    start(app, batch_id)
    queue(app)
    erase(app)
    assert {tuple(row.cells[1:]) for row in read_rows(app, batch_id)} == {("",)}
    assert {(m.status, m.body) for m in read_messages(app, batch_id)} == {("canceled", "")}
    with app.app_context():
        assert erasure.read_receipts()[0][0].batch_rows == 5


def test_file_that_is_checked_after_the_search_is_searched_again(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were found before are not searched again while nobody else may write."""
    ready_batch(alice, FILE)
    late_id = upload(alice, FILE.replace("Person", "Late"), "Hi")
    find_rows = person_records.find_rows

    def check_after(connection: Connection, number: str) -> FoundRows:
        found = find_rows(connection, number)
        connection.rollback()
        check(app)
        return found

    monkeypatch.setattr(person_records, "find_rows", check_after)
    erase(app)
    assert [row.cells for row in read_rows(app, late_id)] == [
        [number(8), "Late 8", ""],
        [number(9), "Late 9"],
    ]


def test_batch_asks_for_the_number_of_messages_that_an_erasure_leaves(
    app: Flask, alice: Person
) -> None:
    batch_id = ready_batch(alice, FILE)
    assert read_batch(app, batch_id).good_count == 3
    erase(app)
    assert read_batch(app, batch_id).good_count == 2


def test_erased_person_gets_no_message_that_waits(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, FILE)
    start(app, batch_id)
    queue(app)
    assert len(read_messages(app, batch_id)) == 3
    erase(app)
    assert [message.recipient for message in read_messages(app, batch_id)] == [number(8), number(9)]


def test_erased_person_gets_no_message_that_is_not_queued(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, FILE)
    start(app, batch_id)
    erase(app)
    queue(app)
    assert [message.recipient for message in read_messages(app, batch_id)] == [number(8), number(9)]


def test_erased_person_gets_no_message_that_is_being_queued(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = ready_batch(alice, FILE)
    start(app, batch_id)
    insert_rows = queueing.insert_rows
    with ThreadPoolExecutor(1) as pool:

        def insert_during_erasure(*arguments: Any, **options: Any) -> None:
            pool.submit(erase, app)
            await_lock_wait()
            insert_rows(*arguments, **options)

        monkeypatch.setattr(queueing, "insert_rows", insert_during_erasure)
        queue(app)
    assert number(7) not in {message.recipient for message in read_messages(app, batch_id)}


def test_erasure_deletes_files_that_are_not_read_yet(app: Flask, alice: Person) -> None:
    batch_id = upload(alice, FILE)
    erase(app)
    assert count(app, BatchFile) == 0
    assert "Upload it again" in str(read_batch(app, batch_id).problem)
    assert check(app) == 0


def test_erasure_forgets_why_a_file_was_refused(app: Flask, alice: Person) -> None:
    """The columns between which somebody is to choose may be a person's cells."""
    batch_id = upload(alice, f"phone {number(7)},phone\n{number(1)},{number(2)}\n")
    check(app)
    refused = read_batch(app, batch_id)
    assert refused.state == BatchState.REFUSED
    assert number(7) in f"{refused.problem} {refused.choices}"
    erase(app)
    batch = read_batch(app, batch_id)
    assert (batch.state, batch.choices) == (BatchState.REFUSED, [])
    assert "Upload it again" in str(batch.problem)


def test_erasure_deletes_the_file_of_a_checked_batch_and_leaves_the_batch(
    app: Flask, alice: Person
) -> None:
    batch_id = ready_batch(alice, FILE)
    erase(app)
    assert count(app, BatchFile) == 0
    assert read_batch(app, batch_id).state == BatchState.READY


def test_erasure_ends_a_check_that_is_under_way(app: Flask, alice: Person) -> None:
    batch_id = upload(alice, people(1200))
    calls = count_from(1)

    def erase_meanwhile() -> bool:
        if next(calls) == 4:
            erase(app)
        return False

    with app.app_context():
        check_waiting(erase_meanwhile)
    batch = read_batch(app, batch_id)
    assert (batch.state, batch.choices) == (BatchState.REFUSED, [])
    assert "Upload it again" in str(batch.problem)
    assert len(read_rows(app, batch_id)) <= 500


def erase_during_the_first_store(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read, the person is erased, and then the rows are to be stored."""
    store = _Check._store

    def erase_first(self: _Check, *arguments: Any) -> None:
        monkeypatch.setattr(_Check, "_store", store)
        with ThreadPoolExecutor() as thread:
            thread.submit(erase, app).result()
        store(self, *arguments)

    monkeypatch.setattr(_Check, "_store", erase_first)


def resend_batch(app: Flask, batch_id: int) -> int:
    """Stop a batch and send it again; return the id of the new one, which is not checked yet."""
    start(app, batch_id)
    with app.app_context(), writing():
        control.stop(batch_id, "alice@example.org")
        resend = create_resend_batch(Batch.lock(batch_id))
        assert resend
        return resend.id


def test_erasure_during_the_check_of_a_batch_that_is_sent_again(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    resend_id = resend_batch(app, ready_batch(alice, people(9)))
    erase_during_the_first_store(app, monkeypatch)
    check(app)
    check(app)
    assert read_batch(app, resend_id).state == BatchState.READY
    recipients = [row.recipient for row in read_rows(app, resend_id)]
    assert recipients == [number(n) for n in range(9) if n != 7]


def test_rows_that_the_check_of_a_batch_sent_again_stores_after_the_search_go(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    resend_id = resend_batch(app, ready_batch(alice, people(9)))
    find_rows = person_records.find_rows

    def store_after(connection: Connection, recipient: str) -> FoundRows:
        found = find_rows(connection, recipient)
        connection.rollback()
        row = {"batch_id": resend_id, "number": 9, "recipient": recipient, "cells": [recipient]}
        with writing():
            db.session.add(BatchRow(**row))
        return found

    monkeypatch.setattr(person_records, "find_rows", store_after)
    erase(app)
    assert read_rows(app, resend_id) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_erasure_deletes_the_file_of_a_check_that_is_just_ending(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = upload(alice, people(9))
    end = _Check._end
    erasures = list[Future[None]]()

    def end_first(self: _Check, connection: Connection, *arguments: Any) -> None:
        end(self, connection, *arguments)
        erasures.append(thread.submit(erase, app))
        await_lock_wait()

    monkeypatch.setattr(_Check, "_end", end_first)
    with ThreadPoolExecutor() as thread:
        check(app)
        erasures[0].result()
    assert read_batch(app, batch_id).state == BatchState.READY
    assert count(app, BatchFile) == 0
    assert len(read_rows(app, batch_id)) == 8


def test_number_in_a_heading_is_erased(app: Flask, alice: Person) -> None:
    """A file without headings has a person's cells there."""
    batch_id = ready_batch(alice, f"phone,Ann (415) 555-0007\n{number(8)},Bob", "Hello")
    said = app.test_cli_runner().invoke(args=["messages", "erase", "--yes"], input=number(7)).output
    assert "1  headings of batches" in said
    assert read_batch(app, batch_id).column_names == ["phone", ""]
    with app.app_context():
        assert person_records.find_records(db.session.connection(), number(7)).is_empty


def test_heading_that_was_chosen_as_the_column_of_numbers_is_erased(
    app: Flask, alice: Person
) -> None:
    batch_id = ready_batch(alice, f"phone,Ann (415) 555-0007\n{number(8)},Bob", "Hello")
    with app.app_context(), writing():
        Batch.lock(batch_id).phone_column = "Ann (415) 555-0007"
    erase(app)
    assert read_batch(app, batch_id).phone_column is None


def test_texts_and_cells_are_deleted_in_time(make_app: MakeApp) -> None:
    app = make_app(KEEP_TEXT_DAYS="20")
    alice = Person.signed_in(app, "alice@example.org")
    batch_id = ready_batch(alice, people(700, "12,Bad"))
    remove_old(app, 19)
    assert read_rows(app, batch_id)[0].cells == [number(0), "Person 0"]
    remove_old(app, 21)
    batch, rows = read_batch(app, batch_id), read_rows(app, batch_id)
    assert (batch.text, batch.content_deleted_at is None, len(rows)) == ("", False, 701)
    assert {tuple(row.cells) for row in rows} == {()}
    assert "12" not in str(rows[-1].problem)
    with pytest.raises(control.BatchRefusedError):
        start(app, batch_id)


def test_batches_are_deleted_in_time(make_app: MakeApp) -> None:
    app = make_app(KEEP_MESSAGE_DAYS="20")
    alice = Person.signed_in(app, "alice@example.org")
    ready_batch(alice, people(700))
    upload(alice, "phone,mobile\n1,2")
    check(app)
    remove_old(app, 19)
    assert count(app, Batch) == 2
    remove_old(app, 21)
    assert (count(app, Batch), count(app, BatchRow), count(app, BatchFile)) == (0, 0, 0)


def test_batch_that_is_never_sent_is_deleted_and_says_when(app: Flask, alice: Person) -> None:
    sent, draft = ready_batch(alice, people(2)), ready_batch(alice, people(700))
    start(app, sent)
    public_id = read_batch(app, draft).public_id
    shown = words(alice.client.get(f"/batches/{public_id}").text)
    end = read_batch(app, draft).created_at + timedelta(days=30)
    with app.app_context():
        assert f"this batch is deleted at {format_absolute_time(end)}" in shown
    remove_old(app, 29)
    assert count(app, Batch) == 2
    remove_old(app, 31)
    assert (count(app, Batch), count(app, BatchFile)) == (1, 0)
    assert len(read_rows(app, sent)) == 2


def test_draft_that_is_being_deleted_cannot_be_started(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(700))
    with app.app_context(), time_machine.travel(utcnow() + timedelta(days=31), tick=False):
        is_old = Batch.id == batch_id
        _remove_portion(is_old, _delete_rows, Portion(100))
        with pytest.raises(control.BatchRefusedError), writing():
            control.start(batch_id, 700, COMMAND_LINE)


def test_paused_batch_that_is_too_old_is_stopped_first(make_app: MakeApp) -> None:
    app = make_app(KEEP_TEXT_DAYS="30")
    alice = Person.signed_in(app, "alice@example.org")
    batch_id = ready_batch(alice, people(2))
    start(app, batch_id)
    queue(app)
    with app.app_context(), writing():
        assert control.pause(batch_id, COMMAND_LINE)
    remove_old(app, 31)
    assert (read_batch(app, batch_id).state, read_batch(app, batch_id).text) == (
        BatchState.STOPPED,
        "Hi ((name))",
    )
    queue(app)
    remove_old(app, 31)
    assert read_batch(app, batch_id).text == ""


def test_running_batch_is_left_until_it_is_done(make_app: MakeApp) -> None:
    app = make_app(KEEP_TEXT_DAYS="1", KEEP_MESSAGE_DAYS="1")
    alice = Person.signed_in(app, "alice@example.org")
    batch_id = ready_batch(alice, people(2))
    start(app, batch_id)
    remove_old(app, 3)
    assert read_batch(app, batch_id).text == "Hi ((name))"


def test_batches_of_a_deleted_user_go_with_the_messages(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(2))
    start(app, batch_id)
    user_id = alice.id
    with app.app_context(), writing():
        row = SavedText(owner_id=user_id, name="Hello", text="Hi", created_at=utcnow())
        db.session.add(row)
        db.session.flush()
        delete_user(db.session.get_one(User, user_id), erases_messages=True, actor="carol")
    assert read_batch(app, batch_id).state == BatchState.STOPPED
    with app.app_context():
        for _ in remove_expired(None):
            pass
        assert db.session.scalars(select(SavedText)).all() == []
        assert db.session.scalars(select(Message)).all() == []
    assert (count(app, Batch), count(app, BatchRow)) == (0, 0)


def test_batches_of_a_deactivated_user_pause(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(2))
    start(app, batch_id)
    user_id = alice.id
    with app.app_context(), writing():
        deactivate_user(db.session.get_one(User, user_id), actor="carol")
    assert read_batch(app, batch_id).state == BatchState.PAUSED
