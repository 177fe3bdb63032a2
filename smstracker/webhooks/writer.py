"""Group commit: callbacks that arrive together are stored in one durable transaction.

A commit and each statement cost far more than what one callback adds to them. So the first thread
writes for all that wait, and each request is answered after the commit of its callback. (This is
why the view does not commit: bench/callbacks measures the gain.) Refused callbacks are stored in
the same transactions, at no extra commit.

A message that another transaction has locked delays its own callbacks only: they leave the group
for a queue of that message, which the thread of its first callback writes in order. Only few
threads may wait that way; a callback without room tries once more, because another process also
locks a row, for the moment of its commit.
"""

import logging
import secrets
import time
import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from threading import Lock
from typing import cast

from flask import Flask, current_app
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from smstracker.carrier.signatures import SHARED_KEY
from smstracker.clock import utcnow
from smstracker.database.engine import UNAVAILABLE
from smstracker.database.problems import DatabaseProblem, explain
from smstracker.extensions import db
from smstracker.models import CallbackTally, RefusedCallback
from smstracker.models.callback_counts import CallbackCounts
from smstracker.models.callback_store import Callback, find_locked_sids, store_callbacks
from smstracker.models.events import StatusUpdate
from smstracker.refused.request import RefusedRequest

log = logging.getLogger(__name__)

FLUSH_INTERVAL = timedelta(seconds=1)
MAX_COUNT_WAIT_SECONDS = 0.05
BUSY_SECONDS = 0.5
# A process checks again whether the quarantine is full after it has filled this part of the free
# rows: other processes fill them too.
ROOM_DIVISOR = 8
STUCK_SECONDS = 1.0  # of one commit
# A group waits this long for a row before it looks up which message is locked.
LOCK_TIMEOUT = "100ms"
LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's code for lock_timeout
# For this long after a lock, each group looks for locked messages before it writes: while it waits
# for one of them, it holds the rows that it has written, and so delays other processes.
LOCK_CHECK_SECONDS = 5.0
RETRY_PAUSE_SECONDS = 0.2  # until a callback without room in a queue tries once more


class StuckError(SQLAlchemyError):
    """Too many threads wait for the database already: one more would wait in vain."""


class NoRoomError(StuckError):
    """The message is locked and no thread may wait for it. It may be free a moment later."""


class WriteResult:
    """None once it is stored, or the SID of the message whose queue its own thread has to write.

    The last try of a callback counts as not stored if it finds no room in a queue.
    """

    def __init__(self, is_last: bool = True) -> None:
        self.is_last = is_last
        self._outcome: str | BaseException | None = None
        self._is_done = False
        # Acquired once more by the thread that waits: the cheapest way to wait in Python.
        self._wake = Lock()
        self._wake.acquire()

    def done(self) -> bool:
        return self._is_done

    def finish(self, outcome: str | BaseException | None = None) -> None:
        self._outcome, self._is_done = outcome, True
        self.wake()

    def wake(self) -> None:
        self._wake.release()

    def wait(self) -> bool:
        """Wait for the result; False if its thread was woken to write the next group."""
        self._wake.acquire()
        return self._is_done

    def result(self) -> str | None:
        """Return the outcome, or raise it."""
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome


PendingWrite = tuple[Callback | RefusedRequest, WriteResult]
Group = list[PendingWrite]


