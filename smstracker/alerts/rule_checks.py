"""Which rules are true now, from counters and short ranges of indexes; never by a scan of messages.

Each query is bounded, so all of them together take less than 100 ms at ten million messages.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain

from sqlalchemy import Connection

from smstracker import health_facts
from smstracker.alerts import failures
from smstracker.alerts.finding import Finding, find_by_ratio
from smstracker.clock import HOUR
from smstracker.database.sqlite_file import find_copies
from smstracker.extensions import db, receipt_window
from smstracker.health_facts import WorkerStatus
from smstracker.models import ScheduledJob, outbox
from smstracker.models.alerts import RuleName
from smstracker.models.jobs import JobName
from smstracker.settings.database_url import sqlite_path

MIN_GAP = timedelta(minutes=10)  # shorter ones are restarts


def check_rules(
    connection: Connection, now: datetime, last_evaluated: datetime | None
) -> list[Finding]:
    """Check all rules at `now`; the last evaluation tells whether no worker ran since."""
    workers = health_facts.read_workers(connection, now)
    refused = health_facts.count_refused(connection, now)
    not_stored = health_facts.count_not_stored(connection, now)
    # Later nobody looks for their outcome any more.
    unknown = health_facts.count_unknown(connection, now, now - receipt_window())
    return list(
        chain(
            _find_silence(connection, now),
            find_by_ratio(
                RuleName.CALLBACKS_REFUSED,
                refused / health_facts.MIN_REFUSED,
                {"callbacks": refused},
            ),
            find_by_ratio(
                RuleName.CALLBACKS_NOT_STORED,
                not_stored / health_facts.MIN_NOT_STORED,
                {"callbacks": not_stored},
            ),
            _find_gone(workers, now, last_evaluated),
            _find_unable(workers),
            _find_stuck_outbox(connection, now),
            failures.find_failures(connection, now),
            find_by_ratio(
                RuleName.OUTCOME_UNKNOWN, unknown / health_facts.MIN_UNKNOWN, {"messages": unknown}
            ),
            _find_full_disk(),
            _find_copies(),
            _find_missing_backup(connection, now),
        )
    )


def _find_silence(connection: Connection, now: datetime) -> Iterator[Finding]:
    silent, called_back = health_facts.count_silent(connection, now)
    share = silent / max(silent + called_back, 1)
    counts = {"messages": silent, "accepted": silent + called_back}
    yield from find_by_ratio(RuleName.CALLBACKS_SILENT, share / health_facts.SILENT_SHARE, counts)


def _find_gone(
    workers: Sequence[WorkerStatus], now: datetime, last_evaluated: datetime | None
) -> Iterator[Finding]:
    """A time without any worker, or workers that were killed and that no new one replaces."""
    started = [worker.started_at for worker in workers if worker.is_alive]
    if last_evaluated is not None and now - last_evaluated >= MIN_GAP:
        # A worker that has run all the time was busy, or the database was away.
        if all(started_at > last_evaluated for started_at in started):
            minutes = (now - last_evaluated) // timedelta(minutes=1)
            yield Finding(RuleName.WORKER_GONE, {"minutes": minutes}, began_at=last_evaluated)
        return
    vanished = [worker.beat_at for worker in workers if not worker.is_alive]
    if not vanished:
        return
    replaced = sum(started_at > min(vanished) for started_at in started)
    if (missing := len(vanished) - replaced) > 0:
        yield Finding(RuleName.WORKER_GONE, {"workers": missing})


def _find_unable(workers: Sequence[WorkerStatus]) -> Iterator[Finding]:
    if unable := sum(worker.is_alive and worker.problem is not None for worker in workers):
        yield Finding(RuleName.TWILIO_UNREACHABLE, {"workers": unable})


def _find_stuck_outbox(connection: Connection, now: datetime) -> Iterator[Finding]:
    if since := outbox.find_stuck_time(connection, now):
        yield Finding(RuleName.OUTBOX_STUCK, {"minutes": (now - since) // timedelta(minutes=1)})


def _find_full_disk() -> Iterator[Finding]:
    if disk := health_facts.fullest_disk():
        percent = 100 * disk.free // max(disk.total, 1)
        counts = {"free_megabytes": disk.free // 1_000_000, "free_percent": percent}
        yield from find_by_ratio(RuleName.DISK_FULL, disk.shortage, counts)


def _find_copies() -> Iterator[Finding]:
    path = sqlite_path(db.engine.url)
    if copies := find_copies(path) if path else ():
        yield Finding(RuleName.DATABASE_COPIED, {"copies": len(copies)})


def _find_missing_backup(connection: Connection, now: datetime) -> Iterator[Finding]:
    """Another backup is due, where some were made."""
    backup = ScheduledJob.read(connection, JobName.BACKUP)
    if backup.done_at and backup.is_due(now, health_facts.BACKUP_INTERVAL):
        hours = max((now - backup.done_at) // HOUR, 0)
        yield Finding(RuleName.BACKUPS_STOPPED, {"hours": hours}, began_at=backup.due_at)
