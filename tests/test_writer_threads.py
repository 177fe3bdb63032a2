"""The thread that stores callbacks: what wakes it, what replaces it, and what it counts."""

import logging
from collections.abc import Callable, Iterator, Sequence
from threading import Event, Thread, current_thread

import pytest
from flask import Flask
from sqlalchemy import Connection, func, select, update
from sqlalchemy.exc import OperationalError

from smstracker.extensions import db
from smstracker.models import CallbackTally, Message, RefusedCallback
from smstracker.refused.request import RefusedRequest
from smstracker.webhooks import writer
from smstracker.webhooks.writer import Callback, CallbackWriter, PendingWrite, current_writer
from tests.callback_writers import status_update, store
from tests.clients import Person
from tests.refused_callbacks import NOON, refusal, refused_rows
from tests.serving import await_writer
from tests.signing import call_back, fields, forge, sid

pytestmark = pytest.mark.both_databases

Store = Callable[[Connection, Sequence[Callback]], object]


@pytest.fixture
def callback_writer(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[CallbackWriter]:
    """A writer whose thread waits for so long that only a start or a retry wakes it."""
    monkeypatch.setattr(writer, "IDLE_SECONDS", 60.0)
    callback_writer = CallbackWriter(100)
    with app.app_context():
        yield callback_writer
        end_thread(callback_writer)


def end_thread(callback_writer: CallbackWriter) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "IDLE_SECONDS", 0)
        if thread := callback_writer._thread:
            callback_writer.start()
            thread.join(30)


def refused_request(number: int) -> RefusedRequest:
    return RefusedRequest.from_row(refusal(NOON, fingerprint="", target=f"/{number}"))


def tally(app: Flask, name: str) -> int:
    with app.app_context():
        return db.session.scalar(select(func.sum(getattr(CallbackTally, name)))) or 0


def around_store(monkeypatch: pytest.MonkeyPatch, wrap: Callable[[Store], Store]) -> None:
    """Do something when callbacks are about to be stored."""
    monkeypatch.setattr(writer, "store_callbacks", wrap(writer.store_callbacks))


def test_more_refused_ones_than_a_group_takes_need_one_start(
    app: Flask, callback_writer: CallbackWriter
) -> None:
    writes = [
        callback_writer.write(refused_request(n)) for n in range(3 * writer.MAX_REFUSALS_IN_GROUP)
    ]
    callback_writer.start()
    assert [write.exception(30) for write in writes] == [None] * len(writes)
    assert len(refused_rows(app)) == len(writes)


