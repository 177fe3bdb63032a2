"""Batches from the upload to the outbox: one batch of a file, one message of a row."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, repeat
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from smstracker.batches import checking, control, queueing, uploads
from smstracker.batches.checking import NOT_CHECKED, check_waiting
from smstracker.batches.control import BatchRefusedError, EqualBatchError, LongPauseError
from smstracker.batches.queueing import NOT_QUEUED
from smstracker.batches.resending import create_resend_batch
from smstracker.batches.uploads import (
    TooManyDraftsError,
    Upload,
    choose,
    hash_upload,
    pack_file,
    store_upload,
)
from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.models import (
    Batch,
    BatchFile,
    BatchRow,
    Message,
    SenderPace,
    SendLimitError,
    StatusEvent,
    outbox,
)
from smstracker.models.audit_log import COMMAND_LINE
from smstracker.models.batches import (
    CHECK_LEASE,
    COSTLY,
    DUPLICATE,
    LANDLINE,
    OPTED_OUT,
    BatchState,
)
from smstracker.models.events import StatusUpdate
from smstracker.privacy import erasure
from smstracker.sms.quiet_hours import QuietHours
from smstracker.sms.status import Source
from smstracker.worker import hand_over
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
    read_rows,
    ready_batch,
    start,
    upload,
)
from tests.clients import Person, words
from tests.databases import await_lock_wait

pytestmark = pytest.mark.both_databases

MakeApp = Callable[..., Flask]
NOW = datetime(2026, 7, 1, 20, 30, tzinfo=UTC)


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(SEND_PER_SECOND="10000", SEND_LIMIT_PER_DAY="100000")


def claim(app: Flask, limit: int = 10) -> list[outbox.OutboxMessage]:
    with app.app_context(), db.engine.begin() as connection:
        return outbox.claim(connection, limit, utcnow())


def begin(app: Flask, message: outbox.OutboxMessage) -> bool:
    with app.app_context(), db.engine.begin() as connection:
        return outbox.begin_hand_over(connection, [message]) != []


def answer_all(app: Flask) -> None:
    """Twilio has taken all messages that were handed over."""
    with app.app_context(), writing():
        is_pending = Message.status == "pending"
        db.session.execute(update(Message).where(is_pending).values(status="queued"))


def change(app: Flask, act: Callable[[int, str], bool], batch_id: int) -> bool:
    with app.app_context(), writing():
        return act(batch_id, COMMAND_LINE)


def test_file_is_checked_and_deleted_once_it_is_started(app: Flask, alice: Person) -> None:
    batch_id = upload(alice, people(2, "12,Bad", f"{number(0)},Twice"))
    assert read_batch(app, batch_id).state == BatchState.CHECKING
    assert check(app) == 1
    batch = read_batch(app, batch_id)
    assert (batch.state, batch.row_count, batch.good_count, batch.segments) == ("ready", 4, 3, 3)
    assert (batch.column_names, batch.field_positions) == (["phone", "name"], {"name": 1})
    assert [
        (row.number, row.recipient, row.problem is None, row.warnings)
        for row in read_rows(app, batch_id)
    ] == [
        (2, number(0), True, 0),
        (3, number(1), True, 0),
        (4, None, False, 0),
        (5, number(0), True, DUPLICATE.bit),
    ]
    with app.app_context():
        assert BatchFile.exists(batch_id)
    start(app, batch_id)
    with app.app_context():
        assert db.session.scalars(select(BatchFile.part)).all() == []


def test_spreadsheet_is_checked(app: Flask, alice: Person) -> None:
    rows = [["Phone", "Name"], ["+491512345678", "Ann"], [14155550001, "Bo"]]
    batch_id = ready_batch(alice, spreadsheets.xlsx({"People": rows}))
    assert [row.recipient for row in read_rows(app, batch_id)] == ["+491512345678", number(1)]


def test_file_of_several_parts_is_put_together(app: Flask, alice: Person) -> None:
    content = people(50).encode()
    with app.app_context(), writing():
        parts = [content[:100], content[100:101], content[101:]]
        batch, _is_new = store_upload(
            alice.id, uuid.uuid4(), Upload("x", "Hi", SENDER, pack_file(parts))
        )
        batch_id = batch.id
    check(app)
    assert read_batch(app, batch_id).good_count == 50


@pytest.mark.parametrize(
    ("content", "text", "problem"),
    [
        ("", "Hi", "The file is empty."),
        ("phone,name\n+14155550000,Ann", "Hi ((street))", "No column is called “street”"),
        ("phone\n12\n13", "Hi", "None of the rows can be sent."),
    ],
)
def test_what_cannot_be_sent_says_why(
    app: Flask, alice: Person, content: str, text: str, problem: str
) -> None:
    batch = read_batch(app, ready_batch(alice, content, text))
    assert batch.state == BatchState.REFUSED
    assert problem in str(batch.problem)


def test_file_is_checked_again_with_the_chosen_column(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, f"phone,mobile\n{number(1)},{number(2)}", "Hi")
    batch = read_batch(app, batch_id)
    assert (batch.state, batch.choices) == (BatchState.REFUSED, ["phone", "mobile"])
    with app.app_context(), writing():
        assert not choose(Batch.lock(batch_id), phone_column="other")
        assert choose(Batch.lock(batch_id), phone_column="mobile")
    check(app)
    assert [row.recipient for row in read_rows(app, batch_id)] == [number(2)]


def test_same_form_and_same_unsent_file_are_one_batch(app: Flask, alice: Person) -> None:
    key = uuid.uuid4()
    batch_id = upload(alice, people(2), key=key)
    assert upload(alice, people(2), key=key) == batch_id
    assert upload(alice, people(2)) == batch_id
    assert upload(alice, people(2), text="Bye") != batch_id


def refuse_by_erasure(app: Flask, _patch: pytest.MonkeyPatch) -> None:
    with app.app_context():
        erasure.erase(number(5000), at_twilio=False, actor=COMMAND_LINE)


def refuse_by_failure(app: Flask, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checking, "match_columns", None)
    check(app)


def refuse_for_lack_of_room(app: Flask, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checking, "MAX_DRAFT_BYTES", 10)
    check(app)


@pytest.mark.parametrize("has_same_key", [True, False], ids=["same form", "new form"])
@pytest.mark.parametrize("refuse", [refuse_by_erasure, refuse_by_failure, refuse_for_lack_of_room])
def test_same_file_is_checked_anew_once_it_was_refused_and_dropped(
    app: Flask,
    alice: Person,
    monkeypatch: pytest.MonkeyPatch,
    refuse: Callable[[Flask, pytest.MonkeyPatch], None],
    has_same_key: bool,
) -> None:
    key = uuid.uuid4()
    batch_id = upload(alice, people(2), key=key)
    with monkeypatch.context() as patch:
        refuse(app, patch)
    assert read_batch(app, batch_id).state == BatchState.REFUSED
    monkeypatch.setattr(uploads, "MAX_DRAFTS", 1)
    assert upload(alice, people(2), key=key if has_same_key else None) == batch_id
    assert check(app) == 1
    batch = read_batch(app, batch_id)
    assert (batch.state, batch.problem, batch.good_count) == (BatchState.READY, None, 2)


def test_refused_file_that_can_be_read_otherwise_is_one_batch(app: Flask, alice: Person) -> None:
    content = f"phone,mobile\n{number(1)},{number(2)}"
    batch_id = ready_batch(alice, content, "Hi")
    assert read_batch(app, batch_id).choices == ["phone", "mobile"]
    assert upload(alice, content, "Hi") == batch_id
    assert read_batch(app, batch_id).state == BatchState.REFUSED


def test_check_that_an_erasure_has_ended_takes_no_part_in_the_next_one(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = checking._Check._store

    def store_late(*arguments: Any) -> None:
        monkeypatch.setattr(checking._Check, "_store", store)
        refuse_by_erasure(app, monkeypatch)
        upload(alice, people(3))
        store(*arguments)

    monkeypatch.setattr(checking._Check, "_store", store_late)
    batch_id = upload(alice, people(3))
    assert check(app) == 2
    batch = read_batch(app, batch_id)
    assert (batch.state, batch.good_count) == (BatchState.READY, 3)


def test_other_quiet_hours_are_another_batch(app: Flask, alice: Person) -> None:
    quiet = QuietHours(21 * 60, 8 * 60, "Europe/Berlin")
    first, second = upload(alice, people(2)), upload(alice, people(2), quiet_hours=quiet)
    assert [read_batch(app, batch_id).quiet_hours for batch_id in (first, second)] == [None, quiet]
    assert upload(alice, people(2), quiet_hours=quiet) == second


def test_other_column_of_numbers_is_another_batch(app: Flask, alice: Person) -> None:
    file, owner_id = pack_file([people(2).encode()]), alice.id
    hashes = set()
    for column in (None, "phone", "mobile"):
        form = Upload("people.csv", "Hi", SENDER, file, phone_column=column)
        with app.app_context():
            hashes.add(hash_upload(owner_id, form))
    assert len(hashes) == 3


def test_form_that_is_changed_and_sent_again_is_another_batch_once(
    app: Flask, alice: Person
) -> None:
    key = uuid.uuid4()
    first = upload(alice, people(2), key=key)
    second = upload(alice, people(3), key=key)
    assert second != first
    assert upload(alice, people(3), key=key) == second


@pytest.mark.parametrize("limit", ["MAX_DRAFTS", "MAX_DRAFT_BYTES"])
def test_nobody_uploads_without_end(
    app: Flask, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    file = sum(map(len, pack_file([people(3).encode()]).parts))
    first = ready_batch(alice, people(3))
    room = 2 * file + read_batch(app, first).row_bytes
    monkeypatch.setattr(uploads, limit, 2 if limit == "MAX_DRAFTS" else room)
    second = upload(alice, people(3), "Hello")
    assert upload(alice, people(3), "Hello") == second, "an equal one takes no room"
    with pytest.raises(TooManyDraftsError, match=r"the oldest, “people\.csv”"):
        upload(alice, people(3), "Hey")
    upload(bob, people(3))
    start(app, first)
    queue(app)
    upload(alice, people(3), "Hey")


def test_file_is_not_taken_for_the_batch_that_sends_its_failures_again(
    app: Flask, alice: Person
) -> None:
    first = ready_batch(alice, people(2))
    start(app, first)
    queue(app)
    with app.app_context(), writing():
        db.session.execute(update(Message).values(status="unreached"))
        resend = create_resend_batch(Batch.lock(first))
        assert resend
        resend_id = resend.id
    assert upload(alice, people(2)) not in (first, resend_id)


def test_same_file_of_another_person_is_another_batch(
    app: Flask, alice: Person, bob: Person
) -> None:
    assert upload(alice, people(2)) != upload(bob, people(2))


def test_equal_batch_is_sent_only_by_who_knows_it(app: Flask, alice: Person) -> None:
    first = ready_batch(alice, people(2))
    start(app, first)
    # Saved anew, with another heading: the same texts to the same people.
    second = ready_batch(alice, people(2).replace("phone", "Mobile") + "\n")
    assert second != first
    with pytest.raises(EqualBatchError) as error:
        start(app, second)
    assert error.value.public_id == read_batch(app, first).public_id
    assert read_batch(app, second).state == BatchState.READY
    start(app, second, knows_equal=True)
    assert read_batch(app, second).state == BatchState.RUNNING


def test_same_texts_to_other_people_are_no_equal_batch(app: Flask, alice: Person) -> None:
    for recipient in (number(1), number(2)):
        start(app, ready_batch(alice, f"phone,name\n{recipient},Ann"))


def test_interrupted_check_is_done_anew_when_its_lease_ends(app: Flask, alice: Person) -> None:
    batch_id = upload(alice, people(1200))
    answers = chain([False] * 3, repeat(True))
    with app.app_context():
        check_waiting(lambda: next(answers))
    assert (read_batch(app, batch_id).state, len(read_rows(app, batch_id))) == ("checking", 500)
    assert check(app) == 1
    assert len(read_rows(app, batch_id)) == 1200


def test_killed_check_is_done_anew_when_its_lease_ends(app: Flask, alice: Person) -> None:
    batch_id = upload(alice, people(1))
    with app.app_context(), db.engine.begin() as connection:
        assert Batch.claim_check(connection)
    assert check(app) == 0
    with time_machine.travel(utcnow() + CHECK_LEASE * 2, tick=False):
        assert check(app) == 1
    assert read_batch(app, batch_id).state == BatchState.READY


@pytest.mark.both_databases
def test_many_files_of_one_person_hold_up_no_others(app: Flask, alice: Person, bob: Person) -> None:
    many = [upload(alice, people(count)) for count in (1, 2, 3)]
    late = upload(bob, people(1))
    order = []
    for _ in range(4):
        with app.app_context(), db.engine.begin() as connection:
            claim = Batch.claim_check(connection)
            assert claim
            order.append(claim[0])
    assert order == [late, *many]


def test_check_whose_lease_another_worker_has_stores_nothing(app: Flask, alice: Person) -> None:
    batch_id = upload(alice, people(1))
    with app.app_context(), db.engine.begin() as connection:
        claimed = Batch.claim_check(connection)
        assert claimed
        later = claimed[1] + timedelta(seconds=1)
        connection.execute(update(Batch).values(claimed_until=later))
        assert Batch.extend_check(connection, *claimed, 5, 500) is None
    assert read_batch(app, batch_id).row_count == 0


def test_rows_know_opt_outs_and_landlines_of_the_owner(
    app: Flask, alice: Person, bob: Person
) -> None:
    earlier_message(alice, number(0), status="refused", error_code="21610")
    earlier_message(alice, number(1), status="undelivered", error_code="30006")
    earlier_message(bob, number(2), status="undelivered", error_code="30006")
    # Opted out of one sender, and reached or refused from another.
    earlier_message(alice, number(5), status="refused", error_code="21610")
    earlier_message(alice, number(5), status="delivered", sender="+15005550007")
    earlier_message(alice, number(6), status="refused", error_code="21610", sender="+15005550007")
    # Both have been reached since.
    for position, code in ((3, "21610"), (4, "30006")):
        earlier_message(alice, number(position), status="undelivered", error_code=code)
        earlier_message(alice, number(position), status="delivered")
    rows = read_rows(app, ready_batch(alice, people(7, f"{number(9)},✓")))
    opted_out, landline, costly = OPTED_OUT.bit, LANDLINE.bit, COSTLY.bit
    expected = [opted_out, landline, 0, 0, 0, opted_out, 0, costly]
    assert [row.warnings for row in rows] == expected
    batch = db_report(app)
    assert batch["warnings"] == {"opted out": 2, "landline": 1, "costs more": 1}


def db_report(app: Flask) -> dict[str, object]:
    with app.app_context():
        return db.session.scalars(select(Batch.report)).one()


def test_started_batch_becomes_one_message_for_each_good_row(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(600, "12,Bad", f"{number(0)},Twice"))
    assert queue(app) == 0
    start(app, batch_id)
    assert queue(app) == 602
    assert queue(app) == 0
    messages = read_messages(app, batch_id)
    batch = read_batch(app, batch_id)
    assert [message.recipient for message in messages] == [*map(number, range(600)), number(0)]
    assert batch.queued_count == batch.good_count == 601
    assert messages[599].body == "Hi Person 599"
    assert [message.idempotency_key for message in messages[-2:]] == [
        batch.message_key(601),
        batch.message_key(603),
    ]
    assert {message.status for message in messages} == {"outbox"}


@pytest.mark.slow
def test_no_more_waits_in_the_outbox_than_may_be_cancelled_soon(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(1500))
    start(app, batch_id)
    assert queue(app) == 1000
    messages = claim(app, 600)
    assert all(begin(app, message) for message in messages)
    assert queue(app) == 500
    assert len(read_messages(app, batch_id)) == 1500


def test_slow_sender_has_few_messages_in_the_outbox(make_app: MakeApp) -> None:
    app = make_app()
    alice = Person.signed_in(app, "alice@example.org")
    batch_id = ready_batch(alice, people(100))
    start(app, batch_id)
    assert queue(app) == 30  # of one a second


def test_backlog_counts_no_time_of_a_paused_batch(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(2))
    start(app, batch_id)
    queue(app)
    for act, is_waiting in ((control.pause, False), (control.resume, True)):
        change(app, act, batch_id)
        with app.app_context(), db.engine.begin() as connection:
            backlog = outbox.read_backlog(connection, utcnow())
        assert (backlog.waiting, backlog.oldest_at is not None) == (2, is_waiting)
        assert backlog.in_halted_batches == (0 if is_waiting else 2)


def test_batch_is_done_when_nothing_of_it_waits(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(2))
    start(app, batch_id)
    queue(app)
    assert read_batch(app, batch_id).state == BatchState.RUNNING
    assert [begin(app, message) for message in claim(app)] == [True, True]
    queue(app)
    assert read_batch(app, batch_id).state == BatchState.RUNNING, "Twilio has not answered"
    answer_all(app)
    queue(app)
    batch = read_batch(app, batch_id)
    assert (batch.state, batch.ended_at is not None) == (BatchState.DONE, True)


def test_last_message_that_twilio_refuses_for_now_is_handed_over_again(
    app: Flask, alice: Person
) -> None:
    batch_id = ready_batch(alice, people(1))
    start(app, batch_id)
    queue(app)
    [message] = claim(app)
    refusal = StatusUpdate("refused", Source.SEND, {}, error_code="20429")
    with app.app_context(), db.engine.begin() as connection:
        [begun] = outbox.begin_hand_over(connection, [message])
    queue(app)  # while Twilio is asked
    with app.app_context(), db.engine.begin() as connection:
        assert outbox.put_back(connection, begun, refusal)
    queue(app)
    with time_machine.travel(utcnow() + timedelta(minutes=1), tick=False):
        assert [message.id for message in claim(app)] == [begun.id]


def test_batch_that_cannot_be_queued_pauses_and_holds_up_no_other(
    app: Flask, alice: Person, bob: Person
) -> None:
    first, second = ready_batch(alice, people(2)), ready_batch(bob, people(3))
    for batch_id in (first, second):
        start(app, batch_id)
    with app.app_context(), writing():
        db.session.execute(update(BatchRow).where(BatchRow.batch_id == first).values(cells=None))
    assert queue(app) == 3
    batch = read_batch(app, first)
    assert (batch.state, batch.problem) == (BatchState.PAUSED, NOT_QUEUED)
    assert len(read_messages(app, second)) == 3
    change(app, control.resume, first)
    assert read_batch(app, first).problem is None


def test_database_that_is_away_neither_refuses_a_file_nor_pauses_a_batch(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_arguments: object) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    batch_id = upload(alice, people(2))
    for module, name, run, word in (
        (checking, "find_row_warnings", check, "checking"),
        (queueing, "_build_messages", queue, "running"),
    ):
        with monkeypatch.context() as away:
            away.setattr(module, name, gone)
            with pytest.raises(OperationalError):
                run(app)
        assert read_batch(app, batch_id).state == word
        with time_machine.travel(utcnow() + 2 * CHECK_LEASE):
            run(app)
        if run is check:
            start(app, batch_id)
    assert len(read_messages(app, batch_id)) == 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_batch_that_is_stopped_meanwhile_queues_nothing(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(2))
    start(app, batch_id)
    with ThreadPoolExecutor(1) as thread:
        with app.app_context(), writing():
            control.stop(batch_id, alice.email)
            queued = thread.submit(queue, app)
            await_lock_wait()
        assert queued.result(30) == 0
    assert read_messages(app, batch_id) == []
    assert read_batch(app, batch_id).ended_at


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_batches_that_start_at_once_keep_within_the_limit_of_the_day(
    make_app: MakeApp,
) -> None:
    app = make_app(SEND_LIMIT_PER_DAY="5")
    alice = Person.signed_in(app, "alice@example.org")
    first, second = ready_batch(alice, people(3)), ready_batch(alice, people(4))
    with ThreadPoolExecutor(1) as thread:
        with app.app_context(), writing():
            control.start(first, 3, alice.email)
            other = thread.submit(start, app, second)
            await_lock_wait()
        with pytest.raises(BatchRefusedError, match="2 more of your 5 messages a day"):
            other.result(30)


def test_stop_that_fails_holds_up_no_other(app: Flask, alice: Person, bob: Person) -> None:
    first, second = ready_batch(alice, people(2)), ready_batch(bob, people(3))
    for batch_id in (first, second):
        start(app, batch_id)
    queue(app)
    for batch_id in (first, second):
        change(app, control.stop, batch_id)
    message_id = read_messages(app, first)[0].id
    event = StatusUpdate("sent", Source.CALLBACK, {}).row()
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(insert(StatusEvent).values(message_id=message_id, **event))
        # The event of the cancelling will be one too many.
        connection.execute(text("CREATE UNIQUE INDEX one_event ON status_event (message_id)"))
    with pytest.raises(IntegrityError):
        queue(app)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("DROP INDEX one_event"))
    assert {message.status for message in read_messages(app, second)} == {"canceled"}


def test_key_that_is_taken_keeps_no_other_row_from_being_sent(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(3))
    earlier_message(alice, number(9), idempotency_key=read_batch(app, batch_id).message_key(2))
    start(app, batch_id)
    queue(app)
    assert [message.recipient for message in read_messages(app, batch_id)] == [number(1), number(2)]


def test_file_whose_check_fails_is_refused_and_holds_up_no_other(app: Flask, alice: Person) -> None:
    first, second = upload(alice, people(2)), upload(alice, people(3))
    with app.app_context(), writing():
        db.session.execute(update(BatchFile).where(BatchFile.batch_id == first).values(data=b"x"))
    assert check(app) == 2
    batch = read_batch(app, first)
    assert (batch.state, batch.problem) == (BatchState.REFUSED, NOT_CHECKED)
    assert read_batch(app, second).state == BatchState.READY


def test_only_messages_of_running_batches_are_handed_over(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(3))
    start(app, batch_id)
    queue(app)
    [first, *_others] = claim(app, 2)
    assert change(app, control.pause, batch_id)
    assert not begin(app, first), "claimed before the pause"
    assert claim(app) == []
    assert not change(app, control.pause, batch_id)
    assert change(app, control.resume, batch_id)
    assert len(claim(app)) == 1
    assert begin(app, first)


def test_message_is_never_too_late_because_of_a_pause(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(3))
    start(app, batch_id)
    queue(app)
    change(app, control.pause, batch_id)
    with time_machine.travel(utcnow() + timedelta(days=6), tick=False):
        with pytest.raises(LongPauseError, match=r"paused for 6 days"):
            change(app, control.resume, batch_id)
        assert read_batch(app, batch_id).state == BatchState.PAUSED
        assert change(app, partial(control.resume, knows_pause=True), batch_id)
        with app.app_context():
            assert len(hand_over.claim_sendable(10)) == 3


@pytest.mark.slow
def test_stop_cancels_what_waits_and_queues_nothing_more(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(1300))
    start(app, batch_id)
    queue(app)
    [first, second] = claim(app, 2)
    assert begin(app, first)
    assert change(app, control.stop, batch_id)
    assert not begin(app, second)
    assert queue(app) == 999
    messages = read_messages(app, batch_id)
    assert [message.status for message in messages].count("canceled") == 999
    assert messages[0].status == "pending"
    assert not change(app, control.resume, batch_id)
    assert queue(app) == 0
    assert len(read_messages(app, batch_id)) == 1000


def test_number_of_messages_is_asked_for(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(3))
    for count in (None, 2):
        with app.app_context(), writing(), pytest.raises(BatchRefusedError, match="Type 3,"):
            control.start(batch_id, count, COMMAND_LINE)
    start(app, batch_id)
    start(app, batch_id)  # the same form twice
    assert queue(app) == 3


def test_batch_keeps_within_the_limit_of_the_day(make_app: MakeApp) -> None:
    app = make_app(SEND_LIMIT_PER_DAY="5")
    alice = Person.signed_in(app, "alice@example.org")
    with pytest.raises(
        BatchRefusedError, match=r"You can send 5 messages a day, .* has 6\. Divide"
    ):
        start(app, ready_batch(alice, people(6)))
    start(app, ready_batch(alice, people(3)))
    second = ready_batch(alice, people(3, "x,x"))
    with pytest.raises(BatchRefusedError, match="2 more of your 5 messages a day"):
        start(app, second, knows_equal=True)
    queue(app)
    with pytest.raises(BatchRefusedError, match="2 more of your 5 messages a day"):
        start(app, second, knows_equal=True)


def test_refusal_for_the_limit_of_the_day_tells_when_all_of_it_may_go(make_app: MakeApp) -> None:
    app = make_app(SEND_LIMIT_PER_DAY="4")
    alice = Person.signed_in(app, "alice@example.org")
    with time_machine.travel(utcnow(), tick=False) as clock:
        for _ in range(2):
            alice.queue()
            alice.queue()
            clock.shift(timedelta(hours=1))
        batch_id = ready_batch(alice, people(3))
        with pytest.raises(BatchRefusedError, match=r"0 more .* Try again in 23 hours"):
            start(app, batch_id)


def test_messages_leave_a_batch_that_is_under_way_its_share_of_the_day(make_app: MakeApp) -> None:
    app = make_app(SEND_LIMIT_PER_DAY="8")
    alice = Person.signed_in(app, "alice@example.org")
    batch_id = ready_batch(alice, people(6))
    start(app, batch_id)
    alice.queue()
    alice.queue()
    with pytest.raises(SendLimitError):
        alice.queue()
    change(app, control.pause, batch_id)
    with pytest.raises(SendLimitError):
        alice.queue()
    change(app, control.resume, batch_id)
    queue(app)
    with pytest.raises(SendLimitError):
        alice.queue()


def test_refusal_for_the_limit_of_the_day_names_batches(make_app: MakeApp) -> None:
    app = make_app(SEND_LIMIT_PER_DAY="6")
    alice = Person.signed_in(app, "alice@example.org")
    start(app, ready_batch(alice, people(6)))
    notice = "the limit of 6 messages in a day, 6 of them still to be sent by batches. Nothing"
    assert notice in words(alice.send().text)


def test_rest_of_a_stopped_batch_counts_no_more_in_the_limit_of_the_day(make_app: MakeApp) -> None:
    app = make_app(SEND_LIMIT_PER_DAY="6")
    alice = Person.signed_in(app, "alice@example.org")
    batch_id = ready_batch(alice, people(6))
    start(app, batch_id)
    with pytest.raises(SendLimitError):
        alice.queue()
    change(app, control.stop, batch_id)
    alice.queue()


def test_batch_leaves_the_form_its_messages_of_a_minute(make_app: MakeApp) -> None:
    app = make_app(SEND_LIMIT_PER_MINUTE="1")
    alice = Person.signed_in(app, "alice@example.org")
    start(app, ready_batch(alice, people(3)))
    queue(app)
    earlier_message(alice, number(9))


def test_batch_whose_sender_is_gone_is_not_started(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(1))
    with app.app_context(), writing():
        Batch.lock(batch_id).sender = "+15005550001"
    with pytest.raises(BatchRefusedError, match="no longer available"):
        start(app, batch_id)


@pytest.mark.parametrize(
    ("quiet", "now", "is_quiet"),
    [
        (QuietHours(21 * 60, 8 * 60, "Europe/Berlin"), NOW, True),  # 22:30 there
        (QuietHours(21 * 60, 8 * 60, "America/New_York"), NOW, False),  # 16:30
        (QuietHours(22 * 60, 23 * 60, "Europe/Berlin"), NOW, True),
        (QuietHours(22 * 60, 22 * 60 + 30, "Europe/Berlin"), NOW, False),
        (QuietHours(0, 0, "UTC"), NOW, False),
    ],
)
def test_nothing_is_claimed_in_quiet_hours(
    app: Flask, alice: Person, quiet: QuietHours, now: datetime, is_quiet: bool
) -> None:
    batch_id = ready_batch(alice, people(1))
    start(app, batch_id)
    with app.app_context(), writing():
        Batch.lock(batch_id).set_quiet_hours(quiet)
    with time_machine.travel(now, tick=False):
        queue(app)
        with app.app_context(), writing():
            db.session.execute(update(SenderPace).values(next_at=now))
        assert bool(claim(app)) is not is_quiet


@pytest.mark.parametrize(
    ("quiet", "now", "end"),
    [
        (QuietHours(1260, 480, "Europe/Berlin"), NOW, datetime(2026, 7, 2, 6, tzinfo=UTC)),
        (QuietHours(60, 480, "UTC"), NOW.replace(hour=2), datetime(2026, 7, 1, 8, tzinfo=UTC)),
        # The clocks skip from 2:00 to 3:00.
        (
            QuietHours(60, 150, "Europe/Berlin"),
            datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
            datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        ),
    ],
)
def test_end_of_quiet_hours(quiet: QuietHours, now: datetime, end: datetime) -> None:
    assert quiet.ends_after(now) == end
