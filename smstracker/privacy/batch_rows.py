"""What batches hold of one person: rows that are to a number or hold it, and files not read yet."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import String, cast, delete, func, or_, select, update
from sqlalchemy.engine import Connection

from smstracker.models import Batch, BatchFile, BatchRow, Message, outbox
from smstracker.models.batches import BatchState
from smstracker.sms.numbering_plan import split_country_code
from smstracker.sms.status import OUTBOX

SCANNED_ROWS = 500
_FILE_ERASED = "The file was deleted when the data of a person was erased. Upload it again."
_CELL_ERASED = "A cell was deleted when the data of a person was erased."


class RowKey(NamedTuple):
    """The key of a row of a batch."""

    batch_id: int
    number: int


def find_rows(connection: Connection, number: str) -> list[RowKey]:
    """Find the rows that are to a number in E.164, or that hold it in a cell.

    Also rows that cannot be sent: their number may lack its country code.
    """
    cells = cast(BatchRow.cells, String)
    is_near = or_(
        *(BatchRow.recipient == number, BatchRow.recipient.is_(None)),
        *(cells.contains(part) for part in _written(number)),
    )
    query = select(BatchRow.batch_id, BatchRow.number, BatchRow.recipient, BatchRow.cells)
    rows = connection.execute(query.where(is_near).execution_options(yield_per=SCANNED_ROWS))
    return [
        RowKey(row.batch_id, row.number)
        for row in rows
        if row.recipient == number
        or any(_holds(cell, number, is_exact=row.recipient is not None) for cell in row.cells)
    ]


def count_unread_files(connection: Connection) -> int:
    """The files of which no row is stored: anybody may be in them."""
    is_unread = Batch.state.in_((BatchState.CHECKING, BatchState.REFUSED))
    has_file = Batch.id.in_(select(BatchFile.batch_id))
    query = select(func.count()).select_from(Batch).where(is_unread, has_file)
    return connection.scalar(query) or 0


def _written(number: str) -> list[str]:
    """The digits of a number with its country code, and without."""
    split = split_country_code(number.removeprefix("+"))
    return [number.removeprefix("+"), *([split.national] if split else [])]


def _holds(cell: str, number: str, *, is_exact: bool) -> bool:
    """Whether a cell is the number, with or without its country code, or not exactly: has it."""
    typed = re.sub(r"\D", "", cell).lstrip("0")
    return any(typed == part or (not is_exact and part in typed) for part in _written(number))


def erase_rows(connection: Connection, number: str) -> tuple[int, int]:
    """Delete all rows that are to a number, and the number in cells of others.

    Files may hold it as well, so they go too. Returns how many rows and unread files there were.
    """
    keys = find_rows(connection, number)
    # Whoever makes messages of these rows just now has finished then: they are cancelled next.
    batch_ids = sorted({key.batch_id for key in keys})
    batches = select(Batch.id).where(Batch.id.in_(batch_ids)).order_by(Batch.id)
    connection.execute(batches.with_for_update())
    for key in keys:
        is_row = (BatchRow.batch_id == key.batch_id, BatchRow.number == key.number)
        row = connection.execute(select(BatchRow.recipient, BatchRow.cells).where(*is_row)).first()
        if row is None or row.recipient in (number, None):
            connection.execute(delete(BatchRow).where(*is_row))
            continue
        _blank_cells(connection, key, row.cells, number)
    _count_good_rows(connection, batch_ids)
    file_count = count_unread_files(connection)
    _delete_files(connection)
    return len(keys), file_count


def _blank_cells(connection: Connection, key: RowKey, cells: list[str], number: str) -> None:
    """Empty the cells with the number. A row whose text would have had one is not sent."""
    blanked = ["" if _holds(cell, number, is_exact=True) else cell for cell in cells]
    is_row = (BatchRow.batch_id == key.batch_id, BatchRow.number == key.number)
    query = select(Batch.field_positions).where(Batch.id == key.batch_id)
    positions = connection.scalars(query).one().values()
    changes: dict[str, object] = {"cells": blanked}
    if any(p < len(cells) and cells[p] != blanked[p] for p in positions):
        changes["problem"] = _CELL_ERASED
        _cancel_message(connection, key)
    connection.execute(update(BatchRow).where(*is_row).values(changes))


def _cancel_message(connection: Connection, key: RowKey) -> None:
    """Cancel the message of a row if it waits here to be sent: its text holds the number."""
    batch = connection.execute(
        select(Batch.owner_id, Batch.public_id).where(Batch.id == key.batch_id)
    ).one()
    is_message = (
        Message.owner_id == batch.owner_id,
        Message.idempotency_key == Batch(public_id=batch.public_id).message_key(key.number),
        Message.status == OUTBOX,
    )
    if message_id := connection.scalar(select(Message.id).where(*is_message)):
        outbox.cancel(connection, message_id)


def _count_good_rows(connection: Connection, batch_ids: Sequence[int]) -> None:
    """Count anew the rows of batches that are not started: as many are sent as are confirmed."""
    good_rows = select(func.count()).select_from(BatchRow)
    good_rows = good_rows.where(BatchRow.batch_id == Batch.id, BatchRow.problem.is_(None))
    waiting = update(Batch).where(Batch.id.in_(batch_ids), Batch.state == BatchState.READY)
    connection.execute(waiting.values(good_count=good_rows.scalar_subquery()))


def _delete_files(connection: Connection) -> None:
    """Delete all files; those that are not read yet have to be uploaded again."""
    has_file = Batch.id.in_(select(BatchFile.batch_id))
    is_ready = Batch.state == BatchState.READY
    ready_ids = connection.scalars(select(Batch.id).where(has_file, is_ready)).all()
    refused = {"state": BatchState.REFUSED, "problem": _FILE_ERASED, "choices": []}
    batch_ids = connection.scalars(
        update(Batch).where(has_file, ~is_ready).values(refused).returning(Batch.id)
    )
    BatchFile.remove(connection, [*ready_ids, *batch_ids])
