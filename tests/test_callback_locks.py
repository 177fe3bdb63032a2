"""What callbacks lock on PostgreSQL: in one order, and a group waits for nobody."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Connection, event, select, update

from smstracker.database.advisory_locks import lock_key
from smstracker.extensions import db, writing
from smstracker.models import Message, RefusedCallback
from smstracker.models.callback_store import StoredCallback, store_callback, store_callbacks
from smstracker.models.event_store import append_event
from smstracker.models.events import StatusUpdate
from smstracker.refused.stored_diagnosis import diagnose_pending
from smstracker.sms.status import Source
from tests.callback_writers import callback_of, status_update
from tests.clients import Person
from tests.databases import await_lock_wait
from tests.refused_callbacks import refused_rows, replayed, stored_events
from tests.signing import call_back, callback_path, fields, forge, sid

pytestmark = [
    pytest.mark.both_databases,
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
]


def lock_rows(connection: Connection, *messages: Message, nowait: bool = False) -> None:
    ids = [message.id for message in messages]
    query = select(Message.id).where(Message.id.in_(ids))
    connection.execute(query.with_for_update(key_share=True, nowait=nowait))


def test_callback_waits_only_for_its_own_message_or_sid(app: Flask, alice: Person) -> None:
    locked, free = (alice.has_message(twilio_sid=sid(number)) for number in (1, 2))
    unsent, being_bound = (alice.has_message(status="pending") for _ in range(2))
    waits = {
        (locked, 1): True,
        (None, 1): True,
        (free, 1): True,
        (unsent, 3): True,
        (being_bound, 4): True,
        (None, 4): True,
        (locked, 2): False,  # the SID is that of another message
        (unsent, 2): False,
        (None, 3): False,  # nothing leads to the message yet
        (being_bound, 5): False,
    }
    callbacks = [callback_of(message, status_update(n, "sent")) for message, n in waits]
    with app.app_context(), db.engine.begin() as other, db.engine.begin() as connection:
        lock_rows(other, locked, unsent)
        lock_key(other, sid(4))
        stored = store_callbacks(connection, callbacks)
    assert [outcome is None for outcome in stored] == list(waits.values())
    assert [message.twilio_sid for message in alice.messages()] == [sid(1), sid(2), None, sid(5)]


@contextmanager
def before_sid_lock(app: Flask, other: Any) -> Iterator[None]:
    """Call `other` once, before the next transaction locks a SID."""
    waiting = [other]

    def interrupt(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "advisory" in statement and waiting:
            waiting.pop()()

    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", interrupt)
        yield
        event.remove(db.engine, "before_cursor_execute", interrupt)
    assert not waiting, "no SID was locked"


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("is_group", [True, False])
def test_sid_that_is_bound_after_it_was_looked_for_leads_to_its_message(
    app: Flask, alice: Person, is_group: bool
) -> None:
    message = alice.has_message(status="pending")

    def bind() -> None:
        with db.engine.begin() as connection:
            append_event(connection, message.id, StatusUpdate("queued", Source.SEND, {}, sid(1)))

    callback = callback_of(None, status_update(1, "delivered"))
    with before_sid_lock(app, bind), db.engine.begin() as connection:
        if is_group:
            [stored] = store_callbacks(connection, [callback])
        else:
            stored = store_callback(connection, *callback)
    assert stored == StoredCallback(is_repeated=False, has_message=True)
    assert alice.message().status == "delivered"


def test_message_that_gets_its_sid_and_is_locked_after_it_was_looked_for_is_waited_for(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message(status="pending")
    callback = callback_of(None, status_update(1, "delivered"))
    with app.app_context(), db.engine.connect() as other:

        def bind_and_lock() -> None:
            other.execute(update(Message).values(twilio_sid=sid(1)))
            other.commit()
            lock_rows(other, message)

        with before_sid_lock(app, bind_and_lock), db.engine.begin() as connection:
            assert store_callbacks(connection, [callback]) == [None]
    assert stored_events(app) == []


def test_replays_lock_their_messages_in_one_order(app: Flask, alice: Person) -> None:
    """Else two that meet the same messages in opposite order would wait for each other."""
    first, second = (alice.has_message(twilio_sid=sid(number)) for number in (2, 1))
    with app.app_context(), db.engine.begin() as connection:
        # The table has it behind the other now, as the index of the SIDs does.
        moved = update(Message).where(Message.id == first.id)
        connection.execute(moved.values(recipient_reversed="0"))  # of an index: no HOT update
    for message, number in ((second, 1), (first, 2)):
        form = fields(sid(number), "delivered")
        path = f"{callback_path(message)}/refused"
        assert call_back(alice.client, form, path).status_code == 404
    with app.app_context(), ThreadPoolExecutor(1) as thread, db.engine.begin() as connection:
        lock_rows(connection, first)
        done = thread.submit(replayed, app)
        await_lock_wait()
        lock_rows(connection, second, nowait=True)
        connection.rollback()
        assert done.result(30) == (2, 0)


def test_diagnoses_lock_refused_callbacks_in_the_order_of_replays(app: Flask) -> None:
    """Else a replay that meets the newest last would wait for one that takes it first."""

    def diagnose() -> int:
        with app.app_context(), writing():
            return diagnose_pending()

    for number in (1, 2):
        forge(app.test_client(), number)
    first, second = (row.id for row in refused_rows(app))
    with app.app_context(), ThreadPoolExecutor(1) as thread, db.engine.begin() as connection:
        connection.execute(RefusedCallback.lock_unapplied([first]))
        done = thread.submit(diagnose)
        await_lock_wait()
        locked = RefusedCallback.lock_unapplied([second]).with_for_update(nowait=True)
        assert connection.scalars(locked).all() == [second]
        connection.rollback()
        assert done.result(30) == 2


def test_message_is_sent_again_while_its_callbacks_are_stored(app: Flask, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="failed")
    with app.app_context(), db.engine.begin() as connection:
        store_callbacks(connection, [callback_of(None, status_update(1, "delivered"))])
        again = alice.has_message(status="pending", resend_of_id=message.id)
    assert again.resend_of_id == message.id
