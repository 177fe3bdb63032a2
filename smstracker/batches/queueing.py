"""Rows of running batches become messages in the outbox, a few ahead of what is handed over.

So a stop finds little that waits, and the messages carry the time at which they were due.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Boolean, exists, func, literal_column, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.database.row_sets import insert_rows
from smstracker.extensions import db, settings, writing
from smstracker.models.batches import Batch, BatchRow, BatchState
from smstracker.models.event_store import stop_waiting
from smstracker.models.events import StatusUpdate
from smstracker.models.messages import IS_IN_OUTBOX, Message, reverse_digits
from smstracker.models.sender_pace import SenderPace
from smstracker.sms import status
from smstracker.sms.messaging_service import is_messaging_service
from smstracker.sms.status import Source
from smstracker.sms.text_fields import TextTemplate
from smstracker.sms.text_rules import unix_lines

CHUNK_ROWS = 250
MAX_WAITING = 1_000  # messages of a batch in the outbox
_IS_WAITING = literal_column(f"message.{IS_IN_OUTBOX}", Boolean())


def queue_waiting(is_stopping: Callable[[], bool]) -> int:
    """Queue rows of all running batches, and cancel what waits of stopped ones.

    Returns how many messages that were, once nothing more is due.
    """
    count = 0
    while not is_stopping():
        step_count = sum(map(_queue_chunk, _find_running()))
        step_count += sum(map(_cancel_chunk, _find_stopped()))
        if not step_count:
            break
        count += step_count
    return count


def fill_row(template: TextTemplate, positions: Mapping[str, int], cells: Sequence[str]) -> str:
    """Return the text of a row; it was checked with the same values."""
    values = {key: cells[p] if p < len(cells) else "" for key, p in positions.items()}
    return template.fill({key: unix_lines(value) for key, value in values.items()})


def _find_running() -> Sequence[int]:
    with reading_connection(db.engine) as connection:
        query = select(Batch.id).where(Batch.state == BatchState.RUNNING)
        return connection.scalars(query.order_by(Batch.id)).all()


def _find_stopped() -> Sequence[int]:
    """The stopped batches of which messages still wait."""
    waiting = select(Message.batch_id).where(_IS_WAITING)
    is_stopped = (Batch.state == BatchState.STOPPED, Batch.id.in_(waiting))
    with reading_connection(db.engine) as connection:
        return connection.scalars(select(Batch.id).where(*is_stopped)).all()


def _queue_chunk(batch_id: int) -> int:
    """Queue the next rows of a batch, or end it when nothing of it waits any more."""
    with writing():
        batch = Batch.lock(batch_id)
        if batch.state != BatchState.RUNNING:
            return 0
        connection = db.session.connection()
        waiting = _count_waiting(connection, batch_id)
        if waiting > MAX_WAITING - CHUNK_ROWS:
            return 0
        query = BatchRow.select_next(batch.id, batch.queued_number, CHUNK_ROWS)
        rows = db.session.scalars(query).all()
        if rows:
            messages = _build_messages(connection, batch, rows)
            if messages:
                insert_rows(connection, Message, messages)
                SenderPace.ensure_exists(connection, batch.sender)
            batch.queued_number = rows[-1].number
        elif not waiting:
            batch.state, batch.ended_at = BatchState.DONE, utcnow()
        return len(rows)


def _count_waiting(connection: Connection, batch_id: int) -> int:
    count = select(func.count()).select_from(Message)
    return connection.scalar(count.where(Message.batch_id == batch_id, _IS_WAITING)) or 0


def _build_messages(
    connection: Connection, batch: Batch, rows: Sequence[BatchRow]
) -> list[dict[str, object]]:
    """Return the messages of the rows that can be sent, as they are stored."""
    template, shared = TextTemplate(batch.text), _shared_values(batch)
    good_rows = [row for row in rows if row.problem is None]
    originals = _find_originals(connection, batch, good_rows)
    return [
        {
            **shared,
            "public_id": uuid.uuid4(),
            "idempotency_key": batch.message_key(row.number),
            "recipient": row.recipient,
            "recipient_reversed": reverse_digits(row.recipient),
            "body": fill_row(template, batch.field_positions, row.cells),
            "resend_of_id": originals.get(row.number),
        }
        for row in good_rows
        if row.recipient and (batch.resend_of_id is None or row.number in originals)
    ]


def _shared_values(batch: Batch) -> dict[str, object]:
    is_service, now = is_messaging_service(batch.sender), utcnow()
    return {
        "owner_id": batch.owner_id,
        "batch_id": batch.id,
        "sender": None if is_service else batch.sender,
        "messaging_service_sid": batch.sender if is_service else None,
        "media_urls": [],
        "simulated": settings().demo,
        "account_sid": settings().twilio_account_sid,
        "callback_requested": True,
        "has_conflict": False,
        "status": status.OUTBOX,
        **dict.fromkeys(("status_at", "created_at", "send_at"), now),
    }


def _find_originals(
    connection: Connection, batch: Batch, rows: Sequence[BatchRow]
) -> dict[int, int]:
    """The messages that this batch sends again, by row, without those that were meanwhile."""
    original = db.session.get(Batch, batch.resend_of_id) if batch.resend_of_id else None
    if original is None:
        return {}
    numbers = {original.message_key(row.number): row.number for row in rows}
    resend = aliased(Message)
    is_resent = exists().where(resend.resend_of_id == Message.id)
    query = select(Message.idempotency_key, Message.id).where(
        Message.owner_id == batch.owner_id, Message.idempotency_key.in_(numbers), ~is_resent
    )
    return {numbers[row.idempotency_key]: row.id for row in connection.execute(query)}


def _cancel_chunk(batch_id: int) -> int:
    """Cancel messages of a stopped batch that wait in the outbox."""
    is_waiting = (Message.batch_id == batch_id, _IS_WAITING)
    with db.engine.begin() as connection:
        query = select(Message.id).where(*is_waiting).order_by(Message.id).limit(CHUNK_ROWS)
        ids = connection.scalars(query.with_for_update(skip_locked=True)).all()
        stop = StatusUpdate("canceled", Source.APP, {})
        return sum(stop_waiting(connection, message_id, stop) for message_id in ids)
