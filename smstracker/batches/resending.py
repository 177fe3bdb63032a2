"""Sending again to those of a batch whose message failed, where that makes sense, and to those whom
a stop has left out.
"""

import uuid
from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import exists, func, literal, select, tuple_
from sqlalchemy.orm import aliased
from sqlalchemy.sql import ColumnElement

from smstracker.batches.table import Row
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.messages.failure_advice import resend_refusal
from smstracker.models.batches import (
    NAME_LENGTH,
    OVER,
    STARTED,
    UNDER_WAY,
    Batch,
    BatchRow,
    BatchState,
)
from smstracker.models.messages import Message
from smstracker.sms import error_guide, status

CHUNK_ROWS = 500
Failure = tuple[str, str | None]


def count_resendable(batch: Batch, now: datetime) -> int:
    """Count who of a batch may be sent to again, or for the first time, and was not yet.

    Nobody before the rest of a batch that is stopped is cancelled: who it is, is not known until
    then.
    """
    resend = find_resend(batch)
    if resend is not None and resend.state in UNDER_WAY:
        return 0
    waiting = exists().where(batch.is_its_message, Message.status == status.OUTBOX)
    if db.session.scalar(select(waiting)):
        return 0
    messages = select(func.count()).select_from(Message).where(*_is_resendable(batch, now))
    rows = select(func.count()).select_from(BatchRow).where(*_is_left_out(batch))
    return (db.session.scalar(messages) or 0) + (db.session.scalar(rows) or 0)


def find_resend(batch: Batch) -> Batch | None:
    """Return the batch that sends this one again."""
    query = Batch.select_owned(batch.owner_id).where(Batch.resend_of_id == batch.id)
    return db.session.scalar(query.order_by(Batch.id.desc()).limit(1))


def create_resend_batch(batch: Batch) -> Batch | None:
    """Save a batch of who may be sent to again, to be checked and confirmed like any other.

    Returns the one that waits or is sent, if there is one; None if there is nothing to send again.
    """
    waiting = find_resend(batch)
    if waiting is not None and waiting.state not in OVER:
        return waiting
    if not count_resendable(batch, utcnow()):
        return None
    resend = Batch(
        owner_id=batch.owner_id,
        idempotency_key=uuid.uuid4(),
        name=f"{batch.name[: NAME_LENGTH - 10]} (again)",
        text=batch.text,
        sender=batch.sender,
        encoding=batch.encoding,
        state=BatchState.CHECKING,
        created_at=utcnow(),
        upload_hash=batch.upload_hash,
        resend_of_id=batch.id,
    )
    resend.set_quiet_hours(batch.quiet_hours)
    db.session.add(resend)
    db.session.flush()
    return resend


def read_resent_rows(batch: Batch, now: datetime) -> Iterator[list[Row]]:
    """The rows of a batch that may be sent to again, in the order of the file.

    No transaction is held between two lists.
    """
    is_resendable, is_left_out = _is_resendable(batch, now), _is_left_out(batch)
    after = 0
    while rows := db.session.scalars(BatchRow.select_next(batch.id, after, CHUNK_ROWS)).all():
        after = rows[-1].number
        by_number = {
            row.number: Row(row.number, row.cells, recipient=row.recipient) for row in rows
        }
        keys = {batch.message_key(number): row for number, row in by_number.items()}
        query = select(Message.idempotency_key).where(*is_resendable)
        failed = db.session.scalars(query.where(Message.idempotency_key.in_(keys))).all()
        numbers = select(BatchRow.number).where(*is_left_out, BatchRow.number.in_(by_number))
        left_out = db.session.scalars(numbers).all()
        db.session.rollback()
        rows_to_send = [*(keys[key] for key in failed), *(by_number[number] for number in left_out)]
        yield sorted(rows_to_send, key=lambda row: row.number)
    db.session.rollback()


def _has_failed_twice() -> ColumnElement[bool]:
    """The condition that a message and its original failed with a code worth only one retry."""
    original, codes = aliased(Message), error_guide.once_codes()
    is_original = (original.id == Message.resend_of_id, original.error_code.in_(codes))
    return Message.error_code.in_(codes) & exists().where(*is_original)


def _find_failures(batch: Batch, now: datetime) -> list[Failure]:
    """The kinds of failures after which a message may be sent again: if it has its text still, and
    has not failed twice.
    """
    columns = (Message.status, Message.error_code)
    failed = (*status.NEGATIVE, *status.NOT_SENT)
    query = select(*columns, func.min(Message.id)).group_by(*columns)
    query = query.where(batch.is_its_message, Message.status.in_(failed))
    query = query.where(Message.content_deleted_at.is_(None), ~_has_failed_twice())
    kinds = db.session.execute(query).all()
    examples = ((word, code, db.session.get_one(Message, key)) for word, code, key in kinds)
    return [(word, code) for word, code, example in examples if not resend_refusal(example, now)]


def _is_resendable(batch: Batch, now: datetime) -> tuple[ColumnElement[bool], ...]:
    """The condition of messages that failed, or that the stop has cancelled."""
    resend = aliased(Message)
    kinds = [(word, code or "") for word, code in _find_failures(batch, now)]
    words = Message.status.in_({word for word, _code in kinds})  # by the index
    code = func.coalesce(Message.error_code, "")
    is_kind = words & tuple_(Message.status, code).in_(kinds) & ~_has_failed_twice()
    if batch.state == BatchState.STOPPED:
        # Not what its owner has cancelled alone, before.
        is_kind |= (Message.status == "canceled") & (Message.status_at >= batch.ended_at)
    is_resent = exists().where(resend.resend_of_id == Message.id)
    return (batch.is_its_message, is_kind, Message.content_deleted_at.is_(None), ~is_resent)


def _is_left_out(batch: Batch) -> tuple[ColumnElement[bool], ...]:
    """The condition of rows that were not queued before the stop, and are in no later batch."""
    later = select(Batch.id).where(Batch.resend_of_id == batch.id, Batch.state.in_(STARTED))
    is_unqueued = (BatchRow.batch_id == batch.id, BatchRow.number > batch.queued_number)
    is_stopped = literal(batch.state == BatchState.STOPPED)
    return (*is_unqueued, BatchRow.problem.is_(None), is_stopped, ~later.exists())
