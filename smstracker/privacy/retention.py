"""The worker job that deletes texts after KEEP_TEXT_DAYS and messages after KEEP_MESSAGE_DAYS.

It also deletes what is pending of erasures, and the messages of deleted users.

It walks through the messages in the order of their ids, which is that of their age, from a stored
position. Those whose outcome is open are stored as pending and looked at again each day.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import select
from sqlalchemy.engine import Connection

from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db, settings
from smstracker.models import Message, PendingRemoval, RemovalCounter
from smstracker.models.removals import CounterName, RemovalKind
from smstracker.privacy.batch_removal import remove_expired_batches
from smstracker.privacy.disk_traces import truncate_log
from smstracker.privacy.former_users import erase_former_users
from smstracker.privacy.pending import RECHECKS, remove_pending
from smstracker.privacy.portions import Portion, run_portions
from smstracker.privacy.removal import Removal, blank_messages, delete_messages


@dataclass(frozen=True, slots=True)
class _Rule:
    """Messages older than `days` are removed as `kind` says."""

    kind: RemovalKind
    position: CounterName
    days: int | None


def remove_expired(_last_done: datetime | None) -> Iterator[int]:
    """Remove what is due, a few rows at a time; yields how many rows of each second."""
    rules = (
        _Rule(RemovalKind.DELETE, CounterName.DELETE_POSITION, settings().keep_message_days),
        _Rule(RemovalKind.BLANK, CounterName.BLANK_POSITION, settings().keep_text_days),
    )
    is_anything_removed = False
    pending, former, batches = remove_pending(), erase_former_users(), remove_expired_batches()
    for steps in (pending, former, *map(_walk_all, rules), batches):
        for count in steps:
            is_anything_removed = True
            yield count
    if is_anything_removed:
        truncate_log()


def _walk_all(rule: _Rule) -> Iterator[int]:
    if rule.days is not None:
        yield from run_portions(partial(_walk, rule, timedelta(days=rule.days)))


def _walk(rule: _Rule, age: timedelta, portion: Portion) -> int:
    """Remove the next messages that are old enough; return how many were looked at."""
    now = utcnow()
    with reading_connection(db.engine) as connection:
        position = RemovalCounter.read(connection, rule.position)
        ids = _read_old(connection, position, now, age, portion.size)
    if not ids:
        return 0
    with portion.turn() as connection:
        RemovalCounter.advance(connection, rule.position, position, ids[-1])
        removal = _remove(connection, rule.kind, ids, now, now - age)
        remaining = select(Message.id).where(Message.id.in_(set(ids) - set(removal.message_ids)))
        if rule.kind is RemovalKind.BLANK:
            remaining = remaining.where(Message.content_deleted_at.is_(None))
        open_ids = connection.scalars(remaining).all()
        PendingRemoval.add(connection, rule.kind, open_ids, now + RECHECKS[rule.kind])
    return len(ids)


def _read_old(
    connection: Connection, position: int, now: datetime, age: timedelta, size: int
) -> list[int]:
    """The ids after a position up to the first message that is younger than `age`.

    A message from the future, of a clock that was wrong, does not stop the walk.
    """
    query = select(Message.id, Message.created_at).where(Message.id > position)
    ids: list[int] = []
    for row in connection.execute(query.order_by(Message.id).limit(size)):
        if now - age < row.created_at <= now:
            break
        ids.append(row.id)
    return ids


def _remove(
    connection: Connection, kind: RemovalKind, ids: list[int], now: datetime, before: datetime
) -> Removal:
    remove = blank_messages if kind is RemovalKind.BLANK else delete_messages
    at_twilio = settings().redact_at_twilio
    return remove(connection, ids, now, at_twilio=at_twilio, created_before=before)
