"""The uploaded file with the outcome of each row beside it, and the rows that cannot be sent."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from sqlalchemy import ColumnElement, select

from smstracker.extensions import db
from smstracker.messages.describe import short_reason
from smstracker.messages.log_export import (
    INCOMPLETE_LINE,
    PHONE_NUMBER,
    format_csv,
    guard_text,
)
from smstracker.models.batches import ROW_WARNINGS, Batch, BatchRow, BatchState
from smstracker.models.messages import Message

CHUNK_ROWS = 500
OUTCOME_COLUMNS = (
    *("row", "sent_to", "outcome", "reason", "error_code"),
    *("status_at_utc", "segments", "price", "price_unit", "message_id"),
)
Cell = str | int | Decimal
_STOPPED = ("Not sent", "The batch was stopped before.")


def outcome_lines(batch: Batch, now: datetime) -> Iterator[str]:
    """The file as CSV, in its own order; what was decided of each row follows its cells."""
    yield "\ufeff" + format_csv([[*map(guard_text, batch.column_names), *OUTCOME_COLUMNS]])
    try:
        for rows in _read_chunks(batch):
            messages = _read_messages(batch, rows)
            yield format_csv(
                [*_cells(batch, row), *_outcome(batch, row, messages.get(row.number), now)]
                for row in rows
            )
    except Exception:
        yield format_csv([[INCOMPLETE_LINE]])
        raise


def problem_lines(batch: Batch) -> Iterator[str]:
    """The rows that cannot be sent, with the reason; corrected, the file can be uploaded."""
    yield "\ufeff" + format_csv([[*map(guard_text, batch.column_names), "row", "problem"]])
    for rows in _read_chunks(batch, [BatchRow.problem.is_not(None)]):
        yield format_csv(
            [*_cells(batch, row), row.number, guard_text(row.problem or "")] for row in rows
        )


def warning_lines(batch: Batch) -> Iterator[str]:
    """The rows with warnings, and these."""
    yield "\ufeff" + format_csv([[*map(guard_text, batch.column_names), "row", "warnings"]])
    for rows in _read_chunks(batch, (BatchRow.problem.is_(None), BatchRow.warnings != 0)):
        yield format_csv([*_cells(batch, row), row.number, _name_warnings(row)] for row in rows)


def _read_chunks(
    batch: Batch, only: Sequence[ColumnElement[bool]] = ()
) -> Iterator[Sequence[BatchRow]]:
    after = 0
    while True:
        query = BatchRow.select_next(batch.id, after, CHUNK_ROWS).where(*only)
        rows = db.session.scalars(query).all()
        db.session.expunge_all()
        if rows:
            yield rows
            db.session.remove()
        if len(rows) < CHUNK_ROWS:
            return
        after = rows[-1].number


def _read_messages(batch: Batch, rows: Sequence[BatchRow]) -> dict[int, Message]:
    numbers = {batch.message_key(row.number): row.number for row in rows}
    query = select(Message).where(
        Message.owner_id == batch.owner_id, Message.idempotency_key.in_(numbers)
    )
    messages = {numbers[m.idempotency_key]: m for m in db.session.scalars(query)}
    db.session.expunge_all()
    return messages


def _cells(batch: Batch, row: BatchRow) -> list[Cell]:
    cells = [*row.cells, *[""] * (len(batch.column_names) - len(row.cells))]
    return [cell if PHONE_NUMBER.fullmatch(cell) else guard_text(cell) for cell in cells]


def _outcome(batch: Batch, row: BatchRow, message: Message | None, now: datetime) -> list[Cell]:
    is_stopped = message is not None and message.status == "canceled"
    if message is None or (is_stopped and batch.state == BatchState.STOPPED):
        outcome, reason = _missing_outcome(batch, row) if message is None else _STOPPED
        return [row.number, row.recipient or "", outcome, reason, *[""] * 6]
    display = message.display_status(now)
    return [
        row.number,
        message.recipient,
        display.label,
        short_reason(message) or "",
        message.error_code or "",
        f"{message.status_at:%Y-%m-%d %H:%M:%S}",
        message.segments if message.segments is not None else "",
        message.price if message.price is not None else "",
        message.price_unit or "",
        str(message.public_id),
    ]


def _missing_outcome(batch: Batch, row: BatchRow) -> tuple[str, str]:
    """The outcome of a row without a message."""
    if row.problem:
        return "Cannot be sent", guard_text(row.problem)
    if batch.state == BatchState.STOPPED and row.number > batch.queued_number:
        return _STOPPED
    if row.number <= batch.queued_number:
        return "Not known", "The message is deleted."
    return "Waiting", _name_warnings(row)


def _name_warnings(row: BatchRow) -> str:
    return ", ".join(warning.name for warning in ROW_WARNINGS if row.warnings & warning.bit)
