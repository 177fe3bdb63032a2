"""An erasure that is killed in the middle: the worker finishes it, and nothing else goes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from threading import Event
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import func, insert, select, update

from config import ROOT
from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.models import Erasure, Message, PendingRemoval, ScheduledJob, StatusEvent
from smstracker.models.messages import reverse_digits
from tests.clients import Person
from tests.live_settings import live_environment
from tests.signing import fields, sid

pytestmark = [pytest.mark.both_databases, pytest.mark.slow]

NUMBER, OTHER = "+15558675310", "+15558675399"
ALICE = "alice@example.org"
COUNT = 3_000
OTHERS_SHARE = 10  # every tenth message is Bob's, to OTHER
ERASE_PERSON = (["messages", "erase", "--yes"], NUMBER)
DELETE_USER = (["users", "delete", ALICE, "--erase-messages", "--yes"], "")


def fill(app: Flask, owners: tuple[int, int]) -> None:
    """Store delivered messages of Alice to NUMBER and of Bob to OTHER, each with a callback."""
    now, rows, events = utcnow(), [], []
    shared = {"body": "Hello", "media_urls": [], "simulated": False, "status": "delivered"}
    shared |= {"status_at": now, "created_at": now, "final_at": now}
    event = {"status": "delivered", "source": "callback", "received_at": now}
    for id_ in range(1, COUNT + 1):
        is_other = id_ % OTHERS_SHARE == 0
        number = OTHER if is_other else NUMBER
        ids = {"id": id_, "idempotency_key": uuid4(), "public_id": uuid4(), "twilio_sid": sid(id_)}
        recipient = {"recipient": number, "recipient_reversed": reverse_digits(number)}
        rows.append(shared | ids | recipient | {"owner_id": owners[is_other]})
        payload = fields(sid(id_), "delivered", To=number)
        events.append(event | {"message_id": id_, "payload": payload})
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(insert(Message), rows)
        connection.execute(insert(StatusEvent), events)


@contextmanager
def process(database_url: str, arguments: list[str], typed: str = "") -> Iterator[None]:
    """A process of the command line, killed by SIGKILL at the end of the block."""
    env = live_environment(DATABASE_URL=database_url)
    command = [sys.executable, "-m", "flask", "--app", "wsgi", *arguments]
    with TemporaryFile() as file:
        file.write(f"{typed}\n".encode())
        file.seek(0)
        running = subprocess.Popen(command, cwd=ROOT, env=env, stdin=file, stdout=file, stderr=file)
    try:
        yield
    finally:
        running.kill()
        running.wait(60)


def count(app: Flask, number: str) -> int:
    query = select(func.count()).where(Message.recipient == number)
    with app.app_context(), reading_connection(db.engine) as connection:
        return connection.scalar(query) or 0


def wait_until_below(app: Flask, limit: int) -> int:
    """Wait until fewer messages to NUMBER are left; return how many."""
    for _ in range(6_000):
        if (left_count := count(app, NUMBER)) < limit:
            return left_count
        Event().wait(0.02)
    raise AssertionError(f"{left_count} messages are left")


def wait_for_end(app: Flask, condition: Callable[[], bool]) -> None:
    for _ in range(1_200):
        with app.app_context():
            if condition():
                return
        Event().wait(0.05)
    raise AssertionError("it never came about")


def is_finished() -> bool:
    with reading_connection(db.engine) as connection:
        return not connection.scalar(select(func.count()).select_from(PendingRemoval))


@pytest.mark.parametrize(
    ("arguments", "typed"), [ERASE_PERSON, DELETE_USER], ids=["person", "user"]
)
def test_killed_erasure_is_finished_and_touches_nothing_else(
    app: Flask, alice: Person, bob: Person, database_url: str, arguments: list[str], typed: str
) -> None:
    fill(app, (alice.id, bob.id))
    erased_count = count(app, NUMBER)
    with process(database_url, arguments, typed):
        left_count = wait_until_below(app, erased_count)
    assert 0 < count(app, NUMBER) <= left_count
    with process(database_url, ["worker"]):
        left_count = wait_until_below(app, count(app, NUMBER))
    assert left_count
    with app.app_context(), db.engine.begin() as connection:  # the lease of the killed one ended
        connection.execute(update(ScheduledJob).values(due_at=utcnow()))
    with process(database_url, ["worker"]):
        wait_until_below(app, 1)
        wait_for_end(app, is_finished)
    assert count(app, OTHER) == COUNT // OTHERS_SHARE
    with app.app_context(), reading_connection(db.engine) as connection:
        payloads = connection.scalars(select(StatusEvent.payload)).all()
        assert [payload["To"] for payload in payloads if payload] == [OTHER] * count(app, OTHER)
        erased = connection.scalars(select(Erasure.messages)).all()
        assert erased == ([erased_count] if typed else [])
