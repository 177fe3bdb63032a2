"""What batches hold of one person: rows that are to a number or hold it, and files not read yet."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, String, bindparam, cast, delete, func, select, update
from sqlalchemy.engine import Connection

from smstracker.database.row_sets import is_any_of
from smstracker.models import Batch, BatchFile, BatchRow, Message, outbox
from smstracker.models.batches import BatchState
from smstracker.privacy.number_text import WrittenNumber
from smstracker.sms.status import OUTBOX

SCANNED_ROWS = 500
BatchVersion = tuple[object, ...]
# What decides which rows a batch has.
_VERSION = (
    *(Batch.content_hash, Batch.phone_column, Batch.sheet_name),
    *(Batch.encoding, Batch.has_heading, Batch.once_per_number),
)
_BATCH_COLUMNS = (Batch.id, Batch.owner_id, Batch.public_id, Batch.field_positions)
_FILE_ERASED = "The file was deleted when the data of a person was erased. Upload it again."
_CELL_ERASED = "A cell was deleted when the data of a person was erased."


class RowKey(NamedTuple):
    """The key of a row of a batch."""

    batch_id: int
    number: int


@dataclass(frozen=True, slots=True)
class FoundRows:
    """Rows that are to a number or hold it, and the state of each batch when they were read.

    `is_own` tells of each whether it is to the number.
    """

    is_own: Mapping[RowKey, bool]
    versions: Mapping[int, BatchVersion]

    @property
    def keys(self) -> Sequence[RowKey]:
        return list(self.is_own)


@dataclass(frozen=True, slots=True)
class ErasedRows:
    """How many rows and unread files were erased, the messages whose texts hold the number, and
    the rows that are not erased yet.
    """

    row_count: int
    message_ids: Sequence[int]
    file_count: int = 0
    left: Sequence[RowKey] = ()


def find_rows(connection: Connection, number: str) -> FoundRows:
    """Find the rows that are to a number in E.164, or that hold it in a cell."""
    versions = _read_versions(connection)  # first: a row that is stored meanwhile is read again
    return FoundRows(_search(connection, number), versions)


def _read_versions(connection: Connection) -> dict[int, BatchVersion]:
    """By batch, what tells that its rows are the same; not of those that are being checked."""
    query = select(Batch.id, *_VERSION).where(Batch.state != BatchState.CHECKING)
    return {row[0]: tuple(row[1:]) for row in connection.execute(query)}


def _search(
    connection: Connection, number: str, *conditions: ColumnElement[bool]
) -> dict[RowKey, bool]:
    """Read all rows that match: SQL does not know how people write a number. As `is_own` above."""
    written = WrittenNumber(number)
    columns = (BatchRow.batch_id, BatchRow.number, BatchRow.recipient, BatchRow.problem)
    query = select(*columns, cast(BatchRow.cells, String).label("cells")).where(*conditions)
    rows = connection.execute(query.execution_options(yield_per=SCANNED_ROWS))
    return {
        RowKey(row.batch_id, row.number): row.recipient == number
        for row in rows
        if row.recipient == number
        or written.matches(row.problem)
        or (written.may_be_in_json(row.cells) and any(map(written.matches, json.loads(row.cells))))
    }


def count_unread_files(connection: Connection) -> int:
    """The files of which no row is stored: anybody may be in them."""
    is_unread = Batch.state.in_((BatchState.CHECKING, BatchState.REFUSED))
    has_file = Batch.id.in_(select(BatchFile.batch_id))
    query = select(func.count()).select_from(Batch).where(is_unread, has_file)
    return connection.scalar(query) or 0


def erase_rows(connection: Connection, number: str, found: FoundRows) -> ErasedRows:
    """Delete the rows to a number, and blank it in other people's rows, SCANNED_ROWS at most
    together; cancel the messages that wait with it in their texts. `left` holds the keys of rows
    not done yet, for `erase_some_rows`.

    Files may hold it as well, so they go too. Only batches that have changed since the rows were
    found are searched again: on SQLite everybody waits for this transaction.
    """
    file_count = count_unread_files(connection)
    is_checking = Batch.state == BatchState.CHECKING
    checking_ids = connection.scalars(select(Batch.id).where(is_checking)).all()
    _delete_files(connection)
    _check_resends_anew(connection)
    _blank_headings(connection, number)
    versions = _read_versions(connection)
    changed_ids = {n for n, version in versions.items() if found.versions.get(n) != version}
    is_changed = BatchRow.batch_id.in_(changed_ids.union(checking_ids))
    is_own = {**found.is_own, **_search(connection, number, is_changed)}
    own_keys = [key for key in is_own if is_own[key]]
    other_keys = sorted(key for key in is_own if not is_own[key])
    room = max(SCANNED_ROWS - len(own_keys), 0)
    erased = erase_some_rows(connection, number, sorted(own_keys + other_keys[:room]))
    return replace(erased, file_count=file_count, left=other_keys[room:])


def erase_some_rows(connection: Connection, number: str, keys: Sequence[RowKey]) -> ErasedRows:
    """Erase rows with these keys, in their order, as `erase_rows` does."""
    row_count, message_ids = 0, list[int]()
    for batch_id, group in groupby(keys, key=attrgetter("batch_id")):
        # Whoever makes messages of these rows just now has finished then: they are cancelled next.
        query = select(*_BATCH_COLUMNS).where(Batch.id == batch_id).with_for_update()
        for batch in connection.execute(query):
            removal = _RowRemoval(connection, batch, number, [key.number for key in group])
            row_count += removal.delete_rows() + removal.blank_cells()
            message_ids += removal.cancel_messages()
    _count_good_rows(connection, sorted({key.batch_id for key in keys}))
    return ErasedRows(row_count, message_ids)


class _RowRemoval:
    """The removal of a number from some rows of a batch; they are read anew."""

    def __init__(
        self, connection: Connection, batch: Row[Any], number: str, row_numbers: Sequence[int]
    ) -> None:
        self._connection, self._batch, self._written = connection, batch, WrittenNumber(number)
        self._is_of_batch = BatchRow.batch_id == batch.id
        columns = (BatchRow.number, BatchRow.recipient, BatchRow.cells, BatchRow.problem)
        self._is_any = self._is_of_batch & is_any_of(connection.dialect.name, BatchRow.number)
        query = select(*columns).where(self._is_any)
        rows = connection.execute(query, {"values": row_numbers}).all()
        self._own = [r for r in rows if r.recipient == number]
        held = [r for r in rows if r.recipient != number and self._holds_number(r)]
        # One that cannot be sent is of nobody else.
        self._own += [row for row in held if row.recipient is None]
        self._others = [row for row in held if row.recipient is not None]
        self._textual = {row.number for row in self._others if self._is_in_text(row)}

    def _holds_number(self, row: Row[Any]) -> bool:
        return any(map(self._written.matches, [*row.cells, row.problem]))

    def _is_in_text(self, row: Row[Any]) -> bool:
        """Whether the text of a row would have a cell with the number."""
        positions = self._batch.field_positions.values()
        return any(self._written.matches(row.cells[p]) for p in positions if p < len(row.cells))

    def delete_rows(self) -> int:
        numbers = [row.number for row in self._own]
        self._connection.execute(delete(BatchRow).where(self._is_any), {"values": numbers})
        return len(numbers)

    def blank_cells(self) -> int:
        """Empty the cells with the number. A row whose text would have had one is not sent."""
        changes = [
            {
                "row_number": row.number,
                "blanked": ["" if self._written.matches(cell) else cell for cell in row.cells],
                "reason": _CELL_ERASED
                if row.number in self._textual or self._written.matches(row.problem)
                else row.problem,
            }
            for row in self._others
        ]
        if changes:
            is_row = (self._is_of_batch, BatchRow.number == bindparam("row_number"))
            blanking = update(BatchRow).where(*is_row)
            blanking = blanking.values(cells=bindparam("blanked"), problem=bindparam("reason"))
            self._connection.execute(blanking, changes)
        return len(changes)

    def cancel_messages(self) -> list[int]:
        """Cancel the messages that wait here with the number in their texts.

        Returns the ids of all that have it.
        """
        batch = Batch(public_id=self._batch.public_id)
        query = select(Message.id, Message.status).where(
            Message.owner_id == self._batch.owner_id,
            Message.idempotency_key.in_(map(batch.message_key, sorted(self._textual))),
        )
        messages = self._connection.execute(query).all()
        for message in messages:
            if message.status == OUTBOX:
                outbox.cancel(self._connection, message.id)
        return [message.id for message in messages]


def _count_good_rows(connection: Connection, batch_ids: Sequence[int]) -> None:
    """Count anew the rows of batches that are not started: as many are sent as are confirmed."""
    good_rows = select(func.count()).select_from(BatchRow)
    good_rows = good_rows.where(BatchRow.batch_id == Batch.id, BatchRow.problem.is_(None))
    waiting = update(Batch).where(Batch.id.in_(batch_ids), Batch.state == BatchState.READY)
    connection.execute(waiting.values(good_count=good_rows.scalar_subquery()))


def _delete_files(connection: Connection) -> None:
    """Delete all files; those that are not read yet have to be uploaded again."""
    has_file = Batch.id.in_(select(BatchFile.batch_id))
    # A check that just ends has ended then.
    query = select(Batch.id, Batch.state).where(has_file).order_by(Batch.id).with_for_update()
    states = {row.id: row.state for row in connection.execute(query)}
    unread_ids = [batch_id for batch_id, state in states.items() if state != BatchState.READY]
    refused = {"state": BatchState.REFUSED, "problem": _FILE_ERASED, "choices": []}
    connection.execute(update(Batch).where(Batch.id.in_(unread_ids)).values(refused))
    BatchFile.remove(connection, list(states))


def _check_resends_anew(connection: Connection) -> None:
    """Have batches that are sent again read their rows anew: a check that goes on has read rows
    which it has not stored.
    """
    is_checked = (Batch.state == BatchState.CHECKING, Batch.resend_of_id.is_not(None))
    connection.execute(update(Batch).where(*is_checked).values(claimed_until=None))


def _blank_headings(connection: Connection, number: str) -> None:
    """Empty the headings with the number: a file without headings has a person's cells there."""
    written = WrittenNumber(number)
    for batch_id, names, phone_column in _find_headings(connection, written):
        blanked = ["" if written.matches(name) else name for name in names]
        column = None if written.matches(phone_column) else phone_column
        change = update(Batch).where(Batch.id == batch_id)
        connection.execute(change.values(column_names=blanked, phone_column=column))


def count_headings(connection: Connection, number: str) -> int:
    """The batches with the number in a heading."""
    return len(_find_headings(connection, WrittenNumber(number)))


def _find_headings(
    connection: Connection, written: WrittenNumber
) -> list[tuple[int, list[str], str | None]]:
    """The id, headings and chosen column of each batch that has the number in one of them."""
    query = select(Batch.id, Batch.column_names, Batch.phone_column)
    return [
        (row.id, row.column_names, row.phone_column)
        for row in connection.execute(query)
        if any(map(written.matches, [*row.column_names, row.phone_column]))
    ]
