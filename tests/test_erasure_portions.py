"""An erasure of a number that stands in many rows of batches, which takes several transactions."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert, select

from smstracker.batches.uploads import discard
from smstracker.clock import utcnow
from smstracker.database.advisory_locks import lock_key
from smstracker.extensions import db, writing
from smstracker.models import Batch, BatchRow, Message
from smstracker.models.tombstones import HashedKind, keyed_hash
from smstracker.privacy import batch_rows, erasure
from smstracker.privacy.retention import remove_expired
from tests.batches import number, people, queue, read_messages, read_rows, ready_batch, start
from tests.clients import Person, words
from tests.databases import await_lock_wait
from tests.postgresql_programs import path_to_programs
from tests.serving import close

pytestmark = pytest.mark.both_databases

OFFICE = number(7)
MANY = "\n".join(["phone,name,office", *(f"{number(n)},P,(415) 555-0007" for n in range(20, 29))])


@pytest.fixture(autouse=True)
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_rows, "SCANNED_ROWS", 2)


def erase(app: Flask) -> None:
    with app.app_context():
        result = erasure.erase(OFFICE, at_twilio=False, actor="carol@example.org")
        assert erasure.count_left(result.receipt) == 0


def read_statuses(app: Flask) -> Sequence[str]:
    """The statuses of the messages to the number."""
    with app.app_context():
        query = select(Message.status).where(Message.recipient == OFFICE)
        return db.session.scalars(query).all()


def act_before(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Have something happen before each call of a function of `erasure`."""
    function = getattr(erasure, name)

    def act_first(*arguments: Any) -> Any:
        act()
        return function(*arguments)

    monkeypatch.setattr(erasure, name, act_first)


