"""Group commit: callbacks share a transaction, and none costs another its place."""

import random
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from threading import Event, current_thread

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection, Engine, false, func, select, text, update
from sqlalchemy.exc import OperationalError

from smstracker.extensions import db
from smstracker.models import Message, StatusEvent, callback_store
from smstracker.models.callback_store import StoredCallback
from smstracker.models.event_store import append_event
from smstracker.models.events import StatusUpdate
from smstracker.refused.request import RefusedRequest
from smstracker.sms.status import Source
from smstracker.webhooks import writer
from tests.callback_writers import callback_of, enqueue, status_update, store
from tests.clients import Person
from tests.refused_callbacks import refused_rows
from tests.signing import sid

pytestmark = pytest.mark.both_databases


def wait_until(is_ready: Callable[[], bool]) -> None:
    for _ in range(3000):
        if is_ready():
            return
        Event().wait(0.01)
    raise AssertionError("it never came about")


def write(app: Flask, *waiting: tuple[Message | None, StatusUpdate]) -> list[BaseException | None]:
    """Write callbacks as one group, as a process of its own would; the error of each."""
    writes = [writer.PendingWrite(callback_of(*callback)) for callback in waiting]
    write_all(app, *writes)
    return [write.exception() for write in writes]


def write_all(app: Flask, *writes: writer.PendingWrite) -> None:
    callback_writer = writer.CallbackWriter(100)
    with app.app_context():
        enqueue(callback_writer, *writes)
        callback_writer._starts.put(None)
        while not all(write.done() for write in writes):
            callback_writer._await_start()
            callback_writer._write_group(db.engine)


def test_one_that_cannot_be_stored_does_not_cost_the_others_their_place(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = writer.store_callbacks

    def failing(connection: Connection, callbacks: list[writer.Callback]) -> list[StoredCallback]:
        if any(callback.update.twilio_sid == sid(1) for callback in callbacks):
            raise ValueError("cannot be stored")
        return real(connection, callbacks)

    monkeypatch.setattr(writer, "store_callbacks", failing)
    bad, good = write(app, (None, status_update(1, "sent")), (None, status_update(2, "sent")))
    assert isinstance(bad, ValueError)
    assert good is None
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(StatusEvent)) == 1


def events_of(app: Flask) -> list[tuple[int | None, str, bool, int]]:
    """Message, status, whether it is repeated, and the number of repeats of each event."""
    columns = (StatusEvent.message_id, StatusEvent.status)
    columns += (StatusEvent.is_repeated, StatusEvent.repeats)  # type: ignore[assignment]
    with app.app_context():
        return [tuple(row) for row in db.session.execute(select(*columns).order_by(StatusEvent.id))]  # type: ignore[misc]


@pytest.mark.both_databases
def test_first_callbacks_of_a_message_in_one_group_find_it_by_path_and_by_sid(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message()
    other, sent, delivered = (
        (None, status_update(2, "sent")),
        (None, status_update(1, "sent")),
        (message, status_update(1, "delivered")),
    )
    assert write(app, other, sent, delivered) == [None, None, None]
    stored = alice.message()
    assert (stored.twilio_sid, stored.status) == (sid(1), "delivered")
    assert events_of(app) == [
        (None, "sent", False, 0),
        (message.id, "sent", False, 0),
        (message.id, "delivered", False, 0),
    ]


@pytest.mark.both_databases
def test_equal_callbacks_of_one_group_are_one_event(app: Flask, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1))
    same = (None, replace(status_update(1, "sent"), idempotency_token="a"))
    other = (None, replace(status_update(1, "sent"), idempotency_token="b"))
    write(app, same, same, other, same)
    message_id = alice.message().id
    assert events_of(app) == [(message_id, "sent", False, 2), (message_id, "sent", True, 0)]
    write(app, same, other, other)
    assert [repeats for *_, repeats in events_of(app)] == [3, 2]


