"""Rows of running batches become messages in the outbox, a few ahead of what is handed over.

So a stop finds little that waits, and the messages carry the time at which they were due.
"""

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Select, exists, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from smstracker.batches import control
from smstracker.clock import utcnow
from smstracker.database.engine import UNAVAILABLE, reading_connection
from smstracker.database.row_sets import insert_rows
from smstracker.extensions import db, settings, writing
from smstracker.models import outbox
from smstracker.models.audit_log import WORKER
from smstracker.models.batches import Batch, BatchRow, BatchState
from smstracker.models.messages import Message, is_in_outbox, reverse_digits
from smstracker.models.sender_pace import SenderPace, sends_per_second
from smstracker.sms import status
from smstracker.sms.messaging_service import is_messaging_service
from smstracker.sms.text_fields import TextTemplate
from smstracker.sms.text_rules import unix_lines

log = logging.getLogger(__name__)

CHUNK_ROWS = 250
CANCEL_ROWS = 50  # each takes longer, and on SQLite all callbacks wait meanwhile
# How many messages of a batch may be in the outbox: what its sender sends in so many seconds.
WAITING_SECONDS = 30
MIN_WAITING, MAX_WAITING = 20, 1_000
NOT_QUEUED = (
    "It was paused, because its next messages could not be made. Tell an administrator, who finds "
    "the cause in the log of the worker at batch_paused. Then press Resume."
)


def queue_waiting(is_stopping: Callable[[], bool]) -> int:
    """Queue rows of all running batches, and cancel what waits of stopped ones.

    Returns how many messages that were, once nothing more is due. Raises the error of a batch whose
    messages could not be cancelled only then, so that it holds up no other.
    """
    count, failures = 0, dict[int, Exception]()
    while not is_stopping():
        step_count = sum(map(_queue_or_pause, _find_running()))
        for batch_id in _find_stopped():
            if batch_id not in failures:
                step_count += _cancel_or_note(batch_id, failures)
        if not step_count:
            break
        count += step_count
    for error in failures.values():
        raise error
    return count


def _queue_or_pause(batch_id: int) -> int:
    """Queue the next rows of a batch. One that cannot be queued pauses, and holds up no other."""
    try:
        return _queue_chunk(batch_id)
    except UNAVAILABLE:
        raise  # nothing is wrong with the batch
    except Exception as error:
        log.exception("batch_paused", extra={"reason": type(error).__name__})
    with writing():
        if control.pause(batch_id, WORKER):
            Batch.lock(batch_id).problem = NOT_QUEUED
    return 0


def _cancel_or_note(batch_id: int, failures: dict[int, Exception]) -> int:
    """Cancel messages of a stopped batch; an error goes into `failures`."""
    try:
        return _cancel_chunk(batch_id)
    except UNAVAILABLE:
        raise  # nothing is wrong with the batch
    except Exception as error:
        failures[batch_id] = error
        return 0


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
    waiting = select(Message.batch_id).where(is_in_outbox())
    is_stopped = (Batch.state == BatchState.STOPPED, Batch.id.in_(waiting))
    with reading_connection(db.engine) as connection:
        return connection.scalars(select(Batch.id).where(*is_stopped)).all()


def _queue_chunk(batch_id: int) -> int:
    """Queue the next rows of a batch, or end it when nothing of it waits any more.

    Returns how many rows it has looked at.
    """
    with reading_connection(db.engine) as connection:
        waiting = _count_waiting(connection, batch_id)
        is_queued = connection.scalar(_select_unqueued(batch_id)) is None
        sender = connection.scalar(select(Batch.sender).where(Batch.id == batch_id))
        is_under_way = is_queued and _is_under_way(connection, batch_id)
    if sender is None or (is_under_way if is_queued else not _chunk_size(sender, waiting)):
        return 0  # so that nothing to do costs no turn at writing
    with writing():
        batch = Batch.lock(batch_id)
        if batch.state != BatchState.RUNNING:
            return 0
        connection = db.session.connection()
        waiting = _count_waiting(connection, batch_id)
        size = _chunk_size(batch.sender, waiting)
        query = BatchRow.select_next(batch_id, batch.queued_number, size)
        rows = db.session.scalars(query).all() if size else []
        if rows:
            messages = _build_messages(connection, batch, rows)
            if messages:
                insert_rows(connection, Message, messages, skips_existing=True)
                SenderPace.ensure_exists(connection, batch.sender)
            batch.queued_number = rows[-1].number
            batch.queued_count += sum(row.problem is None for row in rows)
        elif size and not _is_under_way(connection, batch_id):
            batch.state, batch.ended_at = BatchState.DONE, utcnow()
        return len(rows)


