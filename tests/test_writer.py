"""Group commit: callbacks share a transaction, and none costs another its place."""

import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection, false, func, select, text, update
from sqlalchemy.exc import OperationalError
from werkzeug.datastructures import MultiDict

from smstracker.carrier.signatures import Signer
from smstracker.extensions import db
from smstracker.models import Message, StatusEvent, callback_store
from smstracker.models.callback_store import StoredCallback
from smstracker.models.event_store import append_event
from smstracker.models.events import StatusUpdate
from smstracker.refused.request import RefusedRequest
from smstracker.refused.status_callback import VerifiedCallback, read_callback
from smstracker.sms.status import Source
from smstracker.webhooks import writer
from tests.clients import Person
from tests.refused_callbacks import refused_rows
from tests.signing import ACCOUNT_SID, fields, sid

pytestmark = pytest.mark.both_databases


SIGNER = Signer(ACCOUNT_SID, "primary")


def wait_until(is_ready: Callable[[], bool]) -> None:
    for _ in range(3000):
        if is_ready():
            return
        Event().wait(0.01)
    raise AssertionError("it never came about")


def status_update(number: int, word: str) -> StatusUpdate:
    callback = VerifiedCallback(MultiDict(fields(sid(number), word)), SIGNER, "")
    update = read_callback(callback, None)
    assert update is not None
    return update


def write(app: Flask, *waiting: tuple[Message | None, StatusUpdate]) -> list[BaseException | None]:
    """Write callbacks as one group, as a process of its own would; the error of each."""
    group = writer.CallbackWriter(100, threads=100)
    group._pending = [
        (writer.Callback(message.public_id if message else None, update), writer.WriteResult())
        for message, update in waiting
    ]
    pending = list(group._pending)
    with app.app_context():
        group._write_all(db.engine)
        return [outcome(group, *one) for one in pending]


def outcome(
    group: writer.CallbackWriter,
    what: writer.Callback | writer.RefusedRequest,
    done: writer.WriteResult,
) -> BaseException | None:
    """What a callback's own thread comes to; it writes those of a message that was locked."""
    try:
        assert done.done()
        message = done.result()
        if message is not None:
            group._write_queue(db.engine, message, what)
    except Exception as error:
        return error
    return None


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


def test_refused_ones_are_kept_in_one_order_before_the_others_so_that_processes_cannot_deadlock(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("a", "b", "c"):
        client.post(f"/webhooks/twilio/{path}", data={"a": "1"})
    refused = sorted(
        (RefusedRequest.from_row(row) for row in refused_rows(app)), key=lambda e: e.fingerprint
    )
    written: list[str] = []

    def note_kept(_connection: object, row: dict[str, str], _now: object) -> bool:
        written.append(row["fingerprint"])
        return False

    def note_stored(_connection: object, callbacks: list[object]) -> list[StoredCallback]:
        written.append("callback")
        return [StoredCallback(is_repeated=False, has_message=True) for _ in callbacks]

    monkeypatch.setattr(writer.RefusedCallback, "store", note_kept)
    monkeypatch.setattr(writer, "store_callbacks", note_stored)
    group = writer.CallbackWriter(100)
    group._pending = [(writer.Callback(None, status_update(1, "sent")), writer.WriteResult())]
    group._pending += [(evidence, writer.WriteResult()) for evidence in reversed(refused)]
    with app.app_context():
        group._write_all(db.engine)
    assert written == [*(evidence.fingerprint for evidence in refused), "callback"]


def test_callback_of_a_message_that_has_a_line_goes_behind_it(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str | None, str]] = []

    def note(_connection: object, callbacks: list[writer.Callback]) -> list[StoredCallback]:
        written.extend((update.twilio_sid, update.status) for _, update in callbacks)
        return [StoredCallback(is_repeated=False, has_message=True) for _ in callbacks]

    monkeypatch.setattr(writer, "store_callbacks", note)
    shared = writer.CallbackWriter(100, threads=100)
    came = [(1, "sent"), (2, "sent"), (1, "delivered"), (1, "read")]
    first, other, *later = [
        (writer.Callback(None, status_update(number, word)), writer.WriteResult())
        for number, word in came
    ]
    shared._enqueue([first])  # its thread has not written it yet
    shared._pending = [*later, other]
    with app.app_context():
        shared._write_all(db.engine)
        assert written == [(sid(2), "sent")]
        assert not any(done.done() for _, done in later)
        shared._write_queue(db.engine, sid(1), first[0])
    assert written[1:] == [(sid(1), word) for word in ("sent", "delivered", "read")]
    assert [done.result() for _, done in later] == [None, None]
    assert (shared._queues, shared._queued_count) == ({}, 0)