@pytest.mark.both_databases
def test_repeat_of_an_event_that_was_just_purged_is_not_acknowledged(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback = (None, status_update(1, "sent"))
    write(app, callback)
    with monkeypatch.context() as patch:
        finds_nothing = callback_store._COUNT_REPEATS.where(false())
        patch.setattr(callback_store, "_COUNT_REPEATS", finds_nothing)
        assert isinstance(write(app, callback)[0], LookupError)
    assert write(app, callback) == [None]


@pytest.mark.both_databases
def test_same_callback_at_two_processes_at_once_is_one_event(app: Flask, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1))
    same = (None, replace(status_update(1, "sent"), idempotency_token="a"))
    with ThreadPoolExecutor(4) as threads:
        runs = [threads.submit(write, app, same) for _ in range(8)]
        assert [run.result() for run in runs] == [[None]] * 8
    assert events_of(app) == [(alice.message().id, "sent", False, 7)]


@pytest.mark.both_databases
def test_groups_of_processes_that_hold_the_same_messages_do_not_deadlock(
    app: Flask, alice: Person
) -> None:
    for number in range(1, 9):
        alice.has_message(twilio_sid=sid(number))

    def store(numbers: Sequence[int]) -> list[BaseException | None]:
        updates = ((None, status_update(number, "sent")) for number in numbers)
        return write(app, *updates)

    orders = [range(1, 9), range(8, 0, -1)] * 8
    with ThreadPoolExecutor(8) as threads:
        assert not any(error for errors in threads.map(store, orders) for error in errors)