def test_rows_to_the_number_go_before_all_rows_that_hold_it(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would become messages while the others are erased, which are many."""
    other_id = ready_batch(alice, MANY)
    running_id = ready_batch(alice, people(9))
    start(app, running_id)
    act_before(monkeypatch, "_erase_left_rows", lambda: queue(app))
    act_before(monkeypatch, "_erase_rest", lambda: statuses.extend(read_statuses(app)))
    statuses = list[str]()
    erase(app)
    assert len(read_messages(app, running_id)) == 8
    assert statuses == []
    assert {row.cells[2] for row in read_rows(app, other_id)} == {""}
    with app.app_context():
        assert erasure.read_receipts()[0][0].batch_rows == 10


def test_each_portion_stops_messages_that_were_made_meanwhile(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_batch(alice, MANY)
    statuses = list[str]()

    def make_message() -> None:
        alice.has_message(status="outbox", recipient=OFFICE, send_at=utcnow())

    act_before(monkeypatch, "_erase_left_rows", make_message)
    act_before(monkeypatch, "_erase_rest", lambda: statuses.extend(read_statuses(app)))
    erase(app)
    assert statuses == ["canceled"]
    assert read_statuses(app) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_each_portion_waits_for_another_erasure_of_the_number(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else both would store the same message, and count it."""
    batch_id = ready_batch(alice, MANY)
    with app.app_context(), ThreadPoolExecutor(1) as thread, db.engine.connect() as connection:
        key = keyed_hash(connection, HashedKind.NUMBER, OFFICE).hex()
        act_before(monkeypatch, "_erase_left_rows", lambda: lock_key(connection, key))
        result = thread.submit(erase, app)
        await_lock_wait()
        rows = read_rows(app, batch_id)
        connection.rollback()
        result.result(30)
    assert [row.cells[2] for row in rows].count("") == 2  # the first transaction's


def test_rows_and_messages_that_come_meanwhile_are_erased_at_the_end(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt says that all is erased, of which nobody knows when it came."""
    batch_ids = [ready_batch(alice, MANY)]

    def copy_rows() -> None:
        if len(batch_ids) == 1:
            batch_ids.append(ready_batch(alice, f"{MANY}\n{OFFICE},P,"))
            alice.has_message(status="delivered", recipient=OFFICE, next_lookup_at=None)

    act_before(monkeypatch, "_erase_rest", copy_rows)
    erase(app)
    for batch_id in batch_ids:
        rows = read_rows(app, batch_id)
        assert [row.cells[2] for row in rows] == [""] * 9
    assert read_statuses(app) == []
    with app.app_context():
        [(receipt, _left)] = erasure.read_receipts()
        assert (receipt.batch_rows, receipt.messages) == (19, 1)


def test_receipt_says_that_rows_are_left_until_the_number_is_erased_again(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker cannot go on where an erasure was interrupted: nobody tells it the number."""
    app.test_cli_runner().invoke(args=["users", "add", "carol@example.org", "--admin"])
    ready_batch(alice, MANY)

    def end() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        act_before(patch, "_erase_left_rows", end)
        with pytest.raises(KeyboardInterrupt):
            erase(app)
    with app.app_context():
        for _ in remove_expired(None):
            pass
        [(receipt, left_count)] = erasure.read_receipts()
    assert left_count == 1
    admin = Person.signed_in(app, "carol@example.org")
    page = words(admin.get(f"/privacy/receipts/{receipt.receipt}").text)
    assert "Rows of batches may still hold the number." in page
    assert "Everything is erased" not in page
    assert "Still to be erased" not in page
    erase(app)
    page = words(admin.get(f"/privacy/receipts/{receipt.receipt}").text)
    assert "Everything is erased here." in page
    assert "Rows of batches may" not in page


@pytest.mark.parametrize("step", ["_erase_left_rows", "_erase_rest"])
def test_interrupted_erasure_is_finished_although_its_rows_are_gone(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    batch_id = ready_batch(alice, MANY)

    def end() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        act_before(patch, step, end)
        with pytest.raises(KeyboardInterrupt):
            erase(app)
    with app.app_context(), writing():
        discard(Batch.lock(batch_id))
    admin = Person.signed_in(app, "carol@example.org")
    app.test_cli_runner().invoke(args=["users", "add", admin.email, "--admin"])
    page = admin.post("/privacy/person", {"number": OFFICE}, page="/privacy").text
    assert "An erasure of this number was interrupted." in words(page)
    said = app.test_cli_runner().invoke(args=["messages", "erase", "--yes"], input=OFFICE).output
    assert "An erasure of this number was interrupted. This one finishes it." in said
    with app.app_context():
        [*_, (_receipt, left_count)] = erasure.read_receipts()
        assert left_count == 0
    said = app.test_cli_runner().invoke(args=["messages", "erase", "--yes"], input=OFFICE).output
    assert "Nothing is held of this number." in said


def test_restore_names_an_erasure_that_its_backup_has_begun(
    make_app: Callable[..., Flask],
    app: Flask,
    alice: Person,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", path_to_programs())
    ready_batch(alice, MANY)

    def run(*arguments: str | Path) -> str:
        other = make_app()
        result = other.test_cli_runner().invoke(args=[str(argument) for argument in arguments])
        close(other)
        return result.output

    with monkeypatch.context() as patch:
        act_before(patch, "_erase_left_rows", lambda: run("backup", tmp_path / "a"))
        erase(app)
    with app.app_context():
        [(receipt, _left)] = erasure.read_receipts()
    close(app)
    said = run("restore", tmp_path / "a", "--replace")
    assert "the restore brings them back. Erase them once more after it" in said
    assert f"They were: {receipt.receipt}." in said


@pytest.mark.slow
def test_more_rows_to_the_number_than_one_statement_may_name(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = ready_batch(alice, people(1))
    with app.app_context(), writing():
        rows = ({"batch_id": batch_id, "number": n, "recipient": OFFICE} for n in range(3, 70_000))
        db.session.execute(insert(BatchRow), [{**row, "cells": [], "warnings": 0} for row in rows])
    erase(app)
    assert [row.recipient for row in read_rows(app, batch_id)] == [number(0)]