class CallbackWriter:
    """The writer of an app, shared by its threads."""

    def __init__(self, refused_callbacks_kept: int, threads: int = 16) -> None:
        self._pending: Group = []
        self._lock = Lock()
        self._write_lock = Lock()
        self._process = secrets.token_hex(8)
        self._max_refused = refused_callbacks_kept
        self._free_rows = 0
        self._uncounted = 0
        # Callbacks answered with 503 since the last success; the reason for the last, and its time.
        self.not_stored = 0
        self.failure: tuple[DatabaseProblem, datetime] | None = None
        self._busy_at = -BUSY_SECONDS
        self._written_at = utcnow()
        self._commit_started_at: float | None = None  # the commit that is under way
        self._max_pending = max(threads // 2, 1)  # in a commit that is stuck
        self._max_queued = max(threads // 4, 1)
        self._queues: dict[str, Group] = {}  # by message, behind the one being written
        self._queued_count = 0
        self._locked_at = -LOCK_CHECK_SECONDS

    def store(self, public_id: uuid.UUID | None, update: StatusUpdate) -> None:
        """Return when the callback is durably stored; raise the error that prevented it."""
        self.write(Callback(public_id, update))

    def write(self, item: Callback | RefusedRequest) -> None:
        """Store a callback, or a refused one in the same way."""
        try:
            self._write_in_group(item, WriteResult(is_last=False))
        except NoRoomError:
            time.sleep(RETRY_PAUSE_SECONDS)
            self._write_in_group(item, WriteResult())

    @property
    def is_busy(self) -> bool:
        """Whether callbacks are being stored now, or arrived together just before."""
        return self._write_lock.locked() or time.monotonic() - self._busy_at < BUSY_SECONDS

    def count_refused(self, may_wait: bool = True) -> None:
        """Count a refused callback that is not stored, with the next commit or within a second.

        It waits for the current commit, so that a flood is no faster than signed callbacks: its
        threads would take the interpreter from those that store. It does not wait long, or a
        hanging database would take every thread.
        """
        with self._lock:
            self._uncounted += 1
        if not self._write_lock.acquire(timeout=MAX_COUNT_WAIT_SECONDS if may_wait else 0):
            return
        try:
            if abs(utcnow() - self._written_at) >= FLUSH_INTERVAL:
                self._write_all(db.engine)
        finally:
            self._pass_on()

    def _write_in_group(self, item: Callback | RefusedRequest, result: WriteResult) -> None:
        with self._lock:
            self._refuse_if_stuck(item)
            self._pending.append((item, result))
            is_writer = self._write_lock.acquire(blocking=False)
        if is_writer or not result.wait():
            try:
                self._write_all(db.engine)
            finally:
                self._pass_on()
        while not result.done():  # it waits behind a locked message
            result.wait()
        sid = result.result()
        if sid is not None:
            self._write_queue(db.engine, sid, item)

    def _pass_on(self) -> None:
        """Give the write lock to the first thread that waits with a write, or to anybody.

        So each thread is woken once: when its write is stored, or to write for all.
        """
        with self._lock:
            if self._pending:
                self._pending[0][1].wake()
            else:
                self._write_lock.release()

    def _refuse_if_stuck(self, item: Callback | RefusedRequest) -> None:
        started_at = self._commit_started_at
        is_slow = started_at is not None and time.monotonic() - started_at > STUCK_SECONDS
        if is_slow and len(self._pending) >= self._max_pending:
            self.not_stored += isinstance(item, Callback)
            raise StuckError

    def _write_all(self, engine: Engine) -> None:
        self._written_at, self._commit_started_at = utcnow(), time.monotonic()
        group: Group = []
        try:
            self._commit_around_locks(engine, group)
        except UNAVAILABLE as error:
            # Later arrivals would wait as long again.
            self._fail(group + self._take_pending(), error)
        except Exception as error:
            if not group:
                group = self._take_pending()
            # One callback that cannot be stored must not fail the others.
            if len(group) > 1:
                self._commit_each(engine, group)
            self._fail(group, error)
        finally:
            # The end of the commit, or a failure after seconds would be retried at once.
            self._written_at, self._commit_started_at = utcnow(), None
            _settle(group, RuntimeError("not stored"))

    def _take_pending(self) -> Group:
        with self._lock:
            group, self._pending = self._pending, []
        return group

    def _add_pending(self, group: Group) -> None:
        """Move what waits into the group, but callbacks of locked messages to their queues."""
        with self._lock:
            pending, self._pending = self._pending, []
            # As they are now: queues end meanwhile, and a callback belongs to one side.
            queued_sids = frozenset(self._queues)
        self._move_to_queues(pending, queued_sids)
        group += pending
        if len(_callbacks(group)) > 1:
            self._busy_at = time.monotonic()

    def _commit_around_locks(self, engine: Engine, group: Group) -> None:
        """Commit the group without the callbacks of locked messages, which leave it."""
        if time.monotonic() - self._locked_at < LOCK_CHECK_SECONDS:
            self._add_pending(group)
            self._queue_locked(engine, group)
        for takes_pending in (True, False):
            try:
                return self._commit(engine, group, takes_pending)
            except UNAVAILABLE as error:
                if not _is_lock(error):
                    raise
            self._locked_at = time.monotonic()
            self._queue_locked(engine, group)
        # The lock is not on a message that shows as locked.
        return self._commit_each(engine, group)

    def _queue_locked(self, engine: Engine, group: Group) -> None:
        """Move the callbacks of messages that another transaction has locked to their queues."""
        callbacks = _callbacks(group)
        if not callbacks:
            return
        with engine.connect() as connection:
            sids = find_locked_sids(connection, callbacks)
        if sids:
            self._locked_at = time.monotonic()
        self._move_to_queues(group, sids)

    def _commit_each(self, engine: Engine, group: Group) -> None:
        """Empty the group, with a commit for each callback."""
        while group:
            write = group.pop(0)
            try:
                self._commit(engine, [write])
            except Exception as error:
                sid = _message_sid(write[0])
                if sid and _is_lock(error):
                    self._move_to_queues([write], {sid})
                else:
                    self._fail([write], error)

    def _commit(self, engine: Engine, group: Group, takes_pending: bool = False) -> None:
        uncounted, not_stored = self._uncounted, self.not_stored
        counts = CallbackCounts(refused=uncounted, not_stored=not_stored)
        with engine.begin() as connection:
            if takes_pending:
                # Not before: on SQLite more arrive while this process waits for its turn.
                self._add_pending(group)
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            # Every process stores refused callbacks first, so that none deadlocks.
            free_rows = self._store_refused(connection, group, counts)
            self._store_accepted(connection, group, counts)
        self._free_rows = free_rows
        with self._lock:
            self._uncounted -= uncounted
            self.not_stored -= not_stored
            self.failure = None
        _settle(group)
        _log_stored(group)

    def _store_accepted(self, connection: Connection, group: Group, counts: CallbackCounts) -> None:
        """Store the callbacks of the group and add them to the tally."""
        now = utcnow()
        callbacks = _callbacks(group)
        outcomes = store_callbacks(connection, callbacks) if callbacks else []
        for callback, outcome in zip(callbacks, outcomes, strict=True):
            counts.repeated += outcome.is_repeated
            counts.unmatched += not outcome.has_message
            counts.by_key += callback.update.signed_with == SHARED_KEY
            counts.accepted += 1
        counts.last_accepted_at = now if counts.accepted else None
        CallbackTally.add(connection, self._process, counts, now)

    def _move_to_queues(self, group: Group, sids: Collection[str | None]) -> None:
        """Move the callbacks of the messages `sids` from the group to their queues."""
        if not sids:
            return
        to_queue = [write for write in group if _message_sid(write[0]) in sids]
        group[:] = [write for write in group if write not in to_queue]
        rejected = self._enqueue(to_queue)
        _settle([write for write in rejected if not write[1].is_last], NoRoomError())
        self._fail(rejected, NoRoomError())

    def _enqueue(self, group: Group) -> Group:
        """Add each callback to the queue of its message; return those without room."""
        rejected = []
        with self._lock:
            for item, result in group:
                sid = _message_sid(item)
                if sid is None or self._queued_count >= self._max_queued:
                    rejected.append((item, result))
                    continue
                self._queued_count += 1
                if sid in self._queues:
                    self._queues[sid].append((item, result))
                else:
                    self._queues[sid] = []
                    result.finish(sid)
        return rejected

    def _write_queue(self, engine: Engine, sid: str, item: Callback | RefusedRequest) -> None:
        """Write a callback and those queued behind it, then wake the thread of the next one."""
        own_write: PendingWrite = (item, WriteResult())
        with self._lock:
            group, self._queues[sid] = [own_write, *self._queues[sid]], []
        try:
            with engine.begin() as connection:
                self._store_accepted(connection, group, CallbackCounts())
            _settle(group)
            _log_stored(group)
        except Exception as error:
            self._fail(group, error)
        finally:
            with self._lock:
                self._queued_count -= len(group)
                later_writes = self._queues.pop(sid)
                if later_writes:
                    self._queues[sid] = later_writes[1:]
                    later_writes[0][1].finish(sid)
        own_write[1].result()

    def _store_refused(self, connection: Connection, group: Group, counts: CallbackCounts) -> int:
        """Store refused callbacks; return how many more fit before the next check for room."""
        free_rows = self._free_rows
        refusals = [item for item, _ in group if isinstance(item, RefusedRequest)]
        for refused in sorted(refusals, key=lambda refused: refused.fingerprint):
            row = {**refused.row(), "fingerprint": refused.fingerprint}
            free_rows -= RefusedCallback.store(connection, row, utcnow())
            counts.refused += 1
        if free_rows < 0:
            free_rows = max(RefusedCallback.evict(connection, self._max_refused), 0) // ROOM_DIVISOR
        return free_rows

    def _fail(self, group: Group, error: BaseException) -> None:
        lost = [write for write in group if not write[1].done()]
        if not lost:
            return
        problem = explain(error)
        with self._lock:
            self.not_stored += len(_callbacks(lost))
            self.failure = (problem, utcnow()) if problem else None
        _settle(lost, error)


def _callbacks(group: Group) -> list[Callback]:
    return [item for item, _ in group if isinstance(item, Callback)]


def _message_sid(item: Callback | RefusedRequest) -> str | None:
    return item.update.twilio_sid if isinstance(item, Callback) else None


def _is_lock(error: Exception) -> bool:
    return getattr(getattr(error, "orig", None), "sqlstate", None) == LOCK_NOT_AVAILABLE


def _log_stored(group: Group) -> None:
    """Log a commit in one line; a callback that came alone by its message."""
    callbacks = _callbacks(group)
    if len(callbacks) == 1:
        log.info("callback_stored", extra={"message_sid": callbacks[0].update.twilio_sid})
    elif callbacks:
        log.info("callbacks_stored", extra={"count": len(callbacks)})


def _settle(group: Group, error: BaseException | None = None) -> None:
    for _, result in group:
        if not result.done():
            result.finish(error)


def init_app(app: Flask) -> None:
    settings = app.config["SETTINGS"]
    writer = CallbackWriter(settings.refused_callbacks_kept, settings.web_threads)
    app.extensions["callback_writer"] = writer


def current_writer() -> CallbackWriter:
    return cast(CallbackWriter, current_app.extensions["callback_writer"])