def test_callback_waits_for_few_of_many_refused_ones(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/webhooks/twilio/a", data={"a": "1"})
    [refused] = [RefusedRequest.from_row(row) for row in refused_rows(app)]
    written: list[str] = []
    store_callbacks, store_refused = writer.store_callbacks, writer.RefusedCallback.store

    def note_callback(connection: Connection, callbacks: list[writer.Callback]) -> object:
        written.append("callback")
        return store_callbacks(connection, callbacks)

    def note_refused(connection: Connection, row: dict[str, object], now: datetime) -> bool:
        written.append("refused")
        return store_refused(connection, row, now)

    monkeypatch.setattr(writer, "store_callbacks", note_callback)
    monkeypatch.setattr(writer.RefusedCallback, "store", note_refused)
    refusals = [writer.PendingWrite(refused) for _ in range(100)]
    callback = writer.PendingWrite(writer.Callback(None, status_update(1, "sent")))
    write_all(app, *refusals, callback)
    assert written.index("callback") == writer.MAX_REFUSALS_IN_GROUP
    assert all(write.exception() is None for write in refusals)
    assert refused_rows(app)[0].count == 101


def test_database_that_fails_the_group_fails_every_callback_of_it(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_args: object) -> None:
        raise OperationalError("INSERT", {}, Exception("gone"))

    monkeypatch.setattr(writer, "store_callbacks", gone)
    errors = write(app, *((None, status_update(number, "sent")) for number in (1, 2)))
    assert all(isinstance(error, OperationalError) for error in errors)


def test_transaction_that_cannot_begin_fails_what_has_come(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_engine: Engine) -> None:
        raise RuntimeError("not of the database")

    monkeypatch.setattr(Engine, "begin", fail)
    errors = write(app, *((None, status_update(number, "sent")) for number in (1, 2)))
    assert [type(error) for error in errors] == [RuntimeError, RuntimeError]


@pytest.mark.slow
@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("seed", [1, 2])
def test_many_processes_at_once_neither_deadlock_nor_lose_anything(
    app: Flask, alice: Person, seed: int
) -> None:
    """By path and by SID alone, before and after the send answer, eight groups at a time."""
    chance = random.Random(seed)
    messages = [alice.has_message(status="pending", body=str(n)) for n in range(12)]
    words = ("queued", "sending", "sent", "delivered", "sent", "delivered")
    callbacks = [(number, word) for number in range(12) for word in words]
    chance.shuffle(callbacks)

    def one_group(group: list[tuple[int, str]]) -> None:
        waiting = [
            (
                messages[number] if chance.random() < 0.5 else None,
                replace(status_update(number, word), idempotency_token=str(chance.random())),
            )
            for number, word in group
        ]
        assert write(app, *waiting) == [None] * len(group)

    def send_answer(number: int) -> None:
        with app.app_context(), db.engine.begin() as connection:
            append_event(
                connection,
                messages[number].id,
                StatusUpdate("queued", Source.SEND, {}, sid(number)),
            )

    with ThreadPoolExecutor(8) as threads:
        done = [threads.submit(one_group, callbacks[at : at + 5]) for at in range(0, 72, 5)]
        done += [threads.submit(send_answer, number) for number in range(12)]
        assert [future.exception() for future in done] == [None] * len(done)
    ended = {message.twilio_sid: message for message in alice.messages()}
    assert set(ended) == {sid(number) for number in range(12)}
    assert {message.status for message in ended.values()} == {"delivered"}
    assert {len(alice.events(message)) for message in ended.values()} == {len(words) + 1}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_locked_message_costs_its_own_callbacks_the_wait_and_no_others(
    app: Flask, alice: Person
) -> None:
    locked = alice.has_message(twilio_sid=sid(1))
    unsent = alice.has_message(status="pending")
    free = alice.has_message(twilio_sid=sid(2))
    callback_writer = writer.CallbackWriter(100)

    with app.app_context():
        with db.engine.begin() as connection:
            ids = [locked.id, unsent.id]
            connection.execute(update(Message).where(Message.id.in_(ids)).values(body="held"))
            words = ("sent", "delivered")
            slow = [store(callback_writer, status_update(1, word), locked) for word in words]
            slow += [store(callback_writer, status_update(3, "sent"), unsent)]
            for word in words:
                assert store(callback_writer, status_update(2, word), free).exception(30) is None
            assert not any(done.done() for done in slow)
        assert [done.exception(30) for done in slow] == [None] * 3
    assert callback_writer.not_stored == 0
    assert [m.status for m in alice.messages()] == ["delivered", "sent", "delivered"]
    assert [event.status for event in alice.events(locked)] == ["sent", "delivered"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_callbacks_wait_for_locked_messages_neither_for_long_nor_in_any_number(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    callback_writer = writer.CallbackWriter(100)
    monkeypatch.setattr(writer, "MAX_WAITING", 2)
    words = ("delivered", "sent", "sent", "read")
    writes = [writer.PendingWrite(writer.Callback(None, status_update(1, word))) for word in words]
    with app.app_context(), db.engine.begin() as connection:
        enqueue(callback_writer, *writes)
        connection.execute(update(Message).values(body="held"))
        callback_writer._write_group(db.engine)
        assert [write.done() for write in writes] == [False, False, True, True]
        monkeypatch.setattr(writer, "MAX_LOCKED_SECONDS", 0)
        callback_writer._write_group(db.engine)
    errors = [type(write.exception()).__name__ for write in writes]
    assert errors == ["LockedError", "LockedError", "StuckError", "StuckError"]
    assert alice.events(message) == []


@pytest.mark.parametrize(("age", "is_over"), [(4, False), (6, True)])
def test_callback_of_a_locked_message_is_answered_while_twilio_still_waits(
    age: int, is_over: bool
) -> None:
    callback_writer = writer.CallbackWriter(100)
    callback_writer._thread = current_thread()
    waiting = writer.PendingWrite(writer.Callback(None, status_update(1, "sent")))
    waiting.arrived_at -= age
    callback_writer._postpone([waiting])
    assert waiting.done() is is_over


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_lock_on_a_sid_costs_its_own_callback_the_wait_and_no_others(
    app: Flask, alice: Person
) -> None:
    """The answer to a send request takes it in another process."""
    for number in range(2, 9):
        alice.has_message(twilio_sid=sid(number))
    callback_writer = writer.CallbackWriter(100)
    with app.app_context():
        key = zlib.crc32(sid(1).encode())
        with db.engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            writes = [
                store(callback_writer, status_update(number, "sent")) for number in range(1, 9)
            ]
            assert [write.exception(30) for write in writes[1:]] == [None] * 7
            assert not writes[0].done()
        assert writes[0].exception(30) is None


def test_those_who_come_to_a_database_that_is_stuck_do_not_wait_one_after_the_other(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback_writer, writing, stuck = writer.CallbackWriter(100), Event(), Event()

    def hang(*_args: object) -> None:
        writing.set()
        assert stuck.wait(60)
        raise OperationalError("INSERT", {}, Exception("database is locked"))

    monkeypatch.setattr(writer, "store_callbacks", hang)
    monkeypatch.setattr(writer, "STUCK_SECONDS", 0)
    monkeypatch.setattr(writer, "MAX_WAITING", 2)
    with app.app_context():
        updates = [status_update(number, "sent") for number in range(4)]
        waiting = [store(callback_writer, updates[0])]
        assert writing.wait(60)
        waiting += [store(callback_writer, update) for update in updates[1:3]]
        assert isinstance(store(callback_writer, updates[3]).exception(0), writer.StuckError)
        stuck.set()
        errors = [write.exception(60) for write in waiting]
    assert len({id(error) for error in errors}) == 1, "one attempt answers all who wait"
    assert isinstance(errors[0], OperationalError)


def test_database_connection_that_hangs_does_not_hold_up_later_callbacks(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback_writer, writing, hung = writer.CallbackWriter(100), Event(), Event()
    real = writer.store_callbacks

    def hang(connection: Connection, callbacks: list[writer.Callback]) -> object:
        connection.rollback()  # SQLite's turn is not what hangs
        monkeypatch.setattr(writer, "store_callbacks", real)
        writing.set()
        assert hung.wait(60)
        raise OperationalError("INSERT", {}, Exception("the connection is lost"))

    monkeypatch.setattr(writer, "store_callbacks", hang)
    with app.app_context():
        first = store(callback_writer, status_update(1, "sent"))
        assert writing.wait(60)
        monkeypatch.setattr(writer, "HUNG_SECONDS", 0)
        second = store(callback_writer, status_update(2, "sent"))
        assert second.exception(60) is None
        assert not first.done()
        hung.set()
        assert isinstance(first.exception(60), OperationalError)


def test_process_whose_commit_takes_long_is_not_ready(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, hung = Event(), Event()

    def hang(connection: Connection, _callbacks: list[writer.Callback]) -> object:
        connection.rollback()  # SQLite's turn is not what hangs
        writing.set()
        assert hung.wait(60)
        raise OperationalError("INSERT", {}, Exception("the connection is lost"))

    monkeypatch.setattr(writer, "store_callbacks", hang)
    visitor = app.test_client()
    with app.app_context():
        write = store(writer.current_writer(), status_update(1, "sent"))
    assert writing.wait(60)
    assert visitor.get("/readyz").status_code == 200
    with monkeypatch.context() as later:
        later.setattr(writer, "UNREADY_SECONDS", 0)
        answer = visitor.get("/readyz")
    assert answer.status_code == 503
    assert "took too long" in answer.text
    hung.set()
    assert isinstance(write.exception(60), OperationalError)
    assert visitor.get("/readyz").status_code == 200


def test_many_that_wait_are_stored_without_being_started(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_UNSTARTED", 3)
    callback_writer = writer.CallbackWriter(100)
    with app.app_context():
        callbacks = [writer.Callback(None, status_update(number, "sent")) for number in range(3)]
        writes = [callback_writer.write(callback) for callback in callbacks]
        assert [write.exception(30) for write in writes] == [None] * 3


def test_thread_ends_when_nothing_comes_and_another_begins(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "IDLE_SECONDS", 0.01)
    callback_writer = writer.CallbackWriter(100)
    with app.app_context():
        for word in ("sent", "delivered"):
            assert store(callback_writer, status_update(1, word)).exception(30) is None
            wait_until(lambda: callback_writer._thread is None)
    assert [status for _, status, *_ in events_of(app)] == ["sent", "delivered"]
