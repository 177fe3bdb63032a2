"""Migration 0011 renames columns: what every older schema holds stays, and its indexes serve."""

import uuid
from datetime import datetime
from typing import Any

import pytest
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import Connection, MetaData, Table, insert, inspect, select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import CallbackTally, Message

KEY, TWIN_KEY = uuid.uuid4(), uuid.uuid4()
OLDER = [f"{number:04}" for number in range(1, 11)]
DIFFERENT = ("0001", "0003", "0006", "0010")  # in what is tested here


def reflect(connection: Connection, name: str) -> Table:
    return Table(name, MetaData(), autoload_with=connection)


def fill(connection: Connection, at: datetime) -> None:
    """Insert a failed message, its resend and a tally into a schema of any version."""
    message = reflect(connection, "message")
    stored_at = at.replace(tzinfo=None) if connection.dialect.name == "sqlite" else at
    user: dict[str, Any] = {"id": 1, "email": "a@example.org", "active": True}
    user |= {"administrator": False, "created_at": stored_at}
    connection.execute(insert(reflect(connection, "user")).values(user))
    row: dict[str, Any] = {"owner_id": 1, "recipient": "+15005550006", "body": "x"}
    row |= {"media_urls": [], "simulated": False, "callback_requested": True, "status": "failed"}
    row |= {"status_at": stored_at, "created_at": stored_at, "recipient_backwards": "60005550051"}
    for number, key, original in ((1, KEY, None), (2, TWIN_KEY, 1)):
        row |= {"id": number, "public_id": stored_key(connection, key), "again_of_id": original}
        row |= {"form_id": stored_key(connection, key), "conflicting": number == 1}
        known = {name: value for name, value in row.items() if name in message.c}
        connection.execute(insert(message).values(known))
    if inspect(connection).has_table("callback_tally"):
        tally = dict.fromkeys(("accepted", "repeated", "by_secondary", "refused"), 3)
        values = tally | {"began_at": stored_at, "process": "p"}
        connection.execute(insert(reflect(connection, "callback_tally")).values(values))


def stored_key(connection: Connection, key: uuid.UUID) -> str | uuid.UUID:
    return key.hex if connection.dialect.name == "sqlite" else key


@pytest.mark.slow
@pytest.mark.parametrize(
    "revision",
    [
        pytest.param(revision, marks=() if revision in DIFFERENT else pytest.mark.slow)
        for revision in OLDER
    ],
)
def test_columns_are_renamed_in_every_older_schema_and_back(app: Flask, revision: str) -> None:
    with app.app_context():
        downgrade(revision=revision)
        at = utcnow()
        with db.engine.begin() as connection:
            fill(connection, at)
        upgrade()
        columns = (Message.idempotency_key, Message.has_conflict, Message.recipient_reversed)
        query = select(*columns, Message.resend_of_id).order_by(Message.id)
        second = 1 if revision >= "0004" else None
        assert [tuple(row) for row in db.session.execute(query)] == [
            (KEY, True, "60005550051", None),
            (TWIN_KEY, False, "60005550051", second),
        ]
        has_tally = revision >= "0002"
        assert db.session.scalars(select(CallbackTally.bucket_at)).all() == [at] * has_tally
        db.session.remove()
        downgrade(revision="0010")
        with db.engine.connect() as connection:
            message = reflect(connection, "message")
            restored = select(message.c.conflicting, message.c.again_of_id).order_by(message.c.id)
            assert [tuple(row) for row in connection.execute(restored)] == [
                (True, None),
                (False, second),
            ]
            index_names = {index["name"] for index in inspect(connection).get_indexes("message")}
        assert "ix_message_again_of_id" in index_names
        upgrade()
