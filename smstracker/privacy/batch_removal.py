"""What batches hold of people: rows, uploaded files and texts, and how they are removed."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from sqlalchemy import ColumnElement, String, case, cast, delete, func, or_, select, update
from sqlalchemy.engine import Connection

from smstracker.clock import utcnow
from smstracker.database.engine import affected_rows, reading_connection
from smstracker.extensions import db, settings
from smstracker.models import Batch, BatchFile, BatchRow, Message, User
from smstracker.models.batches import BatchState
from smstracker.privacy.portions import Portion, run_portions
from smstracker.sms.numbering_plan import split_country_code
from smstracker.sms.status import OUTBOX

SCANNED_ROWS = 500
_FILE_ERASED = "The file was deleted when the data of a person was erased. Upload it again."
_CELL_ERASED = "A cell was deleted when the data of a person was erased."
_TOO_OLD = "The reason was deleted with the text of the row."
# Those that go on by themselves are left until they are over.
_UNDER_WAY = (BatchState.RUNNING, BatchState.CHECKING)


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


def _written(number: str) -> list[str]:
    """The digits of a number with its country code, and without."""
    split = split_country_code(number.removeprefix("+"))
    return [number.removeprefix("+"), *([split.national] if split else [])]


def _holds(cell: str, number: str, *, is_exact: bool) -> bool:
    """Whether a cell is the number, with or without its country code, or not exactly: has it."""
    typed = re.sub(r"\D", "", cell).lstrip("0")
    return any(typed == part or (not is_exact and part in typed) for part in _written(number))


def erase_rows(connection: Connection, number: str) -> int:
    """Delete all rows that are to a number, and the number in cells of others; return how many.

    Files that are not read yet may hold it as well, so they go too.
    """
    keys = find_rows(connection, number)
    for key in keys:
        is_row = (BatchRow.batch_id == key.batch_id, BatchRow.number == key.number)
        row = connection.execute(select(BatchRow.recipient, BatchRow.cells).where(*is_row)).first()
        if row is None or row.recipient in (number, None):
            connection.execute(delete(BatchRow).where(*is_row))
            continue
        _blank_cells(connection, key, row.cells, number)
    _delete_unread_files(connection)
    return len(keys)


def _blank_cells(connection: Connection, key: RowKey, cells: list[str], number: str) -> None:
    """Empty the cells with the number. A row whose text would have had one is not sent."""
    blanked = ["" if _holds(cell, number, is_exact=True) else cell for cell in cells]
    is_row = (BatchRow.batch_id == key.batch_id, BatchRow.number == key.number)
    query = select(Batch.field_positions).where(Batch.id == key.batch_id)
    positions = connection.scalars(query).one().values()
    changes: dict[str, object] = {"cells": blanked}
    if any(p < len(cells) and cells[p] != blanked[p] for p in positions):
        changes["problem"] = _CELL_ERASED
    connection.execute(update(BatchRow).where(*is_row).values(changes))


def _delete_unread_files(connection: Connection) -> None:
    has_file = Batch.id.in_(select(BatchFile.batch_id))
    refused = {"state": BatchState.REFUSED, "problem": _FILE_ERASED, "choices": []}
    batch_ids = connection.scalars(
        update(Batch).where(has_file).values(refused).returning(Batch.id)
    )
    BatchFile.remove(connection, batch_ids.all())


def remove_expired_batches() -> Iterator[int]:
    """Delete texts and cells of batches after KEEP_TEXT_DAYS; whole batches after
    KEEP_MESSAGE_DAYS, discarded ones and those of deleted users. Yields how many rows of each
    second.
    """
    is_unwanted: ColumnElement[bool]
    is_unwanted = Batch.owner_id.in_(select(User.id).where(User.erases_messages))
    is_unwanted |= Batch.state == BatchState.DISCARDED
    if (message_days := settings().keep_message_days) is not None:
        is_unwanted |= _is_older(message_days)
    yield from run_portions(partial(_remove_portion, is_unwanted, _delete_rows))
    if (text_days := settings().keep_text_days) is not None:
        is_due = _is_older(text_days) & Batch.content_deleted_at.is_(None)
        yield from run_portions(partial(_remove_portion, is_due, _blank_rows))


def _is_older(days: int) -> ColumnElement[bool]:
    """Whether the last message of a batch, if there is any, is older than that."""
    newest = func.coalesce(Batch.ended_at, Batch.started_at, Batch.created_at)
    return newest < utcnow() - timedelta(days=days)


def _remove_portion(
    is_due: ColumnElement[bool], remove: Callable[[Connection, int, int], int], portion: Portion
) -> int:
    """Remove rows of the first batch that is due; return how many, at least one.

    A paused batch is stopped; what waits of it is cancelled before it is looked at again.
    """
    waits = Batch.id.in_(select(Message.batch_id).where(Message.status == OUTBOX))
    is_over = Batch.state.not_in(_UNDER_WAY) & ~((Batch.state == BatchState.STOPPED) & waits)
    query = select(Batch.id, Batch.state).where(is_due, is_over).order_by(Batch.id).limit(1)
    with reading_connection(db.engine) as connection:
        if connection.execute(query).first() is None:
            return 0
    with portion.turn() as connection:
        batch = connection.execute(query.with_for_update(skip_locked=True)).first()
        if batch is None:
            return 0
        if batch.state == BatchState.PAUSED:
            stop = update(Batch).where(Batch.id == batch.id)
            connection.execute(stop.values(state=BatchState.STOPPED, ended_at=Batch.started_at))
            return 1
        return max(remove(connection, batch.id, portion.size), 1)


def _delete_rows(connection: Connection, batch_id: int, size: int) -> int:
    count = BatchRow.remove_some(connection, batch_id, size)
    if count < size:
        BatchFile.remove(connection, [batch_id])
        connection.execute(delete(Batch).where(Batch.id == batch_id))
    return count


def _blank_rows(connection: Connection, batch_id: int, size: int) -> int:
    has_cells = cast(BatchRow.cells, String) != "[]"
    numbers = select(BatchRow.number).where(BatchRow.batch_id == batch_id, has_cells).limit(size)
    is_one = (BatchRow.batch_id == batch_id, BatchRow.number.in_(numbers))
    problem = case((BatchRow.problem.is_not(None), _TOO_OLD))
    blank = update(BatchRow).where(*is_one).values(cells=[], problem=problem)
    count = affected_rows(connection.execute(blank))
    if count < size:
        BatchFile.remove(connection, [batch_id])
        empty = {"text": "", "content_deleted_at": utcnow(), "choices": []}
        connection.execute(update(Batch).where(Batch.id == batch_id).values(empty))
    return count
