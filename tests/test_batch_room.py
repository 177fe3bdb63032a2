"""What one person may have uploaded and not sent: so much is stored, however small the file is."""

import secrets

import pytest
import time_machine
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import func, select

from smstracker.batches import checking, control, uploads
from smstracker.batches.checking import CHUNK_ROWS
from smstracker.batches.uploads import TooManyDraftsError, discard
from smstracker.clock import DAY, utcnow
from smstracker.extensions import db, writing
from smstracker.models import Batch, BatchRow
from smstracker.models.audit_log import COMMAND_LINE
from smstracker.models.batches import ROW_BYTES, BatchState
from smstracker.privacy.batch_removal import remove_expired_batches
from tests import spreadsheets
from tests.batches import (
    number,
    people,
    queue,
    read_batch,
    read_rows,
    ready_batch,
    start,
    upload,
)
from tests.clients import Person

pytestmark = pytest.mark.both_databases

KB = 1024


def long_rows(count: int, cell: str) -> str:
    lines = (f"{number(position)},{cell}" for position in range(count))
    return "\n".join(["phone,name", *lines])


def unsent_bytes(person: Person) -> int:
    with person.app.app_context(), db.engine.connect() as connection:
        return Batch.sum_unsent_bytes(connection, person.id)


@pytest.fixture
def _little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (uploads, checking):
        monkeypatch.setattr(module, "MAX_DRAFT_BYTES", 20 * KB)


def test_file_with_too_much_text_is_refused_at_its_row(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "MAX_ROWS_BYTES", 100 * KB)
    batch = read_batch(app, ready_batch(alice, long_rows(CHUNK_ROWS + 100, "x" * 200)))
    assert batch.state == BatchState.REFUSED
    assert batch.problem
    assert batch.problem.startswith("Up to row 381, the rows hold more than ")
    assert read_rows(app, batch.id) == []
    assert unsent_bytes(alice) == 0


def test_problems_of_rows_count_as_well(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "\n".join([f"phone {'n' * 2 * KB}", *(["12"] * 200)])
    monkeypatch.setattr(checking, "MAX_ROWS_BYTES", 100 * KB)
    batch = read_batch(app, ready_batch(alice, rows, "Hi"))
    assert batch.problem
    assert batch.problem.startswith("Up to row ")


def test_cells_are_stored_as_they_are_counted(app: Flask, alice: Person) -> None:
    cell = "😀" * 300
    batch = read_batch(app, ready_batch(alice, long_rows(40, cell)))
    with app.app_context():
        cells = db.cast(BatchRow.cells, db.Text)
        stored = db.session.scalar(select(func.sum(func.length(cells)))) or 0
    assert read_rows(app, batch.id)[0].cells[1] == cell
    assert stored < 40 * (len(cell) + 50), "each letter as itself"
    assert 40 * 4 * len(cell) < batch.row_bytes < 40 * (4 * len(cell) + 50 + ROW_BYTES)
    assert unsent_bytes(alice) >= batch.row_bytes


@pytest.mark.usefixtures("_little_room")
def test_rows_of_what_is_not_sent_count(app: Flask, alice: Person, bob: Person) -> None:
    ready_batch(alice, long_rows(10, "x" * KB))
    second = read_batch(app, ready_batch(alice, long_rows(10, "y" * KB)))
    assert second.state == BatchState.REFUSED
    assert second.problem
    assert second.problem.startswith("With row 11 of this batch, more than ")
    assert read_batch(app, ready_batch(bob, long_rows(10, "y" * KB))).state == BatchState.READY
    upload(alice, people(2))


@pytest.mark.usefixtures("_little_room")
def test_discarded_rows_count_until_they_are_gone(app: Flask, alice: Person) -> None:
    for letter in "ab":
        batch_id = ready_batch(alice, long_rows(9, letter * KB))
        with app.app_context(), writing():
            discard(Batch.lock(batch_id))
    with pytest.raises(TooManyDraftsError, match=r"What you deleted counts until it is gone"):
        upload(alice, long_rows(9, f"{secrets.token_hex(2 * KB)}"))
    with app.app_context():
        list(remove_expired_batches())
    assert unsent_bytes(alice) == 0
    assert read_batch(app, ready_batch(alice, long_rows(9, "c" * KB))).state == BatchState.READY


def test_stopped_rows_count_for_thirty_days(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, long_rows(10, "x" * KB))
    start(app, batch_id)
    with app.app_context(), writing():
        control.stop(batch_id, COMMAND_LINE)
    assert unsent_bytes(alice) > 10 * KB
    with time_machine.travel(utcnow() + 31 * DAY):
        assert unsent_bytes(alice) == 0


def test_rows_that_have_their_message_count_no_more(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, long_rows(10, "x" * KB))
    start(app, batch_id)
    assert unsent_bytes(alice) > 10 * KB
    queue(app)
    assert unsent_bytes(alice) == 0


def test_rows_of_before_an_upgrade_count(app: Flask, alice: Person) -> None:
    batch = read_batch(app, ready_batch(alice, long_rows(10, "x" * KB)))
    with app.app_context():
        downgrade(revision="0032")
        upgrade()
    assert read_batch(app, batch.id).row_bytes == batch.row_bytes


def test_small_spreadsheet_of_one_long_cell_is_bounded(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "MAX_ROWS_BYTES", 1024 * KB)
    rows = [["phone", "name"], *([number(position), "😀" * 9_000] for position in range(100))]
    file = spreadsheets.xlsx({"A": rows})
    assert len(file) < 20 * KB
    batch = read_batch(app, ready_batch(alice, file))
    assert batch.problem
    assert batch.problem.startswith("Up to row 31, the rows hold more than ")


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_large_ordinary_file_is_taken(app: Flask, alice: Person) -> None:
    cells = ",".join(["Some ordinary words"] * 9)
    lines = (f"+1415{5_000_000 + position},{cells}" for position in range(100_000))
    heading = ",".join(f"column{position}" for position in range(9))
    batch = read_batch(app, ready_batch(alice, "\n".join([f"phone,{heading}", *lines]), "Hi"))
    assert (batch.state, batch.row_count) == (BatchState.READY, 100_000)
