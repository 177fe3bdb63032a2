"""Commands and jobs wait for locks longer than the database does, and then say so."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import pytest
from flask import Flask
from sqlalchemy import Executable, event, select
from sqlalchemy.exc import OperationalError

from smstracker.database import lock_waits
from smstracker.database.lock_waits import repeat_while_locked
from smstracker.extensions import db
from smstracker.models import RefusedCallback, RemovalCounter, User
from smstracker.models.removals import CounterName
from smstracker.privacy import erasure
from smstracker.privacy.former_users import erase_former_users
from tests.clients import Person
from tests.refused_callbacks import refused_rows, replayed
from tests.signing import call_back, callback_path, fields, sid

pytestmark = [
    pytest.mark.both_databases,
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
]

MakeApp = Callable[..., Flask]
NUMBER = "+15558675310"


@pytest.fixture
def impatient(make_app: MakeApp, database_url: str) -> Flask:
    """An app for which the database gives up at once."""
    mark = "&" if "?" in database_url else "?"
    return make_app(DATABASE_URL=f"{database_url}{mark}options=-clock_timeout%3D20ms")


def replay(app: Flask) -> object:
    return replayed(app)


def erase_person(app: Flask) -> object:
    with app.app_context():
        return erasure.erase(NUMBER, at_twilio=False, actor="ann@example.org")


def erase_users(app: Flask) -> object:
    with app.app_context():
        return list(erase_former_users())


@contextmanager
def first_failure(app: Flask) -> Iterator[Event]:
    """Set the event when the database gives up for the first time."""
    has_failed = Event()
    with app.app_context():
        engine = db.engine
    event.listen(engine, "handle_error", lambda _context: has_failed.set())
    yield has_failed


@pytest.mark.parametrize(
    ("work", "locked"),
    [
        (replay, select(RefusedCallback.id)),
        (erase_person, select(RefusedCallback.id)),
        (erase_person, select(RemovalCounter.value)),
        (erase_users, select(RemovalCounter.value)),
    ],
)
def test_work_is_done_once_the_lock_ends(
    app: Flask,
    impatient: Flask,
    alice: Person,
    work: Callable[[Flask], object],
    locked: Executable,
) -> None:
    """What another one of the kind, or the worker, holds for longer than the database waits."""
    message = alice.has_message(twilio_sid=sid(1), recipient=NUMBER, status="delivered")
    path = f"{callback_path(message)}/refused"
    assert call_back(app.test_client(), fields(sid(2), "sent"), path).status_code == 404
    with app.app_context(), db.engine.begin() as connection:
        RemovalCounter.add(connection, CounterName.DELETED, 0)
        if work is erase_users:
            connection.execute(db.update(User).values(erases_messages=True))
    with (
        app.app_context(),
        first_failure(impatient) as has_failed,
        ThreadPoolExecutor(1) as thread,
        db.engine.connect() as connection,
    ):
        assert connection.execute(locked.with_for_update()).all()  # type: ignore[attr-defined]
        result = thread.submit(work, impatient)
        assert has_failed.wait(20)
        connection.rollback()
        assert result.result(30) in ((1, 0), [1]) or work is erase_person
    if work is not replay:
        assert alice.messages() == []
    if work is erase_person:
        assert refused_rows(app) == []


def test_lock_that_does_not_end_is_told(
    app: Flask, impatient: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_waits, "PATIENCE_SECONDS", 0.1)

    def wait() -> None:
        with db.engine.begin() as connection:
            connection.execute(select(RemovalCounter.value).with_for_update())

    with app.app_context(), db.engine.connect() as connection:
        RemovalCounter.add(connection, CounterName.DELETED, 0)
        connection.commit()
        connection.execute(select(RemovalCounter.value).with_for_update())
        with impatient.app_context(), pytest.raises(OperationalError):
            repeat_while_locked(wait)


def test_other_failure_is_told_at_once(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_waits, "PATIENCE_SECONDS", 0.1)
    failures = [OperationalError("INSERT", {}, Exception("gone")) for _ in range(2)]
    with pytest.raises(OperationalError):
        repeat_while_locked(lambda: (_ for _ in ()).throw(failures.pop()))
    assert len(failures) == 1


@pytest.mark.slow
def test_receipt_is_given_although_the_rest_stays_locked(
    app: Flask, impatient: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker finishes what is stored as pending."""
    monkeypatch.setattr(lock_waits, "PATIENCE_SECONDS", 0.1)
    alice.has_message(recipient=NUMBER, status="delivered")
    with app.app_context(), db.engine.connect() as connection:
        RemovalCounter.add(connection, CounterName.DELETED, 0)
        connection.commit()
        connection.execute(select(RemovalCounter.value).with_for_update())
        output = impatient.test_cli_runner().invoke(
            args=["messages", "erase", "--yes"], input=f"{NUMBER}\n"
        )
        assert output.exit_code == 0, output.output
        assert "Receipt " in output.output
        assert "1 message or callback is under way" in output.output
