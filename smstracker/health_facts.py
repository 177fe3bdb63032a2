"""Facts on the health of the service, and the limits by which it is judged; each named once.

The page *Connection*, the message log, `flask doctor`, the metrics and the alerts read them here.
What differs on purpose: pages and doctor show each trace of a problem, because somebody looks. An
alert wakes somebody, so it takes several messages or callbacks, for some minutes (`alerts.rules`).
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    and_,
    func,
    literal_column,
    or_,
    select,
)

from smstracker.clock import DAY, HOUR, WEEK, is_ahead, is_within
from smstracker.extensions import db, settings
from smstracker.models import CallbackTally, Heartbeat, Message, RefusedCallback, StatusEvent, User
from smstracker.settings.database_url import sqlite_path
from smstracker.sms import status
from smstracker.sms.status import Source, State

MAX_ROWS = 5_000  # that one query for an alert reads

# Worker: gone for all alike; one that is killed and started again sends a heartbeat before this.
WORKER_GONE_AFTER = timedelta(minutes=1)
# Not stored: one in the last hour on pages and in doctor.
NOT_STORED_PERIOD, MIN_NOT_STORED = timedelta(minutes=15), 5
# Refused: one in the last hour on pages and in doctor, and there also one that only claims to be
# ours while callbacks are missing.
MIN_REFUSED = 3
# Silent: one message without a callback since the last callback on pages and in doctor.
CALLBACK_OVERDUE_AFTER = timedelta(minutes=5)
MIN_SILENT, SILENT_SHARE = 5, 0.5
# The shortest of these that holds MIN_SILENT is judged, so that no load makes the query long.
SILENCE_PERIODS = (*(timedelta(seconds=n) for n in (1, 60, 900, 10_800)), DAY, WEEK)
# Unknown outcome: one on pages and in doctor, however old.
UNKNOWN_AFTER = timedelta(minutes=10)
MIN_UNKNOWN = 3
# Backup: another is due a day later, with an hour for a slow one. Doctor tells if it is; an alert,
# if it is for as long again.
BACKUP_INTERVAL = timedelta(hours=25)
# Disk: less than a tenth is free, unless that is more than the second.
GIGABYTE = 1_000_000_000
MIN_FREE, ENOUGH_FREE = GIGABYTE, 10 * GIGABYTE

# Of a scheduled message no callback is due for days.
CALLBACK_DUE_STATUSES = sorted(
    {*status.counted_statuses(State.WAITING)} - {*status.NOT_ACCEPTED, "scheduled"}
)
_CALLED_BACK_STATUSES = sorted({*CALLBACK_DUE_STATUSES, *status.FINAL} - {*status.NOT_CALLED_BACK})


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    name: str
    started_at: datetime
    beat_at: datetime
    problem: str | None
    is_alive: bool


def read_workers(connection: Connection, now: datetime) -> tuple[WorkerStatus, ...]:
    """The workers that run, and those that vanished without ending; newest heartbeat first.

    None that vanished while its clock was ahead: nobody knows when, or what has replaced it.
    """
    columns = (Heartbeat.worker, Heartbeat.started_at, Heartbeat.beat_at, Heartbeat.problem)
    query = select(*columns).where(~is_ahead(Heartbeat.beat_at, now))
    rows = connection.execute(query.order_by(Heartbeat.beat_at.desc()))
    return tuple(
        WorkerStatus(name, started_at, beat_at, problem, now - beat_at <= WORKER_GONE_AFTER)
        for name, started_at, beat_at, problem in rows
    )


def count_refused(connection: Connection, now: datetime) -> int:
    """Count the refused callbacks of the last hour that a secret of ours signed, and that wait for
    a replay. The worker's job "diagnosis" finds which ones these are.
    """
    newest = (
        select(RefusedCallback.count)
        .where(
            RefusedCallback.is_proven,
            is_within(RefusedCallback.last_at, now, HOUR),
            RefusedCallback.replayed_at.is_(None),
        )
        .order_by(RefusedCallback.last_at.desc())
        .limit(MAX_ROWS)
        .subquery()
    )
    return int(connection.scalar(select(func.sum(newest.c.count))) or 0)


def count_not_stored(connection: Connection, now: datetime) -> int:
    """Count the callbacks of NOT_STORED_PERIOD that were answered with 503."""
    is_recent = is_within(CallbackTally.bucket_at, now, NOT_STORED_PERIOD)
    return int(connection.scalar(select(func.sum(CallbackTally.not_stored)).where(is_recent)) or 0)


def is_unknown(now: datetime) -> ColumnElement[bool]:
    """Match messages whose outcome has been unknown for UNKNOWN_AFTER."""
    return and_(Message.status.in_(status.OUTCOME_OPEN), Message.status_at < now - UNKNOWN_AFTER)


def count_unknown(connection: Connection, now: datetime, since: datetime | None = None) -> int:
    """Count the messages of unknown outcome, of all time or created later than `since`."""
    is_recent = [Message.created_at > since] if since else []
    counted = count_for_owner(is_unknown(now), *is_recent)
    return int(connection.scalar(select(func.sum(counted)).select_from(User)) or 0)


def is_without_callback(now: datetime) -> ColumnElement[bool]:
    """Match messages that wait although a callback is overdue, and never got one."""
    has_callback = (
        select(StatusEvent.id)
        .where(StatusEvent.message_id == Message.id, StatusEvent.source == Source.CALLBACK)
        .exists()
    )
    # Decides nearly all cheaply; only a callback that repeats a known status needs the subquery.
    has_other_source = or_(
        Message.status_source.is_(None), Message.status_source != Source.CALLBACK
    )
    return and_(
        Message.status.in_(CALLBACK_DUE_STATUSES),
        Message.accepted_at <= now - CALLBACK_OVERDUE_AFTER,
        has_other_source,
        ~has_callback,
    )


def is_final_by_lookup() -> ColumnElement[bool]:
    """Match final messages by look-up, except those that are never called back (never sent)."""
    return and_(
        Message.status_source == Source.LOOKUP,
        Message.status.in_(status.FINAL),
        Message.status.not_in(status.NOT_CALLED_BACK),
    )


def count_silent(connection: Connection, now: datetime) -> tuple[int, int]:
    """The newest messages that got no callback in time, and those that did in the same time.

    MIN_SILENT of the former are read, or there are fewer within WEEK: then both are 0.
    """
    for period in SILENCE_PERIODS:
        rows = connection.execute(_select_without_callback(now, period)).all()
        silent = sorted((row.created_at for row in rows if row.is_silent), reverse=True)
        if len(silent) >= MIN_SILENT:
            since = silent[MIN_SILENT - 1]
            return MIN_SILENT, connection.scalar(_count_called_back(since, now)) or 0
        if len(rows) == MAX_ROWS:
            break
    return 0, 0


def _select_without_callback(now: datetime, period: timedelta) -> Select[tuple[datetime, bool]]:
    """Select messages whose status is not a callback's, by a range of an index of each owner."""
    is_overdue = Message.accepted_at <= now - CALLBACK_OVERDUE_AFTER
    is_silent = is_overdue & or_(is_without_callback(now), is_final_by_lookup())
    return (
        select(Message.created_at, is_silent.label("is_silent"))
        .where(
            Message.owner_id.in_(select(User.id)),
            literal_column("message.status_source <> 'callback'"),  # as the index says it
            Message.status_source.in_((Source.SEND, Source.LOOKUP)),
            Message.created_at > now - CALLBACK_OVERDUE_AFTER - period,
            Message.created_at <= now - CALLBACK_OVERDUE_AFTER,
        )
        .limit(MAX_ROWS)
    )


