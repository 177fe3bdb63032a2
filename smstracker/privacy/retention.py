"""The worker job that deletes texts after KEEP_TEXT_DAYS and messages after KEEP_MESSAGE_DAYS.

It also deletes what is pending of erasures, and the messages of deleted users; and it ends messages
that a restore has held for too long.

It walks through the messages in the order of their ids, which is that of their age, from a stored
position. Those whose outcome is open are stored as pending and looked at again each day.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from smstracker.clock import is_within, utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db, settings
from smstracker.health_facts import WORKER_GONE_AFTER
from smstracker.models import Heartbeat, Message, PendingRemoval, RemovalCounter
from smstracker.models.audit_log import count_deleted
from smstracker.models.keep_settings import (
    GRACE,
    ComingSetting,
    KeepSetting,
    days_in_force,
    needs_note,
    note_settings,
)
from smstracker.models.removals import RemovalKind
from smstracker.plurals import format_count
from smstracker.privacy.batch_removal import remove_expired_batches
from smstracker.privacy.disk_traces import truncate_log
from smstracker.privacy.former_users import erase_former_users
from smstracker.privacy.held_messages import end_held_messages
from smstracker.privacy.pending import RECHECKS, SETTINGS, remove_pending
from smstracker.privacy.portions import Portion, run_portions
from smstracker.privacy.removal import Removal, blank_messages, delete_messages

log = logging.getLogger(__name__)


def remove_expired(_last_done: datetime | None) -> Iterator[int]:
    """Remove what is due, a few rows at a time; yields how many rows of each second."""
    _note_settings()
    removed: Counter[RemovalKind] = Counter()
    is_anything_removed = False
    walks = (_walk_all(kind, removed) for kind in (RemovalKind.DELETE, RemovalKind.BLANK))
    pending, former = remove_pending(removed=removed), erase_former_users()
    try:
        for steps in (end_held_messages(), pending, former, *walks, remove_expired_batches()):
            for count in steps:
                is_anything_removed = True
                yield count
        if is_anything_removed:
            truncate_log()
    finally:  # also if the worker ends meanwhile
        _record(removed[RemovalKind.DELETE], removed[RemovalKind.BLANK])


def count_due(connection: Connection, coming: ComingSetting, now: datetime) -> int:
    """Count the messages that are too old, once a setting begins, and still have what goes then."""
    oldest_kept = (coming.begins_at or now + GRACE) - timedelta(days=coming.days)
    query = select(func.count()).select_from(Message).where(Message.created_at < oldest_kept)
    if coming.setting is KeepSetting.TEXTS:
        query = query.where(Message.content_deleted_at.is_(None))
    return connection.scalar(query) or 0


def describe_conflicts(connection: Connection, now: datetime) -> list[str]:
    """Say which settings are not the same here and in all workers that run: a sentence for each.

    The longest value is in force meanwhile: its worker forgets each shorter one.
    """
    is_alive = is_within(Heartbeat.beat_at, now, WORKER_GONE_AFTER)
    query = select(Heartbeat.worker, Heartbeat.keep_text_days, Heartbeat.keep_message_days)
    workers = connection.execute(query.where(is_alive).order_by(Heartbeat.worker)).all()
    conflicts = []
    for setting, position in ((KeepSetting.TEXTS, 1), (KeepSetting.MESSAGES, 2)):
        others = [
            f"{_format_kept(row[position])} in the worker {row.worker.rpartition(':')[0]}"
            for row in workers
            if row[position] not in (None, setting.days or 0)
        ]
        if others:
            here = _format_kept(setting.days)
            conflicts.append(f"{setting} is {here} here, but {' and '.join(others)}")
    return conflicts


def _format_kept(days: int | None) -> str:
    return format_count(days, "day") if days else "for ever"


def _note_settings() -> None:
    now = utcnow()
    with reading_connection(db.engine) as connection:
        is_needed = needs_note(connection, now)
    if is_needed:
        with db.engine.begin() as connection:
            note_settings(connection, now)


def _record(message_count: int, text_count: int) -> None:
    """Tell the log and the audit log how much a run has deleted by age."""
    if not message_count and not text_count:
        return
    log.info("retention_deleted", extra={"messages": message_count, "texts": text_count})
    with db.engine.begin() as connection:
        for kind, count in (("messages", message_count), ("texts", text_count)):
            if count:
                count_deleted(connection, kind, count)


def _walk_all(kind: RemovalKind, removed: Counter[RemovalKind]) -> Iterator[int]:
    with reading_connection(db.engine) as connection:
        days = days_in_force(connection, SETTINGS[kind])
    if days is not None:
        yield from run_portions(partial(_walk, kind, removed, timedelta(days=days)))


def _walk(
    kind: RemovalKind, removed: Counter[RemovalKind], age: timedelta, portion: Portion
) -> int:
    """Remove the next messages that are old enough; return how many were looked at."""
    now, counter = utcnow(), SETTINGS[kind].position
    with reading_connection(db.engine) as connection:
        position = RemovalCounter.read(connection, counter)
        ids = _read_old(connection, position, now, age, portion.size)
    if not ids:
        return 0
    with portion.turn() as connection:
        RemovalCounter.advance(connection, counter, position, ids[-1])
        removal = _remove(connection, kind, ids, now, now - age)
        remaining = select(Message.id).where(Message.id.in_(set(ids) - set(removal.message_ids)))
        if kind is RemovalKind.BLANK:
            remaining = remaining.where(Message.content_deleted_at.is_(None))
        open_ids = connection.scalars(remaining).all()
        PendingRemoval.add(connection, kind, open_ids, now + RECHECKS[kind])
    removed[kind] += len(removal.message_ids)
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