def _select_unqueued(batch_id: int) -> Select[tuple[int]]:
    """Select the number of a row that has no message yet."""
    query = select(BatchRow.number).join(Batch, Batch.id == BatchRow.batch_id)
    is_later = (Batch.id == batch_id, BatchRow.number > Batch.queued_number)
    return query.where(*is_later).limit(1)


def _chunk_size(sender: str, waiting: int) -> int:
    """How many rows to queue while so many messages wait; few at a time cost too much."""
    most = min(max(sends_per_second(sender) * WAITING_SECONDS, MIN_WAITING), MAX_WAITING)
    size = min(CHUNK_ROWS, most // 2)
    return size if waiting <= most - size else 0


def _count_waiting(connection: Connection, batch_id: int) -> int:
    count = select(func.count()).select_from(Message)
    return connection.scalar(count.where(Message.batch_id == batch_id, is_in_outbox())) or 0


def _is_under_way(connection: Connection, batch_id: int) -> bool:
    """Whether messages of a batch wait, or may wait again: Twilio can refuse a call for now."""
    has_no_answer = is_in_outbox() | (Message.status == status.PENDING)
    query = select(Message.id).join(Batch, Batch.id == Message.batch_id)
    query = query.where(Batch.id == batch_id, Message.owner_id == Batch.owner_id, has_no_answer)
    return connection.scalar(query.limit(1)) is not None


def _build_messages(
    connection: Connection, batch: Batch, rows: Sequence[BatchRow]
) -> list[dict[str, object]]:
    """Return the messages of the rows that can be sent, as they are stored."""
    template, shared = TextTemplate(batch.text), _shared_values(batch)
    good_rows = [row for row in rows if row.problem is None and row.recipient]
    originals = _find_originals(connection, batch, good_rows)
    return [
        {
            **shared,
            "public_id": uuid.uuid4(),
            "idempotency_key": batch.message_key(row.number),
            "recipient": row.recipient,
            "recipient_reversed": reverse_digits(row.recipient or ""),
            "body": fill_row(template, batch.field_positions, row.cells),
            "resend_of_id": originals[row.number],
        }
        for row in good_rows
        if row.number in originals
    ]


def _shared_values(batch: Batch) -> dict[str, object]:
    is_service, now = is_messaging_service(batch.sender), utcnow()
    return {
        "owner_id": batch.owner_id,
        "batch_id": batch.id,
        "token_id": batch.token_id,
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
) -> dict[int, int | None]:
    """The rows to be sent, each with the message that it sends again, None if there is none.

    Of a batch that sends again: without what was sent again meanwhile. What a stop has left out of
    an earlier batch has its message, if any, in one before that.
    """
    if batch.resend_of_id is None:
        return {row.number: None for row in rows}
    original = db.session.get(Batch, batch.resend_of_id)
    if original is None:
        return {}
    resend = aliased(Message)
    is_resent = exists().where(resend.resend_of_id == Message.id)
    keys = {original.message_key(row.number): row.number for row in rows}
    query = select(Message.idempotency_key, Message.id, is_resent.label("is_resent")).where(
        Message.owner_id == original.owner_id, Message.idempotency_key.in_(keys)
    )
    messages = {keys[row.idempotency_key]: row for row in connection.execute(query)}
    ids: dict[int, int | None] = {n: row.id for n, row in messages.items() if not row.is_resent}
    left_out = [r for r in rows if r.number > original.queued_number and r.number not in messages]
    return ids | (_find_originals(connection, original, left_out) if left_out else {})


def _cancel_chunk(batch_id: int) -> int:
    """Cancel messages of a stopped batch that wait in the outbox."""
    is_waiting = (Message.batch_id == batch_id, is_in_outbox())
    with db.engine.begin() as connection:
        query = select(Message.id).where(*is_waiting).order_by(Message.id).limit(CANCEL_ROWS)
        ids = connection.scalars(query.with_for_update(skip_locked=True)).all()
        return sum(outbox.cancel(connection, message_id) for message_id in ids)