def test_many_that_come_before_a_start_are_no_sign_of_a_stuck_database(
    callback_writer: CallbackWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 2)
    writes = [callback_writer.write(Callback(None, status_update(n, "sent"))) for n in range(4)]
    callback_writer.start()
    assert [write.exception(30) for write in writes] == [None] * 4


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_callbacks_of_locked_messages_are_tried_again_soon_and_counted_once(
    app: Flask, alice: Person, callback_writer: CallbackWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if another of the group cannot be stored, so that each gets a commit of its own."""

    def fail_for_one(real: Store) -> Store:
        def store_unless_bad(connection: Connection, callbacks: Sequence[Callback]) -> object:
            if any(callback.update.twilio_sid == sid(3) for callback in callbacks):
                raise ValueError("cannot be stored")
            return real(connection, callbacks)

        return store_unless_bad

    around_store(monkeypatch, fail_for_one)
    for number in (1, 2):
        alice.has_message(twilio_sid=sid(number))
    with db.engine.begin() as connection:
        connection.execute(update(Message).values(body="held"))
        writes = [
            callback_writer.write(Callback(None, status_update(n, "sent"))) for n in (1, 2, 3)
        ]
        callback_writer.start()
        assert isinstance(writes[2].exception(30), ValueError)
        assert not any(write.done() for write in writes[:2])
    assert [write.exception(20) for write in writes[:2]] == [None, None]
    assert (tally(app, "accepted"), tally(app, "unmatched")) == (2, 0)


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("is_stored", [True, False])
def test_refused_callback_that_is_locked_delays_no_other(
    app: Flask, callback_writer: CallbackWriter, is_stored: bool
) -> None:
    """A replay, or another process that stores the same one, may keep the lock for long."""
    refused = refused_request(1)
    row = {**refused.row(), "fingerprint": refused.fingerprint}
    with db.engine.connect() as other:
        if is_stored:
            assert RefusedCallback.store(other, row, NOON)
            other.commit()
            other.execute(select(RefusedCallback.id).with_for_update())
        else:
            assert RefusedCallback.try_to_lock(other, [refused.fingerprint]) == set()
            assert RefusedCallback.store(other, row, NOON)
        writes = [callback_writer.write(item) for item in (refused, refused_request(2))]
        accepted = store(callback_writer, status_update(1, "sent"))
        assert (accepted.exception(30), writes[1].exception(30)) == (None, None)
        assert not writes[0].done()
        other.commit()
    assert writes[0].exception(30) is None
    assert sorted(row.count for row in refused_rows(app)) == [1, 2]
    assert tally(app, "refused") == 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_refused_callback_of_a_message_that_is_being_deleted_waits(
    alice: Person, callback_writer: CallbackWriter
) -> None:
    """Else what was deleted would come back with it."""
    message = alice.has_message(twilio_sid=sid(1))
    refused = RefusedRequest.from_row(refusal(NOON, fingerprint="", twilio_sid=sid(1)))
    with db.engine.connect() as other:
        other.execute(select(Message.id).where(Message.id == message.id).with_for_update())
        write = callback_writer.write(refused)
        accepted = store(callback_writer, status_update(2, "sent"))
        assert accepted.exception(30) is None
        assert not write.done()
        other.commit()
    assert write.exception(30) is None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_refused_callback_is_not_kept_waiting_for_its_lock_for_ever(
    callback_writer: CallbackWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_LOCKED_SECONDS", 0)
    refused = refused_request(1)
    with db.engine.connect() as other:
        RefusedCallback.try_to_lock(other, [refused.fingerprint])
        write = callback_writer.write(refused)
        callback_writer.start()
        assert isinstance(write.exception(30), writer.LockedError)
        assert write.needs_repeat


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_successor_of_a_thread_that_hung_waits_for_no_row_of_its_counts(
    app: Flask, callback_writer: CallbackWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store(callback_writer, status_update(1, "sent")).exception(30) is None
    end_thread(callback_writer)
    monkeypatch.setattr(callback_writer, "_commit_started_at", 0.0)
    with db.engine.connect() as other:
        other.execute(update(CallbackTally).values(accepted=CallbackTally.accepted))
        assert store(callback_writer, status_update(2, "sent")).exception(30) is None
    assert tally(app, "accepted") == 2


def test_successor_of_a_thread_that_hung_is_not_replaced_before_it_commits(
    callback_writer: CallbackWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_writer, "_thread", current_thread())
    monkeypatch.setattr(callback_writer, "_commit_started_at", 0.0)
    callback_writer.start()
    successor = callback_writer._thread
    callback_writer.start()
    assert callback_writer._thread is successor
    assert callback_writer.find_unready_commit() is None


def test_thread_that_was_replaced_keeps_no_locked_callback_for_a_next_group(
    callback_writer: CallbackWriter,
) -> None:
    write = PendingWrite(Callback(None, status_update(1, "sent")))
    callback_writer._postpone([write])
    assert isinstance(write.exception(0), writer.LockedError)


def test_starts_during_a_commit_wake_the_thread_once_after_it(
    callback_writer: CallbackWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would store the first callback of each later turn alone."""
    with monkeypatch.context() as commit:
        commit.setattr(callback_writer, "_thread", current_thread())
        for _ in range(3):
            callback_writer.start()
        assert callback_writer._await_start()
        assert callback_writer._starts.empty()


def test_thread_that_comes_back_leaves_its_successor_to_be_replaced_too(
    callback_writer: CallbackWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, back = [Event(), Event()], [Event(), Event()]
    threads: list[Thread] = []

    def hang_twice(real: Store) -> Store:
        def store_or_hang(connection: Connection, callbacks: Sequence[Callback]) -> object:
            threads.append(current_thread())
            number = len(threads) - 1
            if number < 2:
                connection.rollback()  # SQLite's turn is not what hangs
                hanging[number].set()
                assert back[number].wait(60)
                raise OperationalError("INSERT", {}, Exception("the connection is lost"))
            return real(connection, callbacks)

        return store_or_hang

    around_store(monkeypatch, hang_twice)
    monkeypatch.setattr(writer, "HUNG_SECONDS", 0)
    for number in range(2):
        store(callback_writer, status_update(number, "sent"))
        assert hanging[number].wait(60)
    back[0].set()
    threads[0].join(30)
    assert store(callback_writer, status_update(3, "sent")).exception(30) is None
    back[1].set()
    threads[1].join(30)


def test_thread_that_cannot_be_started_is_tried_again_with_the_next_start(
    callback_writer: CallbackWriter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class NoThread(Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limit, caplog.at_level(logging.ERROR):
        limit.setattr(writer, "Thread", NoThread)
        first = store(callback_writer, status_update(1, "sent"))
    assert caplog.messages == ["callbacks_not_started"]
    assert not first.done()
    second = store(callback_writer, status_update(2, "sent"))
    assert (first.exception(30), second.exception(30)) == (None, None)


def test_thread_whose_connection_hung_ends_when_it_comes_back_and_its_failure_is_counted(
    app: Flask, callback_writer: CallbackWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes back while its successor commits, which must count what it counted itself alone."""
    threads: list[Thread] = []
    is_hanging, is_back = Event(), Event()

    def hang_at_first(real: Store) -> Store:
        def store_or_hang(connection: Connection, callbacks: Sequence[Callback]) -> object:
            if current_thread() not in threads:
                threads.append(current_thread())
            if len(threads) == 1:
                connection.rollback()  # SQLite's turn is not what hangs
                is_hanging.set()
                assert is_back.wait(60)
                raise OperationalError("INSERT", {}, Exception("the connection is lost"))
            is_back.set()
            assert isinstance(first.exception(30), OperationalError)
            return real(connection, callbacks)

        return store_or_hang

    around_store(monkeypatch, hang_at_first)
    first = store(callback_writer, status_update(1, "sent"))
    assert is_hanging.wait(60)
    monkeypatch.setattr(writer, "HUNG_SECONDS", 0)
    second = callback_writer.write(Callback(None, status_update(2, "sent")))
    callback_writer.start()
    monkeypatch.setattr(writer, "HUNG_SECONDS", 60)
    assert second.exception(30) is None
    threads[0].join(30)
    assert [thread.is_alive() for thread in threads] == [False, True]
    assert store(callback_writer, status_update(3, "sent")).exception(30) is None
    assert len(threads) == 2
    assert (tally(app, "accepted"), tally(app, "not_stored")) == (2, 1)


def test_refusal_that_is_only_counted_during_a_commit_is_counted_by_the_next(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count_meanwhile(real: Store) -> Store:
        def store_and_count(connection: Connection, callbacks: Sequence[Callback]) -> object:
            with app.app_context():
                current_writer().count_refused("signature")
            return real(connection, callbacks)

        return store_and_count

    with monkeypatch.context() as patch:
        around_store(patch, count_meanwhile)
        call_back(app.test_client(), fields(sid(1), "sent"))
        await_writer(app)
    call_back(app.test_client(), fields(sid(2), "sent"))
    await_writer(app)
    assert tally(app, "refused") == 1


def test_writer_is_busy_while_it_commits_and_after_callbacks_that_came_together(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context():
        callback_writer = current_writer()
    during: list[bool] = []

    def note(real: Store) -> Store:
        def note_and_store(connection: Connection, callbacks: Sequence[Callback]) -> object:
            during.append(callback_writer.is_busy)
            return real(connection, callbacks)

        return note_and_store

    around_store(monkeypatch, note)
    call_back(app.test_client(), fields(sid(1), "sent"))
    await_writer(app)
    assert (during, callback_writer.is_busy) == ([True], False)
    with app.app_context():
        for number in (2, 3):
            callback_writer.write(Callback(None, status_update(number, "sent")))
        callback_writer.start()
    await_writer(app)
    assert callback_writer.is_busy
    monkeypatch.setattr(writer, "BUSY_SECONDS", 0)
    assert not callback_writer.is_busy


def test_refused_callback_is_neither_the_last_accepted_nor_a_lost_one(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*_args: object) -> bool:
        raise OperationalError("UPDATE", {}, Exception("gone"))

    assert forge(app.test_client()).status_code == 403
    with app.app_context():
        assert db.session.scalars(select(CallbackTally.last_accepted_at)).all() == [None]
    monkeypatch.setattr(writer.RefusedCallback, "store", gone)
    assert forge(app.test_client()).status_code == 503
    with app.app_context():
        assert current_writer().not_stored == 0
    assert "callback_not_stored" not in caplog.messages


def test_processes_that_fill_the_quarantine_together_are_little_over_its_bound(
    app: Flask,
) -> None:
    """Each looks again after it has used a part of the room that it found."""
    first, second = CallbackWriter(16), CallbackWriter(16)
    with app.app_context():
        for callback_writer, numbers in (
            (first, range(1)),
            (second, range(1, 14)),
            (first, range(14, 24)),
        ):
            writes = []
            for number in numbers:
                writes.append(callback_writer.write(refused_request(number)))
                callback_writer.start()
                assert writes[-1].exception(30) is None
            assert len(refused_rows(app)) <= 16 + 16 // writer.ROOM_DIVISOR
