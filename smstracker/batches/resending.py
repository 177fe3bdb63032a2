"""Sending again to those of a batch whose message failed, where that makes sense."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import exists, func, select, tuple_
from sqlalchemy.orm import aliased
from sqlalchemy.sql import ColumnElement

from smstracker.batches.table import Row
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.messages.failure_advice import resend_refusal
from smstracker.models.batches import NAME_LENGTH, Batch, BatchRow, BatchState
from smstracker.models.messages import Message
from smstracker.sms import status

CHUNK_ROWS = 500
Failure = tuple[str, str | None]


def count_resendable(batch: Batch, now: datetime) -> int:
    """Count the messages of a batch that failed, may be sent again and were not yet."""
    failures = _find_failures(batch, now)
    if not failures:
        return 0
    query = select(func.count()).select_from(Message)
    return db.session.scalar(query.where(*_is_resendable(batch, failures))) or 0


def find_resend(batch: Batch) -> Batch | None:
    """Return the batch that sends this one again."""
    query = Batch.select_owned(batch.owner_id).where(Batch.resend_of_id == batch.id)
    return db.session.scalar(query.order_by(Batch.id.desc()).limit(1))


def create_resend(batch: Batch) -> Batch | None:
    """Save a batch that sends again what failed, to be checked and confirmed like any other.

    Returns the one that waits, if there is one; None if there is nothing to send again.
    """
    waiting = find_resend(batch)
    if waiting is not None and not waiting.is_started:
        return waiting
    if not count_resendable(batch, utcnow()):
        return None
    resend = Batch(
        owner_id=batch.owner_id,
        idempotency_key=uuid.uuid4(),
        name=f"{batch.name[: NAME_LENGTH - 10]} (again)",
        text=batch.text,
        sender=batch.sender,
        state=BatchState.CHECKING,
        created_at=utcnow(),
        upload_hash=batch.upload_hash,
        resend_of_id=batch.id,
    )
    resend.set_quiet_hours(batch.quiet_hours)
    db.session.add(resend)
    db.session.flush()
    return resend


def read_failed_rows(batch: Batch, now: datetime) -> Iterator[list[Row]]:
    """The rows of a batch whose messages may be sent again, in the order of the file.

    No transaction is held between two lists.
    """
    is_resendable = _is_resendable(batch, _find_failures(batch, now))
    after = 0
    while rows := db.session.scalars(BatchRow.select_next(batch.id, after, CHUNK_ROWS)).all():
        after = rows[-1].number
        keys = {batch.message_key(row.number): Row(row.number, row.cells) for row in rows}
        query = select(Message.idempotency_key).where(*is_resendable)
        failed = db.session.scalars(query.where(Message.idempotency_key.in_(keys))).all()
        db.session.rollback()
        yield sorted((keys[key] for key in failed), key=lambda row: row.number)
    db.session.rollback()


def _find_failures(batch: Batch, now: datetime) -> list[Failure]:
    """The kinds of failures after which a message may be sent again."""
    columns = (Message.status, Message.error_code)
    failed = (*status.NEGATIVE, *status.NOT_SENT)
    query = select(*columns, func.min(Message.id)).group_by(*columns)
    # Coalesced, so that no planner picks the index of statuses.
    has_failed = func.coalesce(Message.status, "").in_(failed)
    query = query.where(batch.is_its_message, has_failed)
    kinds = db.session.execute(query).all()
    examples = ((word, code, db.session.get_one(Message, key)) for word, code, key in kinds)
    return [(word, code) for word, code, example in examples if not resend_refusal(example, now)]


def _is_resendable(batch: Batch, failures: Sequence[Failure]) -> tuple[ColumnElement[bool], ...]:
    resend = aliased(Message)
    kinds = [(word, code or "") for word, code in failures]
    word, code = (func.coalesce(c, "") for c in (Message.status, Message.error_code))
    is_kind = tuple_(word, code).in_(kinds)
    is_resent = exists().where(resend.resend_of_id == Message.id)
    return (batch.is_its_message, is_kind, ~is_resent)
