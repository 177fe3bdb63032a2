"""The check of an uploaded file: a worker reads it row by row and stores what it finds."""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path

from sqlalchemy import Row as DatabaseRow
from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from smstracker.batches import control
from smstracker.batches.columns import Columns, match_columns
from smstracker.batches.control import BatchRefusedError, EqualBatchError
from smstracker.batches.pasted import read_lines
from smstracker.batches.phone_column import ColumnError, quote_names
from smstracker.batches.preview import warning_sentence
from smstracker.batches.program_rows import holds_program_rows, read_program_rows
from smstracker.batches.recipient_history import find_row_warnings
from smstracker.batches.resending import read_resent_rows
from smstracker.batches.row_check import CheckedRow, FileReport, RowChecker
from smstracker.batches.sheet_file import VALUES_NOTE
from smstracker.batches.table import EncodingChoiceError, Row, SheetChoiceError, TableError
from smstracker.batches.table_file import open_table
from smstracker.clock import utcnow
from smstracker.database.engine import UNAVAILABLE, reading_connection, to_json
from smstracker.database.row_sets import insert_rows
from smstracker.extensions import db, settings, writing
from smstracker.models.batches import (
    DUPLICATE,
    LINES,
    MAX_DRAFT_BYTES,
    MAX_ROWS_BYTES,
    ROW_BYTES,
    Batch,
    BatchFile,
    BatchRow,
    BatchState,
)
from smstracker.models.tombstones import HashedKind, keyed_hash
from smstracker.plurals import format_count
from smstracker.sms.text_fields import TextTemplate
from smstracker.system_errors import describe_system_error

log = logging.getLogger(__name__)

CHUNK_ROWS = 500
NO_GOOD_ROW = "None of the rows can be sent. Correct the file and upload it again."
NO_GOOD_LINE = "None of the lines can be sent. Correct the lines."
NO_GOOD_ROW_OF_PROGRAM = (
    "None of the rows can be sent. Correct them and send them with another Idempotency-Key."
)
ASK_PERSON = "Start it on its page, or send the rows with another Idempotency-Key and “{}”: true."
TOO_LARGE = (
    f"Up to row {{}}, the rows hold more than {MAX_ROWS_BYTES // 1024**2} MB of text. Leave out "
    "what the text does not need, or divide them into several batches."
)
NO_ROOM = (
    f"With row {{}} of this batch, more than {MAX_DRAFT_BYTES // 1024**2} MB are stored and not "
    "sent. Send or delete other batches first, then make this one again."
)
WRONG_COLUMN = (
    "No row has a number that can be sent to in the column “{name}”. Choose another column, or "
    "correct the file and upload it again."
)
NOT_CHECKED = (
    "The rows could not be checked. Tell an administrator, who finds the cause in the log of the "
    "worker at batch_refused. Once it is mended, send them here again as they are."
)


DELAYED = (
    "The rows cannot be checked yet: {}. The check is tried again every minute. If it lasts, tell "
    "an administrator."
)


class AbandonedError(Exception):
    """Another worker has the batch, it is not wanted any more, or this worker ends."""


def check_waiting(is_stopping: Callable[[], bool]) -> int:
    """Check the batches that wait for it, one after the other; return how many."""
    count = 0
    while not is_stopping():
        with reading_connection(db.engine) as connection:
            if connection.scalar(Batch.select_unchecked(utcnow()).limit(1)) is None:
                break  # so that nothing to do costs no turn at writing
        with db.engine.begin() as connection:
            claim = Batch.claim_check(connection)
        if claim is None:
            break
        _Check(*claim, is_stopping).run()
        count += 1
    return count


