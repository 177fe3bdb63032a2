"""Removal of what is stored as pending: messages whose outcome was open, and what is erased."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.engine import Connection

from smstracker.clock import has_come, utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db, settings
from smstracker.models import (
    Erasure,
    Message,
    PendingRemoval,
    RefusedCallback,
    StatusEvent,
    outbox,
)
from smstracker.models.keep_settings import KeepSetting, days_in_force
from smstracker.models.messages import is_in_outbox
from smstracker.models.removals import RemovalKind
from smstracker.privacy.portions import Portion, run_portions
from smstracker.privacy.removal import blank_messages, delete_messages, keep_out

# When a row is looked at again whose message is still open.
RECHECKS = dict.fromkeys(RemovalKind, timedelta(minutes=1))
RECHECKS |= {RemovalKind.BLANK: timedelta(days=1), RemovalKind.DELETE: timedelta(days=1)}

SETTINGS = {RemovalKind.BLANK: KeepSetting.TEXTS, RemovalKind.DELETE: KeepSetting.MESSAGES}
_IS_ORPHAN = StatusEvent.message_id.is_(None)


def remove_pending(
    number_hash: bytes | None = None, removed: Counter[RemovalKind] | None = None
) -> Iterator[int]:
    """Remove the pending rows that are due, all or those of one number, as far as they may be.

    Counts the messages of each kind in `removed`.
    """
    with reading_connection(db.engine) as connection:
        switched_off = {
            kind for kind, setting in SETTINGS.items() if days_in_force(connection, setting) is None
        }
    for kind in RemovalKind:
        if kind is RemovalKind.ROWS:
            continue
        is_wanted = PendingRemoval.kind == kind
        if number_hash is not None:
            is_wanted &= PendingRemoval.is_of_number(number_hash)
        if kind in switched_off:
            is_wanted &= PendingRemoval.receipt.is_not(None)
        yield from run_portions(partial(_remove_portion, kind, is_wanted, removed))


def await_others(number_hash: bytes) -> bool:
    """Wait until nobody removes what is due of a number; return whether anything is left due.

    Waits at most as long as the database waits for a lock.
    """
    is_due = has_come(PendingRemoval.check_at, utcnow(), RECHECKS[RemovalKind.ERASE])
    is_due &= PendingRemoval.kind != RemovalKind.ROWS
    query = select(PendingRemoval.row_id).where(PendingRemoval.is_of_number(number_hash), is_due)
    query = query.order_by(PendingRemoval.kind, PendingRemoval.row_id).limit(1)
    with db.engine.begin() as connection:
        return connection.scalar(query.with_for_update()) is not None


def _remove_portion(
    kind: RemovalKind,
    is_wanted: ColumnElement[bool],
    removed: Counter[RemovalKind] | None,
    portion: Portion,
) -> int:
    """Remove due rows of the erasure whose turn it is; return how many were looked at."""
    now = utcnow()
    is_due = is_wanted & has_come(PendingRemoval.check_at, now, RECHECKS[kind])
    query = select(PendingRemoval.row_id, PendingRemoval.receipt).where(is_due)
    query = query.order_by(PendingRemoval.check_at, PendingRemoval.row_id).limit(portion.size)
    with reading_connection(db.engine) as connection:
        if connection.execute(query).first() is None:
            return 0  # so that nothing due costs no turn at writing
    with portion.turn() as connection:
        rows = connection.execute(query.with_for_update(skip_locked=True)).all()
        if not rows:
            return 0
        first_receipt = rows[0].receipt
        ids = [row.row_id for row in rows if row.receipt == first_receipt]
        counts, left_ids = _remove(connection, kind, ids, first_receipt, now)
        is_of_person = first_receipt is not None
        recheck = RECHECKS[RemovalKind.ERASE if is_of_person else kind]
        PendingRemoval.postpone(connection, kind, left_ids, now + recheck)
        PendingRemoval.finish(connection, kind, set(ids).difference(left_ids))
        if first_receipt is not None and counts:
            Erasure.count(connection, first_receipt, counts)
    if removed is not None and not is_of_person:
        removed[kind] += len(set(ids).difference(left_ids))
    return len(ids)


def _remove(
    connection: Connection,
    kind: RemovalKind,
    ids: Sequence[int],
    receipt: str | None,
    now: datetime,
) -> tuple[dict[str, int], Sequence[int]]:
    """Remove rows; return what was removed, by columns of Erasure, and the ids of what is left."""
    if kind is RemovalKind.EVENT:
        query = select(StatusEvent.twilio_sid).where(StatusEvent.id.in_(ids), _IS_ORPHAN)
        sids = connection.scalars(query).all()
        refused_count = keep_out(connection, sids, now)
        # Those that came after the search too.
        is_theirs = StatusEvent.id.in_(ids) | StatusEvent.twilio_sid.in_(set(sids) - {None})
        event_count = StatusEvent.remove(connection, _IS_ORPHAN & is_theirs, {})
        return {"events": event_count, "refused_callbacks": refused_count}, []
    if kind is RemovalKind.REFUSED:
        deletion = delete(RefusedCallback).where(RefusedCallback.id.in_(ids))
        columns = (RefusedCallback.twilio_sid, RefusedCallback.replayed_at)
        rows = connection.execute(deletion.returning(*columns)).all()
        refused_count = len(rows) + keep_out(connection, [row.twilio_sid for row in rows], now)
        # What a replay has made of them after the search; it verified them.
        applied_sids = {row.twilio_sid for row in rows if row.replayed_at} - {None}
        is_applied = _IS_ORPHAN & StatusEvent.twilio_sid.in_(applied_sids)
        event_count = StatusEvent.remove(connection, is_applied, {})
        return {"events": event_count, "refused_callbacks": refused_count}, []
    return _remove_messages(connection, kind, ids, receipt, now)


def _remove_messages(
    connection: Connection,
    kind: RemovalKind,
    ids: Sequence[int],
    receipt: str | None,
    now: datetime,
) -> tuple[dict[str, int], Sequence[int]]:
    remaining = select(Message.id).where(Message.id.in_(ids))
    at_twilio = settings().redact_at_twilio
    if kind is RemovalKind.BLANK:
        before = _oldest_kept(connection, kind, now) if receipt is None else None
        if receipt is not None:  # the text holds the number of somebody else
            is_receipt = Erasure.receipt == receipt
            at_twilio = connection.scalars(select(Erasure.at_twilio).where(is_receipt)).one()
        blank_messages(
            connection, ids, now, at_twilio=at_twilio, created_before=before, receipt=receipt
        )
        return {}, connection.scalars(remaining.where(Message.content_deleted_at.is_(None))).all()
    created_before = None
    if kind is RemovalKind.DELETE:
        created_before = _oldest_kept(connection, kind, now)
    else:
        at_twilio = False  # only those of which the receipt says so
        # Twilio may have refused them for now when the erasure was stored.
        for message_id in connection.scalars(remaining.where(is_in_outbox())).all():
            outbox.cancel(connection, message_id)
    removal = delete_messages(
        connection, ids, now, at_twilio=at_twilio, created_before=created_before
    )
    counts = {
        "messages": len(removal.message_ids),
        "events": removal.event_count,
        "refused_callbacks": removal.refused_count,
    }
    return counts, connection.scalars(remaining).all()


def _oldest_kept(connection: Connection, kind: RemovalKind, now: datetime) -> datetime:
    """Return the time before which messages are removed; the beginning of time if none are."""
    days = days_in_force(connection, SETTINGS[kind])
    return datetime.min.replace(tzinfo=UTC) if days is None else now - timedelta(days=days)
