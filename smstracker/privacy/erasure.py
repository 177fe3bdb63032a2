"""Erase a person: everything that holds their number, at once or as soon as it may go.

First all rows are stored as pending, in one transaction, so that the worker finishes what is
interrupted. Nothing is stored of the number but a keyed hash.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from smstracker.clock import is_ahead, utcnow
from smstracker.database.engine import affected_rows, reading_connection
from smstracker.extensions import db
from smstracker.models import (
    AuditEntry,
    Erasure,
    Message,
    PendingRemoval,
    RecipientSearch,
    RefusedCallback,
    ScheduledJob,
)
from smstracker.models.audit_log import AuditAction
from smstracker.models.jobs import JobName
from smstracker.models.removals import RemovalKind
from smstracker.models.tombstones import HashedKind, keyed_hash
from smstracker.privacy.disk_traces import has_traces, truncate_log
from smstracker.privacy.pending import remove_pending
from smstracker.privacy.person_records import (
    PersonRecords,
    find_records,
    is_recipient,
    searches_number,
)

RECEIPT_BYTES = 6
RECEIPTS_SHOWN = 20

_SAME = aliased(Erasure)
# What is pending of any erasure of the number that a row of Erasure is of.
_LEFT = (
    select(func.count(PendingRemoval.row_id))
    .join(_SAME, _SAME.receipt == PendingRemoval.receipt)
    .where(_SAME.number_hash == Erasure.number_hash)
    .correlate(Erasure)
    .scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """`receipt` names the row of Erasure; `has_traces` if unused parts of a file still hold it."""

    receipt: str
    has_traces: bool


def read_records(number: str) -> PersonRecords:
    """What is held of a number, read without a lock."""
    with reading_connection(db.engine) as connection:
        return find_records(connection, number)


def erase(number: str, *, at_twilio: bool, actor: str) -> ErasureResult:
    """Erase all that is held of a number in E.164; messages under way when they are settled.

    The audit log tells of it with the request, by its receipt and `actor`.
    """
    now = utcnow()
    records = read_records(number)
    receipt = secrets.token_hex(RECEIPT_BYTES)
    with db.engine.begin() as connection:
        _store_request(connection, records, receipt, at_twilio, now)
        entry = {
            "action": AuditAction.ERASED_PERSON,
            "actor": actor,
            "subject": f"receipt {receipt}",
        }
        connection.execute(db.insert(AuditEntry).values(entry))
    for _ in remove_pending(receipt):
        pass
    truncate_log()
    digits = number.removeprefix("+").encode()
    needles = [digits, digits[::-1]] if not count_left(receipt) else []
    return ErasureResult(receipt, has_traces(needles))


def count_left(receipt: str) -> int:
    """How many messages of an erasure, or of another one of its number, are under way still."""
    with reading_connection(db.engine) as connection:
        return connection.scalar(select(_LEFT).where(Erasure.receipt == receipt)) or 0


def find_unfinished(number: str) -> tuple[str, int] | None:
    """The newest receipt of a number and how much is left of it; None if nothing is."""
    with reading_connection(db.engine) as connection:
        is_of_number = Erasure.number_hash == keyed_hash(connection, HashedKind.NUMBER, number)
        query = select(Erasure.receipt, _LEFT).where(is_of_number, _LEFT > 0)
        row = connection.execute(query.order_by(Erasure.requested_at.desc()).limit(1)).first()
    return (row[0], row[1]) if row else None


def read_receipts(receipt: str | None = None) -> list[tuple[Erasure, int]]:
    """The newest erasures, or one by its receipt, each with what is left of it."""
    query = select(Erasure, _LEFT).order_by(Erasure.requested_at.desc())
    if receipt is not None:
        query = query.where(Erasure.receipt == receipt)
    return [(erasure, count) for erasure, count in db.session.execute(query.limit(RECEIPTS_SHOWN))]


def _store_request(
    connection: Connection, records: PersonRecords, receipt: str, at_twilio: bool, now: datetime
) -> None:
    """Store the receipt and what is to be removed; searches are few, and removed at once."""
    searches = delete(RecipientSearch).where(searches_number(records.number))
    erasure = {
        "receipt": receipt,
        "number_hash": keyed_hash(connection, HashedKind.NUMBER, records.number),
        "requested_at": now,
        "at_twilio": at_twilio,
        "searches": affected_rows(connection.execute(searches)),
        **dict.fromkeys(("messages", "events", "refused_callbacks"), 0),
    }
    connection.execute(db.insert(Erasure).values(erasure))
    # The ids that SQLite may have given again since they were read.
    message_ids = connection.scalars(select(Message.id).where(is_recipient(records.number)))
    is_newer = (RefusedCallback.last_at >= now) & (RefusedCallback.first_at >= now)
    is_newer &= ~is_ahead(RefusedCallback.first_at, now)
    newer_ids = connection.scalars(select(RefusedCallback.id).where(is_newer))
    for kind, ids in (
        (RemovalKind.ERASE, message_ids),
        (RemovalKind.EVENT, records.orphan_ids),
        (RemovalKind.REFUSED, set(records.refused_ids).difference(newer_ids)),
    ):
        PendingRemoval.add(connection, kind, ids, now, receipt)
    # The words of the texts leave the index soon, not within a day.
    ScheduledJob.postpone(connection, JobName.CLEANING, now)