def _count_called_back(since: datetime, now: datetime) -> Select[tuple[int]]:
    """Count the messages created from `since` on whose status is a callback's, up to a few."""
    called_back = (
        select(Message.id)
        .where(
            Message.owner_id.in_(select(User.id)),
            Message.status.in_(_CALLED_BACK_STATUSES),
            Message.created_at.between(since, now - CALLBACK_OVERDUE_AFTER),
            Message.status_source == Source.CALLBACK,
        )
        .limit(4 * MIN_SILENT)
        .subquery()
    )
    return select(func.count()).select_from(called_back)


def count_for_owner(*conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    """Count messages of a `User` of the enclosing query: indexes on messages begin with them."""
    count = select(func.count()).select_from(Message).correlate(User)
    return count.where(Message.owner_id == User.id, *conditions).scalar_subquery()


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of a folder, in bytes."""

    folder: Path
    free: int
    total: int

    @property
    def shortage(self) -> float:
        """The space that should be free, as a multiple of what is; the disk is full from 1 on."""
        needed = max(MIN_FREE, min(self.total // 10, ENOUGH_FREE))
        return needed / (self.free + 1)  # just enough is enough


def written_folders() -> Sequence[Path]:
    """The existing folders that the app writes to."""
    path = sqlite_path(db.engine.url)
    folders = [path.parent] if path else []
    return [folder for folder in [*folders, settings().instance] if folder.is_dir()]


def fullest_disk() -> Disk | None:
    """The fullest of the disks that the app writes to; None if it writes to none."""
    usages = [(folder, shutil.disk_usage(folder)) for folder in written_folders()]
    disks = [Disk(folder, usage.free, usage.total) for folder, usage in usages]
    return max(disks, key=lambda disk: disk.shortage, default=None)
