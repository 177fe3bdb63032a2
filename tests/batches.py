"""Batches as people upload them, checked and queued by a worker's own functions."""

import uuid
from collections.abc import Sequence

from flask import Flask
from sqlalchemy import select

from smstracker.batches import control
from smstracker.batches.checking import check_waiting
from smstracker.batches.queueing import queue_waiting
from smstracker.batches.uploads import Upload, pack_file, store_form
from smstracker.extensions import db, writing
from smstracker.models import Batch, BatchRow, Message
from smstracker.models.audit_log import COMMAND_LINE
from smstracker.sms.quiet_hours import QuietHours
from tests.clients import Person

SENDER = "+15005550006"


def number(position: int) -> str:
    return f"+1415555{position:04}"


def people(count: int, *more_lines: str) -> str:
    """A CSV file of that many people, and lines below them."""
    lines = [f"{number(position)},Person {position}" for position in range(count)]
    return "\n".join(["phone,name", *lines, *more_lines])


def never() -> bool:
    return False


def upload(
    person: Person,
    content: str | bytes,
    text: str = "Hi ((name))",
    *,
    key: uuid.UUID | None = None,
    name: str = "people.csv",
    quiet_hours: QuietHours | None = None,
) -> int:
    """Upload a file; return the id of its batch."""
    data = content.encode() if isinstance(content, str) else content
    form, owner_id = Upload(name, text, SENDER, pack_file([data]), quiet_hours), person.id
    with person.app.app_context(), writing():
        return store_form(owner_id, key or uuid.uuid4(), form)[0].id


def check(app: Flask) -> int:
    with app.app_context():
        return check_waiting(never)


def ready_batch(person: Person, content: str | bytes, text: str = "Hi ((name))") -> int:
    """Upload a file and have it checked; return the id of its batch."""
    batch_id = upload(person, content, text)
    check(person.app)
    return batch_id


def start(app: Flask, batch_id: int, *, knows_equal: bool = False) -> None:
    with app.app_context(), writing():
        batch = db.session.get_one(Batch, batch_id)
        control.start(batch_id, batch.good_count, COMMAND_LINE, knows_equal=knows_equal)


def queue(app: Flask) -> int:
    with app.app_context():
        return queue_waiting(never)


def read_batch(app: Flask, batch_id: int) -> Batch:
    with app.app_context():
        return db.session.get_one(Batch, batch_id)


def read_rows(app: Flask, batch_id: int) -> Sequence[BatchRow]:
    with app.app_context():
        return db.session.scalars(BatchRow.select_next(batch_id, 0, 10_000)).all()


def read_messages(app: Flask, batch_id: int) -> Sequence[Message]:
    with app.app_context():
        query = select(Message).where(Message.batch_id == batch_id).order_by(Message.id)
        return db.session.scalars(query).all()


def earlier_message(person: Person, recipient: str, **columns: object) -> None:
    """Store a message of this user to a number, delivered unless `columns` say otherwise."""
    person.has_message(**{"status": "delivered", "recipient": recipient} | columns)