class _Check:
    def __init__(self, batch_id: int, lease_end: datetime, is_stopping: Callable[[], bool]) -> None:
        self._id, self._lease_end, self._is_stopping = batch_id, lease_end, is_stopping
        self._report = FileReport()
        self._row_bytes = 0
        self._digest = sha256()
        self._notes: list[str] = []
        self._reading: dict[str, object] = {}  # how the file was read

    def run(self) -> None:
        try:
            self._run()
        except AbandonedError:
            log.info("batch_check_abandoned")

    def _run(self) -> None:
        try:
            batch = self._begin()
            if batch.resend_of_id is not None:
                self._finish(batch, self._copy_failed(batch))
                return
            with tempfile.NamedTemporaryFile(prefix="batch-") as file:
                with reading_connection(db.engine) as connection:
                    for part in BatchFile.read_parts(connection, self._id):
                        file.write(part)
                file.flush()
                columns = self._check_file(Path(file.name), batch)
            self._finish(batch, columns)
        except TableError as error:
            self._refuse(error)
        except OSError as error:
            self._postpone(error)
        except (AbandonedError, *UNAVAILABLE):
            raise  # nothing is wrong with the file
        except Exception as error:
            # It would fail again, and keep other files waiting each time.
            log.exception("batch_refused", extra={"reason": type(error).__name__})
            db.session.rollback()
            self._refuse(TableError(NOT_CHECKED))

    def _begin(self) -> DatabaseRow[tuple[object, ...]]:
        """Read the batch, and remove what an interrupted check has left."""
        self._remove_rows()
        with reading_connection(db.engine) as connection:
            query = select(Batch.__table__).where(Batch.id == self._id)
            return connection.execute(query).one()

    def _remove_rows(self) -> None:
        is_left = True
        while is_left:
            with self._step() as connection:
                is_left = BatchRow.remove_some(connection, self._id, CHUNK_ROWS) == CHUNK_ROWS

    def _check_file(self, path: Path, batch: DatabaseRow[tuple[object, ...]]) -> Columns:
        template, region = TextTemplate(batch.text), settings().default_region
        is_program = batch.token_id is not None and holds_program_rows(path)
        if is_program or batch.encoding == LINES:
            columns, rows = (read_program_rows if is_program else read_lines)(path, template)
            checker = RowChecker(columns, template, batch.sender, region, has_formulas=False)
            self._check_rows(rows, checker, batch)
            self._notes = _notation_notes(template, columns)
            return columns
        table = open_table(path, batch.sheet_name, batch.encoding)
        columns, rows = match_columns(
            table, template, region, batch.phone_column, has_heading=batch.has_heading
        )
        self._check_rows(rows, RowChecker(columns, template, batch.sender, region), batch)
        self._reading = {"heading_row": columns.heading_row, "encoding": table.encoding}
        if table.encoding:
            self._reading["letter_rows"] = self._report.letter_rows
        notes = [note for note in table.notes if columns.fields or note != VALUES_NOTE]
        self._notes = [*notes, *_notation_notes(template, columns)]
        if count := self._report.completed:
            names = [columns.names[position] for position in columns.countries]
            self._notes.append(
                f"{format_count(count, 'number')} without + got the country code from "
                f"{quote_names(names)}."
            )
        return columns

    def _check_rows(
        self, rows: Iterable[Row], checker: RowChecker, batch: DatabaseRow[tuple[object, ...]]
    ) -> None:
        for chunk in _chunks(map(checker.check, rows)):
            self._store(chunk, batch)

    def _copy_failed(self, batch: DatabaseRow[tuple[object, ...]]) -> Columns:
        """Check the rows anew whose messages another batch sends again."""
        original = db.session.get(Batch, batch.resend_of_id)
        if original is None or original.content_deleted_at:
            raise TableError("The batch whose messages were to be sent again is deleted.")
        columns = Columns(
            original.column_names, original.phone_position, original.field_positions, first_row=0
        )
        # The first check has refused formulas; what begins with = is a program's own text.
        template, region = TextTemplate(batch.text), settings().default_region
        checker = RowChecker(columns, template, batch.sender, region, has_formulas=False)
        for rows in read_resent_rows(original, utcnow()):
            if rows:
                self._store(list(map(checker.check, rows)), batch)
        return columns

    def _store(self, checked: list[CheckedRow], batch: DatabaseRow[tuple[object, ...]]) -> None:
        bits, chunk = [], []
        for row in checked:
            is_once = batch.once_per_number
            chunk.append(self._report.leave_out_repeat(row) if is_once else row)
            bits.append(self._report.add(chunk[-1]))
        self._measure(chunk)
        numbers = [row.recipient for row in chunk if row.recipient]
        with self._step() as connection:
            warnings = find_row_warnings(connection, batch.owner_id, batch.sender, numbers)
            rows = [self._row(row, bit, warnings) for row, bit in zip(chunk, bits, strict=True)]
            insert_rows(connection, BatchRow, rows)
            if Batch.sum_unsent_bytes(connection, batch.owner_id) > MAX_DRAFT_BYTES:
                raise TableError(NO_ROOM.format(f"{rows[-1]['number']:,}"))

    def _measure(self, chunk: list[CheckedRow]) -> None:
        """Add what the rows take as stored. Raises TableError at the one that is too much."""
        for checked in chunk:
            texts = to_json(checked.row.cells) + (checked.problem or "")
            self._row_bytes += len(texts.encode(errors="replace")) + ROW_BYTES
            if self._row_bytes > MAX_ROWS_BYTES:
                raise TableError(TOO_LARGE.format(f"{checked.row.number:,}"))

    def _row(self, checked: CheckedRow, bits: int, warnings: dict[str, int]) -> dict[str, object]:
        if checked.problem is None:
            bits |= warnings.get(checked.recipient or "", 0)
            self._report.count_warnings(bits, checked.row.number)
            self._digest.update(f"{checked.recipient}\0{checked.text}\0".encode())
        return {
            "batch_id": self._id,
            "number": checked.row.number,
            "recipient": checked.recipient,
            "cells": list(checked.row.cells),
            "problem": checked.problem,
            "warnings": bits,
        }

    def _finish(self, batch: DatabaseRow[tuple[object, ...]], columns: Columns) -> None:
        choices: Sequence[str] = ()
        state, problem = BatchState.READY, batch.problem  # that of a restore
        if not self._report.good:
            state, problem = BatchState.REFUSED, NO_GOOD_ROW
            if batch.token_id is not None:
                problem = NO_GOOD_ROW_OF_PROGRAM
            elif batch.encoding == LINES:
                problem = NO_GOOD_LINE
            if not self._report.numbers and columns.other_phones:
                problem = WRONG_COLUMN.format(name=columns.names[columns.phone][:40])
                choices = columns.other_phones
                self._reading["choice"] = "column"
        digest = self._digest.hexdigest()
        parts = (batch.owner_id, "batch", batch.sender, digest)
        # In one transaction: a program's batch that is ready has been started, or says why not.
        with writing():
            connection = db.session.connection()
            self._extend(connection)
            changes = {
                "content_hash": keyed_hash(connection, HashedKind.CONTENT, *parts),
                "column_names": list(columns.names),
                "phone_position": columns.phone,
                "field_positions": dict(columns.fields),
                "row_count": self._report.rows,
                "good_count": self._report.good,
                "segments": self._report.segments,
                "report": {**self._report.to_json(), **self._reading, "notes": self._notes},
                "choices": list(dict.fromkeys(choices)),
            }
            self._end(connection, state, problem, changes)
            if state is BatchState.READY and batch.start_count is not None:
                self._start(batch)

    def _start(self, batch: DatabaseRow[tuple[object, ...]]) -> None:
        """Start a batch whose number of messages a program has told; else say why not."""
        try:
            self._start_as_told(batch)
        except BatchRefusedError as error:
            Batch.lock(self._id).problem = f"It was not started by itself: {error}"

    def _start_as_told(self, batch: DatabaseRow[tuple[object, ...]]) -> None:
        """Start a batch if all is as its program says. Raises BatchRefusedError."""
        count, good = batch.start_count, self._report.good
        if count != good:
            rows = format_count(good, "row")
            raise BatchRefusedError(f"start_count is {count:,}, and {rows} can be sent.")
        repeats = self._report.warnings[DUPLICATE.name]
        if repeats and not batch.allows_repeats:
            sentence = warning_sentence(DUPLICATE.name, repeats)
            raise BatchRefusedError(f"{sentence} {ASK_PERSON.format('repeats')}")
        try:
            actor = f"token {batch.token_id}"
            control.start(self._id, count, actor, knows_equal=batch.allows_equal)
        except EqualBatchError as error:
            raise BatchRefusedError(
                "The same texts were sent to the same people before, by the batch "
                f"{error.public_id}. {ASK_PERSON.format('again')}"
            ) from error

    def _postpone(self, error: OSError) -> None:
        """Leave the file to a later check: the machine is at fault, and others may have room."""
        cause = describe_system_error(error)
        log.warning("batch_check_postponed", extra={"reason": cause})
        db.session.rollback()
        values = {"row_count": 0, "report": {"delay": DELAYED.format(cause)}}
        with self._step() as connection:
            connection.execute(update(Batch).where(Batch.id == self._id).values(values))

    def _refuse(self, error: TableError) -> None:
        """Store why the file cannot be read; it is kept where people have to choose."""
        kind, choices = _read_choices(error)
        changes = {
            "choices": list(dict.fromkeys(choices)),
            "report": {"choice": kind if choices else None},
            "row_count": 0,
            "row_bytes": 0,
        }
        self._remove_rows()
        with self._step() as connection:
            self._end(connection, BatchState.REFUSED, str(error), changes)
            if not choices and not isinstance(error, ColumnError):
                BatchFile.remove(connection, [self._id])

    def _end(
        self,
        connection: Connection,
        state: BatchState,
        problem: str | None,
        changes: dict[str, object],
    ) -> None:
        values = {"state": state, "problem": problem, "claimed_until": None, **changes}
        connection.execute(update(Batch).where(Batch.id == self._id).values(values))

    @contextmanager
    def _step(self) -> Iterator[Connection]:
        """A transaction in which the batch is surely ours. Raises AbandonedError."""
        if self._is_stopping():
            with db.engine.begin() as connection:
                free = update(Batch).where(Batch.id == self._id, Batch.state == BatchState.CHECKING)
                free = free.where(Batch.claimed_until == self._lease_end)
                connection.execute(free.values(claimed_until=None))
            raise AbandonedError
        with db.engine.begin() as connection:
            lease = self._extend(connection)
            yield connection
        self._lease_end = lease

    def _extend(self, connection: Connection) -> datetime:
        """Extend the lease; return when it ends. Raises AbandonedError."""
        count = self._report.rows
        lease = Batch.extend_check(connection, self._id, self._lease_end, count, self._row_bytes)
        if lease is None:
            raise AbandonedError
        return lease


def _read_choices(error: TableError) -> tuple[str, Sequence[str]]:
    """What people are asked, and the answers."""
    if isinstance(error, SheetChoiceError):
        return "sheet", error.names
    if isinstance(error, EncodingChoiceError):
        return "encoding", error.encodings
    return "column", error.choices if isinstance(error, ColumnError) else ()


def _notation_notes(template: TextTemplate, columns: Columns) -> list[str]:
    return [
        f"{text} in the text stays as it is. Write (({text.strip('{}[]<>()%«»（）')})) to have it "
        "filled in."
        for text in template.find_other_notation(columns.names)
    ]


def _chunks(rows: Iterable[CheckedRow]) -> Iterator[list[CheckedRow]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK_ROWS)):
        yield chunk
