"""Which rules are true now, from counters and short ranges of indexes; never by a scan of messages.

Each query is bounded, so all of them together take less than 100 ms at ten million messages.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from sqlalchemy import Connection, func, select

from smstracker.alerts import failures
from smstracker.alerts.finding import Finding
from smstracker.connection.queries import CALLBACK_DUE_STATUSES, last_callback_at
from smstracker.disk_space import written_folders
from smstracker.models import CallbackTally, Heartbeat, Message, RefusedCallback, User
from smstracker.sms import status
from smstracker.sms.status import Source

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
MIN_SILENT = 5  # messages without a callback
CALLBACK_DUE_AFTER = timedelta(minutes=5)
MIN_REFUSED = 3
MIN_NOT_STORED = 5
NOT_STORED_PERIOD = timedelta(minutes=15)
WORKER_GONE_AFTER = timedelta(minutes=2)
MIN_GAP = timedelta(minutes=10)  # shorter ones are restarts
MIN_UNKNOWN = 3
UNKNOWN_AFTER = timedelta(minutes=10)
MAX_ROWS = 5_000  # that one query reads
GIGABYTE = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Workers:
    """The heartbeats: of running workers, and of those that vanished without ending."""

    started: list[datetime]
    vanished: list[datetime]  # their last heartbeats
    unable: int  # running, but they cannot ask Twilio


def find_all(
    connection: Connection, now: datetime, last_evaluated: datetime | None
) -> list[Finding]:
    """The rules that are true at `now`; the last evaluation tells whether no worker ran since."""
    workers = _read_workers(connection, now)
    return list(
        chain(
            _find_silence(connection, now),
            _find_refused(connection, now),
            _find_not_stored(connection, now),
            _find_gone(workers, now, last_evaluated),
            _find_unable(workers),
            failures.find_failures(connection, now),
            _find_unknown(connection, now),
            _find_full_disk(),
        )
    )


def _find_silence(connection: Connection, now: datetime) -> Iterator[Finding]:
    """Messages accepted after the last callback: they wait in vain, or were looked up instead."""
    since = connection.scalar(last_callback_at(now - WEEK)) or now - WEEK
    # The look-up of a message that has waited for less than an hour is due within an hour.
    open_messages = (
        select(Message.status, Message.accepted_at, Message.status_source)
        .where(Message.next_lookup_at < now + HOUR)
        .order_by(Message.next_lookup_at)
        .limit(MAX_ROWS)
        .subquery()
    )
    waiting = select(func.count()).where(
        open_messages.c.status.in_(CALLBACK_DUE_STATUSES),
        open_messages.c.accepted_at > since,
        open_messages.c.accepted_at <= now - CALLBACK_DUE_AFTER,
        open_messages.c.status_source != Source.CALLBACK,
    )
    final_messages = (
        select(Message.accepted_at, Message.status)
        .where(Message.final_at > since, Message.status_source == Source.LOOKUP)
        .order_by(Message.final_at.desc())
        .limit(MAX_ROWS)
        .subquery()
    )
    looked_up = select(func.count()).where(
        final_messages.c.accepted_at > since,
        final_messages.c.status.not_in(status.NOT_CALLED_BACK),
    )
    messages = (connection.scalar(waiting) or 0) + (connection.scalar(looked_up) or 0)
    if messages >= MIN_SILENT:
        yield Finding("callbacks-silent", {"messages": messages})


def _find_refused(connection: Connection, now: datetime) -> Iterator[Finding]:
    newest = (
        select(RefusedCallback.count)
        .where(
            RefusedCallback.is_proven,
            RefusedCallback.last_at > now - HOUR,
            RefusedCallback.replayed_at.is_(None),
        )
        .order_by(RefusedCallback.last_at.desc())
        .limit(MAX_ROWS)
        .subquery()
    )
    callbacks = int(connection.scalar(select(func.sum(newest.c.count))) or 0)
    if callbacks >= MIN_REFUSED:
        yield Finding("callbacks-refused", {"callbacks": callbacks})


def _find_not_stored(connection: Connection, now: datetime) -> Iterator[Finding]:
    is_recent = CallbackTally.bucket_at > now - NOT_STORED_PERIOD
    query = select(func.sum(CallbackTally.not_stored)).where(is_recent)
    if (callbacks := int(connection.scalar(query) or 0)) >= MIN_NOT_STORED:
        yield Finding("callbacks-not-stored", {"callbacks": callbacks})


def _read_workers(connection: Connection, now: datetime) -> Workers:
    columns = (Heartbeat.started_at, Heartbeat.beat_at, Heartbeat.problem)
    rows = connection.execute(select(*columns)).all()
    running = [row for row in rows if now - row.beat_at <= WORKER_GONE_AFTER]
    return Workers(
        started=[row.started_at for row in running],
        vanished=[row.beat_at for row in rows if now - row.beat_at > WORKER_GONE_AFTER],
        unable=sum(row.problem is not None for row in running),
    )


def _find_gone(
    workers: Workers, now: datetime, last_evaluated: datetime | None
) -> Iterator[Finding]:
    """A time without any worker, or workers that were killed and that no new one replaces."""
    if last_evaluated is not None and now - last_evaluated >= MIN_GAP:
        # A worker that has run all the time was busy, or the database was away.
        if all(started > last_evaluated for started in workers.started):
            minutes = (now - last_evaluated) // timedelta(minutes=1)
            yield Finding("worker-gone", {"minutes": minutes}, began_at=last_evaluated)
        return
    if not workers.vanished:
        return
    replaced = sum(started > min(workers.vanished) for started in workers.started)
    if (missing := len(workers.vanished) - replaced) > 0:
        yield Finding("worker-gone", {"workers": missing})


def _find_unable(workers: Workers) -> Iterator[Finding]:
    if workers.unable:
        yield Finding("twilio-unreachable", {"workers": workers.unable})


def _find_unknown(connection: Connection, now: datetime) -> Iterator[Finding]:
    """Messages of the last day whose outcome nobody knows; by the index of each owner."""
    query = (
        select(func.count())
        .select_from(User)
        .join(Message, Message.owner_id == User.id)
        .where(
            Message.status.in_(status.OUTCOME_OPEN),
            Message.created_at > now - DAY,
            Message.created_at < now - UNKNOWN_AFTER,
        )
    )
    if (messages := connection.scalar(query) or 0) >= MIN_UNKNOWN:
        yield Finding("outcome-unknown", {"messages": messages})


def _find_full_disk() -> Iterator[Finding]:
    """Less than 1 GB is free; or less than a tenth, unless that is more than 10 GB."""
    usages = [shutil.disk_usage(folder) for folder in written_folders()]
    for usage in sorted(usages, key=lambda usage: usage.free)[:1]:
        if usage.free < max(GIGABYTE, min(usage.total // 10, 10 * GIGABYTE)):
            percent = 100 * usage.free // max(usage.total, 1)
            counts = {"free_megabytes": usage.free // 1_000_000, "free_percent": percent}
            yield Finding("disk-full", counts)
