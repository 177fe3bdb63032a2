"""What deletions lock on PostgreSQL: in one order, and nothing that others hold for long."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.messages.send_warnings import content_hash
from smstracker.models import Message, Tombstone, User
from smstracker.models.messages import Content
from smstracker.privacy import portions
from smstracker.privacy.former_users import erase_former_users
from smstracker.privacy.removal import Removal, delete_messages
from tests.clients import Person
from tests.databases import await_lock_wait

pytestmark = [
    pytest.mark.both_databases,
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
]


def delete(app: Flask, *messages: Message) -> Removal:
    ids = [message.id for message in messages]
    options = {"at_twilio": False, "created_before": None}
    with app.app_context(), db.engine.begin() as connection:
        return delete_messages(connection, ids, utcnow(), **options)


def text_hash(message: Message) -> bytes:
    content = Content(message.recipient, "", message.body, ())
    with db.engine.connect() as connection:
        return content_hash(connection, message.owner_id, content)


def test_tombstones_of_texts_are_stored_in_one_order(app: Flask, alice: Person) -> None:
    """Else two who delete messages with the same texts could wait for each other."""
    messages = [alice.has_message(status="delivered", body=body) for body in "abcdef"]
    with app.app_context(), ThreadPoolExecutor(1) as thread, db.engine.connect() as connection:
        hashes = [text_hash(message) for message in messages]
        Tombstone.add(connection, {min(hashes): utcnow()})
        removal = thread.submit(delete, app, *messages)
        await_lock_wait()
        Tombstone.add(connection, {max(hashes): utcnow()})
        connection.commit()
        assert len(removal.result(30).message_ids) == len(messages)


def test_messages_of_former_users_go_although_some_are_locked(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "FIRST_SIZE", 1)
    first, _second = (alice.has_message(status="delivered") for _ in range(2))
    with app.app_context():
        db.session.execute(db.update(User).values(erases_messages=True))
        db.session.commit()
        with db.engine.begin() as connection:
            of_first = select(Message.id).where(Message.id == first.id)
            connection.execute(of_first.with_for_update())
            assert sum(erase_former_users()) == 1
    assert alice.message().id == first.id
