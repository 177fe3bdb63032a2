"""flask batches list, pause, resume and stop."""

from datetime import timedelta

import time_machine
from flask import Flask

from smstracker.clock import utcnow
from tests.batches import people, queue, read_batch, ready_batch, start
from tests.clients import Person


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
        ("stop", "The batch is stopped.\n", "stopped"),
    ):
        assert run(app, command, public_id) == (0, sentence)
        assert read_batch(app, batch_id).state == state
    assert run(app, "resume", public_id)[0] == 1


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


def test_unknown_batch_is_told(app: Flask) -> None:
    code, output = run(app, "stop", "00000000-0000-0000-0000-000000000001")
    assert (code, output) == (1, "Error: There is no batch with that id.\n")