def test_database_that_fails_the_group_fails_every_callback_of_it(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_args: object) -> None:
        raise OperationalError("INSERT", {}, Exception("gone"))

    monkeypatch.setattr(writer, "store_callbacks", gone)
    errors = write(app, *((None, status_update(number, "sent")) for number in (1, 2)))
    assert all(isinstance(error, OperationalError) for error in errors)


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
    make_app: Callable[..., Flask], database_url: str
) -> None:
    # On a busy machine the default of two seconds is over before the lock is.
    app = make_app(DATABASE_URL=f"{database_url}&options=-clock_timeout%3D20s")
    alice = Person.signed_in(app, "alice@example.org")
    locked = alice.has_message(twilio_sid=sid(1))
    unsent = alice.has_message(status="pending")
    free = alice.has_message(twilio_sid=sid(2))
    shared = writer.CallbackWriter(100, threads=100)

    def store(message: Message, number: int, word: str) -> None:
        with app.app_context():
            shared.store(message.public_id, status_update(number, word))

    with app.app_context():
        engine = db.engine
    with ThreadPoolExecutor(8) as threads:
        with engine.begin() as connection:
            ids = [locked.id, unsent.id]
            connection.execute(update(Message).where(Message.id.in_(ids)).values(body="held"))
            slow = [threads.submit(store, locked, 1, word) for word in ("sent", "delivered")]
            slow += [threads.submit(store, unsent, 3, "sent")]
            wait_until(lambda: len(shared._queues) == 2)
            for word in ("sent", "delivered"):
                store(free, 2, word)
            assert not any(done.done() for done in slow)
        assert [done.result() for done in slow] == [None] * 3
    assert shared._queues == {}
    assert shared._queued_count == 0
    assert [m.status for m in alice.messages()] == ["delivered", "sent", "delivered"]
    assert {event.status for event in alice.events(locked)} == {"sent", "delivered"}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_few_wait_for_locked_messages_and_the_rest_is_not_stored_at_once(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    group = writer.CallbackWriter(100, threads=8)
    words = ("delivered", "sent", "sent", "read")
    callbacks = [
        (writer.Callback(None, status_update(1, word)), writer.WriteResult()) for word in words
    ]
    group._pending = list(callbacks)
    with app.app_context():
        with db.engine.begin() as connection:
            connection.execute(update(Message).values(body="held"))
            group._write_all(db.engine)
        errors = [outcome(group, *one) for one in callbacks]
    assert [type(error).__name__ for error in errors] == [*["NoneType"] * 2, *["NoRoomError"] * 2]
    assert [event.status for event in alice.events(message)] == ["delivered", "sent"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_message_that_is_locked_for_a_moment_is_stored_also_if_no_thread_may_wait_for_it(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another process stores a callback of it, beside messages that are held for long."""
    held, busy = (alice.has_message(twilio_sid=sid(number)) for number in (1, 2))
    shared, is_refused = writer.CallbackWriter(100, threads=4), Event()
    real = shared._write_in_group

    def note(what: writer.Callback, done: writer.WriteResult) -> None:
        try:
            real(what, done)
        except writer.NoRoomError:
            is_refused.set()
            raise

    def store(number: int) -> None:
        with app.app_context():
            shared.store(None, status_update(number, "sent"))

    monkeypatch.setattr(shared, "_write_in_group", note)
    with app.app_context():
        engine = db.engine
    with ThreadPoolExecutor(2) as threads, engine.begin() as connection:
        connection.execute(update(Message).where(Message.id == held.id).values(body="held"))
        first = threads.submit(store, 1)
        wait_until(lambda: shared._queued_count == 1)
        with engine.begin() as moment:
            moment.execute(update(Message).where(Message.id == busy.id).values(body="held"))
            second = threads.submit(store, 2)
            assert is_refused.wait(5)
        assert second.result() is None
        assert not first.done()
    assert first.result() is None
    assert shared.not_stored == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_lock_on_no_message_costs_its_own_callback_the_wait_and_no_others(
    app: Flask, alice: Person
) -> None:
    """Such as the lock on a SID, which the answer to a send request takes in another process."""
    for number in range(2, 9):
        alice.has_message(twilio_sid=sid(number))
    group = writer.CallbackWriter(100, threads=4)
    callbacks = [
        (writer.Callback(None, status_update(number, "sent")), writer.WriteResult())
        for number in range(1, 9)
    ]
    group._pending = list(callbacks)
    with app.app_context():
        key = zlib.crc32(sid(1).encode())
        with db.engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            group._write_all(db.engine)
        errors = [outcome(group, *one) for one in callbacks]
    assert errors == [None] * 8


def test_those_who_come_to_a_database_that_is_stuck_do_not_wait_one_after_the_other(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, writing, stuck = writer.CallbackWriter(100, threads=4), Event(), Event()

    def hang(*_args: object) -> None:
        writing.set()
        assert stuck.wait(60)
        raise OperationalError("INSERT", {}, Exception("database is locked"))

    def store(number: int) -> None:
        with app.app_context():
            shared.store(None, status_update(number, "sent"))

    monkeypatch.setattr(writer, "store_callbacks", hang)
    monkeypatch.setattr(writer, "STUCK_SECONDS", 0)
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(store, 1)]
        assert writing.wait(60)
        waiting += [threads.submit(store, number) for number in (2, 3)]
        wait_until(lambda: len(shared._pending) == 2)
        with pytest.raises(writer.StuckError):
            store(4)
        stuck.set()
        errors = [done.exception() for done in waiting]
    assert len({id(error) for error in errors}) == 1, "one attempt answers all who wait"
    assert isinstance(errors[0], OperationalError)


def test_callback_is_either_set_aside_or_written_although_lines_end_meanwhile(app: Flask) -> None:
    shared, done = writer.CallbackWriter(100, threads=8), writer.WriteResult()

    class Changing(dict[str | None, None]):
        """A line that is replaced whenever it has been looked for."""

        has_line = True

        def __contains__(self, _message: object) -> bool:
            self.has_line = not self.has_line
            return self.has_line

    group = [(writer.Callback(None, status_update(1, "sent")), done)]
    shared._move_to_queues(group, Changing({sid(1): None}))
    assert (len(group), done.done()) in [(1, False), (0, True)]


def test_messages_with_a_line_are_read_while_no_line_ends(app: Flask) -> None:
    shared = writer.CallbackWriter(100, threads=8)
    is_guarded: list[bool] = []

    class Lines(dict[str, list[writer.PendingWrite]]):
        def __iter__(self) -> Iterator[str]:
            is_guarded.append(shared._lock.locked())
            return super().__iter__()

        def keys(self):  # type: ignore[no-untyped-def]
            is_guarded.append(shared._lock.locked())
            return super().keys()

    shared._queues = Lines()
    shared._pending = [(writer.Callback(None, status_update(1, "sent")), writer.WriteResult())]
    with app.app_context():
        shared._write_all(db.engine)
    assert is_guarded == [True]
