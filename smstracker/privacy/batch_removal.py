"""Texts, cells and files of batches are deleted by age, as messages are."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

from sqlalchemy import ColumnElement, String, case, cast, delete, func, select, update
from sqlalchemy.engine import Connection

from smstracker.clock import utcnow
from smstracker.database.engine import affected_rows, reading_connection
from smstracker.extensions import db
from smstracker.models import Batch, BatchFile, BatchRow, Message, User
from smstracker.models.batches import DRAFT_LIFETIME, BatchState
from smstracker.models.keep_settings import KeepSetting, days_in_force
from smstracker.models.tombstones import HashedKind, Tombstone, keyed_hash
from smstracker.privacy.portions import Portion, run_portions
from smstracker.privacy.removal import tombstone_lifetime
from smstracker.sms.status import OUTBOX

_TOO_OLD = "The reason was deleted with the text of the row."
# Those that go on by themselves are left until they are over.
_UNDER_WAY = (BatchState.RUNNING, BatchState.CHECKING)
_DRAFTS = (BatchState.READY, BatchState.REFUSED)


def remove_expired_batches() -> Iterator[int]:
    """Delete texts and cells of batches after KEEP_TEXT_DAYS; whole batches after
    KEEP_MESSAGE_DAYS, discarded ones, drafts after DRAFT_LIFETIME and those of deleted users.
    Yields how many rows of each second.
    """
    now = utcnow()
    with reading_connection(db.engine) as connection:
        message_days = days_in_force(connection, KeepSetting.MESSAGES)
        text_days = days_in_force(connection, KeepSetting.TEXTS)
    is_unwanted: ColumnElement[bool]
    is_unwanted = Batch.owner_id.in_(select(User.id).where(User.erases_messages))
    is_unwanted |= Batch.state == BatchState.DISCARDED
    is_unwanted |= Batch.state.in_(_DRAFTS) & (Batch.created_at < now - DRAFT_LIFETIME)
    if message_days is not None:
        is_unwanted |= _is_older(message_days)
    yield from run_portions(partial(_remove_portion, is_unwanted, _delete_rows))
    if text_days is not None:
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

    A paused batch is stopped; what waits of it is cancelled before it is looked at again. A draft
    is given up before its first row goes: nobody may send to the rest.
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
        if batch.state in _DRAFTS and remove is _delete_rows:
            discard = update(Batch).where(Batch.id == batch.id)
            connection.execute(discard.values(state=BatchState.DISCARDED))
            return 1
        return max(remove(connection, batch.id, portion.size), 1)


def _delete_rows(connection: Connection, batch_id: int, size: int) -> int:
    count = BatchRow.remove_some(connection, batch_id, size)
    if count < size:
        BatchFile.remove(connection, [batch_id])
        _keep_key(connection, batch_id)
        connection.execute(delete(Batch).where(Batch.id == batch_id))
    return count


def _keep_key(connection: Connection, batch_id: int) -> None:
    """Keep a hash of the key: a program that repeats its request sends nothing again."""
    query = select(Batch.owner_id, Batch.idempotency_key).where(Batch.id == batch_id)
    key_hash = keyed_hash(connection, HashedKind.FORM, *connection.execute(query).one())
    Tombstone.add(connection, {key_hash: utcnow() + tombstone_lifetime()})


def _blank_rows(connection: Connection, batch_id: int, size: int) -> int:
    has_cells = cast(BatchRow.cells, String) != "[]"
    numbers = select(BatchRow.number).where(BatchRow.batch_id == batch_id, has_cells).limit(size)
    is_row = (BatchRow.batch_id == batch_id, BatchRow.number.in_(numbers))
    problem = case((BatchRow.problem.is_not(None), _TOO_OLD))
    blank = update(BatchRow).where(*is_row).values(cells=[], problem=problem)
    count = affected_rows(connection.execute(blank))
    if count < size:
        BatchFile.remove(connection, [batch_id])
        empty = {"text": "", "content_deleted_at": utcnow(), "choices": [], "row_bytes": 0}
        connection.execute(update(Batch).where(Batch.id == batch_id).values(empty))
    return count
