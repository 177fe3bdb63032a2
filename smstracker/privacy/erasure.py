"""Erase a person: everything that holds their number, at once or as soon as it may go.

First all rows are stored as pending, in one transaction, so that the worker finishes what is
interrupted. Several who erase a number at once share the work, and each row counts for one receipt:
a request that adds nothing to an earlier one gets the earlier receipt. Nothing is stored of the
number but a keyed hash.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import String, cast, delete, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import aliased

from smstracker.clock import is_ahead, utcnow
from smstracker.database.advisory_locks import lock_key
from smstracker.database.engine import affected_rows, reading_connection
from smstracker.database.lock_waits import repeat_while_locked
from smstracker.database.problems import LOCKED, explain
from smstracker.database.row_sets import is_any_of
from smstracker.extensions import db
from smstracker.models import (
    AuditEntry,
    Erasure,
    Message,
    PendingRemoval,
    RecipientSearch,
    RefusedCallback,
    ScheduledJob,
    StatusEvent,
    outbox,
)
from smstracker.models.audit_log import AuditAction
from smstracker.models.jobs import JobName
from smstracker.models.removals import RemovalKind
from smstracker.models.tombstones import HashedKind, keyed_hash
from smstracker.privacy.batch_rows import RowKey, erase_rows, erase_some_rows
from smstracker.privacy.disk_traces import has_traces, truncate_log
from smstracker.privacy.pending import await_others, remove_pending
from smstracker.privacy.person_records import (
    PersonRecords,
    find_records,
    is_recipient,
    searches_number,
)
from smstracker.privacy.portions import Portion, run_portions
from smstracker.privacy.typed_texts import count_typed_texts
from smstracker.sms.status import OUTBOX

RECEIPT_BYTES = 6
RECEIPTS_SHOWN = 20
ERASED_COUNTS = (
    *("messages", "events", "refused_callbacks", "deleted_at_twilio", "searches", "batch_rows"),
)
MAX_ROUNDS = 10  # of looking what others have left

_SAME = aliased(Erasure)
# What is pending of any erasure of the number that a row of Erasure is of.
_LEFT = (
    select(func.count(PendingRemoval.row_id))
    .join(_SAME, _SAME.receipt == PendingRemoval.receipt)
    .where(_SAME.number_hash == Erasure.number_hash)
    .correlate(Erasure)
    .scalar_subquery()
)
_LEFT_MESSAGES = (
    select(func.count(PendingRemoval.row_id))
    .join(_SAME, _SAME.receipt == PendingRemoval.receipt)
    .where(_SAME.number_hash == Erasure.number_hash, PendingRemoval.kind == RemovalKind.ERASE)
    .correlate(Erasure)
    .scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """`receipt` names the row of Erasure, which is that of an earlier request if it `is_shared`.

    `typed_text_count` texts that people typed still hold the number. If none does, `has_traces`
    says whether unused parts of the database file hold it.
    """

    receipt: str
    is_shared: bool
    typed_text_count: int
    has_traces: bool


@dataclass(frozen=True, slots=True)
class _Request:
    """A request as it is stored: its receipt, whether that is of an earlier one, and what rows of
    batches are left for further transactions.
    """

    number_hash: bytes
    at_twilio: bool
    receipt: str
    is_shared: bool
    left_rows: Sequence[RowKey]


@dataclass(frozen=True, slots=True)
class _Finds:
    """What a transaction has erased, by columns of Erasure, and what is to be removed as soon as it
    may go; `left_rows` of batches are left for further transactions.
    """

    counts: Mapping[str, int]
    ids_by_kind: Mapping[RemovalKind, Sequence[int]]
    file_count: int = 0
    left_rows: Sequence[RowKey] = ()

    @property
    def is_empty(self) -> bool:
        return not any((self.file_count, *self.counts.values(), *self.ids_by_kind.values()))

    def store(self, connection: Connection, receipt: str, now: datetime) -> None:
        """Store these with a receipt."""
        for kind, ids in self.ids_by_kind.items():
            PendingRemoval.add(connection, kind, ids, now, receipt)
        if any(self.counts.values()):
            Erasure.count(connection, receipt, self.counts)


def read_records(number: str) -> PersonRecords:
    """What is held of a number, read without a lock."""
    with reading_connection(db.engine) as connection:
        return find_records(connection, number)


def erase(number: str, *, at_twilio: bool, actor: str) -> ErasureResult:
    """Erase all that is held of a number in E.164; messages under way when they are settled.

    Those that wait here to be sent are cancelled.

    The audit log tells of it with the request, by its receipt and `actor`.
    """
    now = utcnow()
    records = read_records(number)
    request = repeat_while_locked(partial(_store_request, records, at_twilio, actor, now))
    _erase_left_rows(request, number)
    try:
        _remove_all(request.number_hash)
    except DBAPIError as error:
        if explain(error) is not LOCKED:
            raise
        # The worker finishes it.
    truncate_log()
    if count_left(request.receipt):
        return ErasureResult(request.receipt, request.is_shared, 0, has_traces=False)
    digits = number.removeprefix("+").encode()
    text_count = count_typed_texts(number)
    has_left_traces = not text_count and has_traces([digits, digits[::-1]])
    return ErasureResult(request.receipt, request.is_shared, text_count, has_left_traces)


def _remove_all(number_hash: bytes) -> None:
    """Remove what may go of a number, and wait for others who do the same."""
    for _ in range(MAX_ROUNDS):
        for _ in remove_pending(number_hash):
            pass
        if not repeat_while_locked(partial(await_others, number_hash)):
            break


def count_left(receipt: str) -> int:
    """How much is not erased yet of an erasure, or of another one of its number: messages under
    way, callbacks, and one for all rows of batches that are left.
    """
    with reading_connection(db.engine) as connection:
        return connection.scalar(select(_LEFT).where(Erasure.receipt == receipt)) or 0


def has_left_rows(erasure: Erasure) -> bool:
    """Whether rows of batches may hold the number still, as part of what is left of an erasure."""
    return PendingRemoval.has_left_rows(db.session.connection(), erasure.number_hash)


def find_unfinished(number: str) -> tuple[str, int] | None:
    """The newest receipt of a number and how many messages are left of it; None if none is."""
    with reading_connection(db.engine) as connection:
        is_of_number = Erasure.number_hash == keyed_hash(connection, HashedKind.NUMBER, number)
        query = select(Erasure.receipt, _LEFT_MESSAGES).where(is_of_number, _LEFT_MESSAGES > 0)
        row = connection.execute(query.order_by(Erasure.requested_at.desc()).limit(1)).first()
    return (row[0], row[1]) if row else None


def read_receipts(receipt: str | None = None) -> list[tuple[Erasure, int]]:
    """The newest erasures, or one by its receipt, each with what is left of it."""
    query = select(Erasure, _LEFT).order_by(Erasure.requested_at.desc())
    if receipt is not None:
        query = query.where(Erasure.receipt == receipt)
    return [(erasure, count) for erasure, count in db.session.execute(query.limit(RECEIPTS_SHOWN))]


def _store_request(records: PersonRecords, at_twilio: bool, actor: str, now: datetime) -> _Request:
    """Store what is to be removed and is not stored yet, with a receipt; searches and rows of
    batches go at once.
    """
    with db.engine.begin() as connection:
        number_hash = keyed_hash(connection, HashedKind.NUMBER, records.number)
        finds = _erase_found(connection, records, number_hash, at_twilio, now)
        earlier_receipt = None
        if finds.is_empty:
            earlier_receipt = Erasure.find_newest(connection, number_hash, at_twilio)
        receipt = earlier_receipt or secrets.token_hex(RECEIPT_BYTES)
        if earlier_receipt is None:
            erasure = {
                "receipt": receipt,
                "number_hash": number_hash,
                "requested_at": now,
                "at_twilio": at_twilio,
                **dict.fromkeys(ERASED_COUNTS, 0),
            }
            connection.execute(db.insert(Erasure).values(erasure))
        finds.store(connection, receipt, now)
        PendingRemoval.note_rows(connection, number_hash, receipt, now, bool(finds.left_rows))
        PendingRemoval.hasten(connection, number_hash, now)
        # The words of the texts leave the index soon, not within a day.
        ScheduledJob.postpone(connection, JobName.CLEANING, now)
        entry = {"action": AuditAction.ERASED_PERSON, "actor": actor}
        connection.execute(db.insert(AuditEntry).values(subject=f"receipt {receipt}", **entry))
    is_shared = earlier_receipt is not None
    return _Request(number_hash, at_twilio, receipt, is_shared, finds.left_rows)


def _erase_left_rows(request: _Request, number: str) -> None:
    """Erase the rows of batches that one transaction would take too long for; at the end look for
    all again, because more may have come meanwhile.
    """
    left = list(request.left_rows)

    def erase_portion(portion: Portion) -> int:
        keys = left[: portion.size]
        if keys:
            with portion.turn() as connection:
                _erase_some(connection, request, number, keys)
            del left[: len(keys)]
        return len(keys)

    while left:
        for _ in run_portions(erase_portion):
            pass
        now = utcnow()
        left += repeat_while_locked(partial(_erase_rest, request, read_records(number), now))


def _erase_some(
    connection: Connection, request: _Request, number: str, keys: Sequence[RowKey]
) -> None:
    """Erase rows of batches, and stop messages that have been made of rows to the number."""
    lock_key(connection, request.number_hash.hex())
    erased = erase_some_rows(connection, number, keys)
    message_ids = _stop_messages(connection, number, request.number_hash, request.at_twilio)
    ids_by_kind = {RemovalKind.ERASE: message_ids, RemovalKind.BLANK: erased.message_ids}
    finds = _Finds({"batch_rows": erased.row_count}, ids_by_kind)
    finds.store(connection, request.receipt, utcnow())


def _erase_rest(request: _Request, records: PersonRecords, now: datetime) -> Sequence[RowKey]:
    """Add to a request what is found by now; return the rows that are left for later."""
    with db.engine.begin() as connection:
        finds = _erase_found(connection, records, request.number_hash, request.at_twilio, now)
        finds.store(connection, request.receipt, now)
        key = (request.number_hash, request.receipt)
        PendingRemoval.note_rows(connection, *key, now, bool(finds.left_rows))
    return finds.left_rows


def _erase_found(
    connection: Connection,
    records: PersonRecords,
    number_hash: bytes,
    at_twilio: bool,
    now: datetime,
) -> _Finds:
    """Erase searches and rows of batches, stop messages, and find what is to be removed."""
    lock_key(connection, number_hash.hex())
    searches = delete(RecipientSearch).where(searches_number(records.number))
    search_count = affected_rows(connection.execute(searches))
    erased = erase_rows(connection, records.number, records.batch_rows)
    ids_by_kind = {
        RemovalKind.ERASE: _stop_messages(connection, records.number, number_hash, at_twilio),
        RemovalKind.BLANK: erased.message_ids,
        **_find_callbacks(connection, records, number_hash, now),
    }
    counts = {"searches": search_count, "batch_rows": erased.row_count}
    return _Finds(counts, ids_by_kind, erased.file_count, erased.left)


def _stop_messages(
    connection: Connection, number: str, number_hash: bytes, at_twilio: bool
) -> Sequence[int]:
    """Cancel the messages to a number that wait here to be sent.

    Returns the ids of all to it that no erasure of the number removes yet.
    """
    waiting = select(Message.id).where(is_recipient(number), Message.status == OUTBOX)
    for message_id in connection.scalars(waiting).all():
        outbox.cancel(connection, message_id)
    is_stored = PendingRemoval.is_stored(RemovalKind.ERASE, Message.id, number_hash, at_twilio)
    return connection.scalars(select(Message.id).where(is_recipient(number), ~is_stored)).all()


def _find_callbacks(
    connection: Connection, records: PersonRecords, number_hash: bytes, now: datetime
) -> dict[RemovalKind, Sequence[int]]:
    """Find the callbacks that no erasure of the number removes yet; each kind in one statement, so
    that none is missed or counted twice that another process removes meanwhile.

    The ids that SQLite may have given again since they were read are not trusted.
    """
    dialect_name = connection.dialect.name
    # Not the empty row that stays in place of the newest one.
    has_content = StatusEvent.twilio_sid.is_not(None) | (cast(StatusEvent.payload, String) != "{}")
    is_orphan = is_any_of(dialect_name, StatusEvent.id) & StatusEvent.message_id.is_(None)
    is_newer = (RefusedCallback.last_at >= now) & (RefusedCallback.first_at >= now)
    is_newer &= ~is_ahead(RefusedCallback.first_at, now)
    is_refused = is_any_of(dialect_name, RefusedCallback.id) & ~is_newer
    ids_by_kind = dict[RemovalKind, Sequence[int]]()
    for kind, column, condition, ids in (
        (RemovalKind.EVENT, StatusEvent.id, is_orphan & has_content, records.orphan_ids),
        (RemovalKind.REFUSED, RefusedCallback.id, is_refused, records.refused_ids),
    ):
        is_stored = PendingRemoval.is_stored(kind, column, number_hash, asks_twilio=False)
        query = select(column).where(condition, ~is_stored)
        ids_by_kind[kind] = connection.scalars(query, {"values": list(ids)}).all()
    return ids_by_kind
