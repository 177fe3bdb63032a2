"""flask batches list, pause, resume and stop."""

from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select, update

from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.models import AuditEntry, Message, outbox
from smstracker.worker import hand_over
from tests.batches import (
    check,
    number,
    people,
    queue,
    read_batch,
    read_messages,
    ready_batch,
    start,
)
from tests.clients import Person
from tests.programs import Program


def run(app: Flask, *arguments: str) -> tuple[int, str]:
    result = app.test_cli_runner().invoke(args=["batches", *arguments])
    return result.exit_code, result.output


def test_batches_are_listed_without_names_texts_and_numbers(app: Flask, alice: Person) -> None:
    assert run(app, "list") == (0, "No batches.\n")
    batch_id = ready_batch(alice, people(3, "12,Bad"))
    public_id = read_batch(app, batch_id).public_id
    assert run(app, "list")[1] == f"{public_id}  ready  3 of 4 rows can be sent  {alice.email}\n"
    start(app, batch_id)
    queue(app)
    assert run(app, "list")[1] == f"{public_id}  running  0 of 3 handed over  {alice.email}\n"


def test_batch_is_paused_resumed_and_stopped(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(3))
    public_id = str(read_batch(app, batch_id).public_id)
    assert run(app, "pause", public_id) == (1, "Error: Nothing was changed: the batch is ready.\n")
    start(app, batch_id)
    for command, sentence, state in (
        ("pause", "The batch is paused.\n", "paused"),
        ("resume", "The batch goes on.\n", "running"),
    ):
        assert run(app, command, public_id) == (0, sentence)
        assert read_batch(app, batch_id).state == state
    assert run(app, "stop", public_id, "--yes")[0] == 0
    assert run(app, "resume", public_id)[0] == 1


def test_stop_asks_and_says_what_is_not_sent(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(3))
    public_id = str(read_batch(app, batch_id).public_id)
    assert run(app, "stop", public_id) == (1, "Error: Nothing was changed: the batch is ready.\n")
    start(app, batch_id)
    queue(app)
    with app.app_context():
        messages = hand_over.claim_sendable(1)
        with db.engine.begin() as connection:
            assert outbox.begin_hand_over(connection, messages)
    code, output = run(app, "stop", public_id)
    assert (code, read_batch(app, batch_id).state) == (1, "running")
    assert "2 of 3 messages will not be sent. Stop the batch? [y/N]" in output
    assert run(app, "stop", public_id, "--yes") == (
        0,
        "The batch is stopped. Handed over: 1. Will not be sent: 2.\n",
    )
    assert read_batch(app, batch_id).state == "stopped"


def test_stop_counts_what_twilio_did_not_take_as_not_sent(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(3))
    start(app, batch_id)
    queue(app)
    with app.app_context(), writing():
        is_first = Message.id == read_messages(app, batch_id)[0].id
        refused = {"status": "refused", "error_code": "20003", "final_at": utcnow()}
        db.session.execute(update(Message).where(is_first).values(refused))
    public_id = str(read_batch(app, batch_id).public_id)
    assert run(app, "stop", public_id, "--yes") == (
        0,
        "The batch is stopped. Handed over: 0. Will not be sent: 3.\n",
    )


def test_resume_asks_after_a_pause_of_days(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(3))
    public_id = str(read_batch(app, batch_id).public_id)
    start(app, batch_id)
    run(app, "pause", public_id)
    with time_machine.travel(utcnow() + timedelta(days=6), tick=False):
        code, output = run(app, "resume", public_id)
        assert (code, read_batch(app, batch_id).state) == (1, "paused")
        assert "paused for 6 days" in output
        assert run(app, "resume", public_id, "--yes") == (0, "The batch goes on.\n")


@pytest.mark.parametrize("batch_id", ["12", "00000000-0000-0000-0000-000000000001"])
@pytest.mark.parametrize("command", ["pause", "resume", "stop"])
def test_unknown_batch_is_told(app: Flask, command: str, batch_id: str) -> None:
    assert run(app, command, batch_id) == (
        1,
        "Error: There is no batch with that id. Give the id that flask batches list shows.\n",
    )


@pytest.mark.both_databases
def test_audit_log_tells_who_changed_which_batch(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(3))
    public_id = str(read_batch(app, batch_id).public_id)
    path = f"/batches/{public_id}"
    alice.post(f"{path}/start", {"count": "3"}, page=path)
    alice.post(f"{path}/pause", page=path)
    alice.post(f"{path}/pause", page=path)  # changes nothing
    run(app, "resume", public_id)
    run(app, "pause", public_id)
    alice.post(f"{path}/resume", page=path)
    run(app, "stop", public_id, "--yes")
    with app.app_context():
        entries = db.session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    acts = [(entry.action, entry.actor) for entry in entries if entry.subject]
    assert acts == [
        ("started-batch", alice.email),
        ("paused-batch", alice.email),
        ("resumed-batch", "command line"),
        ("paused-batch", "command line"),
        ("resumed-batch", alice.email),
        ("stopped-batch", "command line"),
    ]
    assert {entry.subject for entry in entries if entry.subject} == {
        f"batch {public_id} of {alice.email}"
    }


def test_audit_log_tells_the_token_that_started_a_batch(app: Flask) -> None:
    program, rows = Program(app), [{"to": number(1)}]
    body = {"text": "Hi", "rows": rows, "start_count": 1}
    program.post("batches", json=body, headers={"Idempotency-Key": "k"})
    check(app)
    with app.app_context():
        is_start = AuditEntry.action == "started-batch"
        assert db.session.scalar(select(AuditEntry.actor).where(is_start)) == (
            f"token {program.token_id}"
        )
