"""Group commit: callbacks that arrive together are stored in one durable transaction.

A commit and each statement cost far more than what one callback adds to them, so one thread of each
process writes all that have come, once the server has answered them. (This is why the view does not
commit: bench/callbacks measures the gain.) Refused callbacks are stored in the same transactions,
at no extra commit.

What another transaction has locked, a message or a refused callback, delays its own callbacks only:
they wait for a later group.
"""

import logging
import secrets
import time
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread
from typing import cast

from flask import Flask, current_app
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from smstracker.carrier.signatures import SHARED_KEY
from smstracker.clock import utcnow
from smstracker.database.engine import UNAVAILABLE
from smstracker.database.problems import DAMAGED, TOO_SLOW, DatabaseProblem, explain, log_reason
from smstracker.extensions import db
from smstracker.logs import request_id
from smstracker.models import CallbackTally, RefusedCallback
from smstracker.models.callback_counts import CallbackCounts, refusal_column, store_times
from smstracker.models.callback_store import Callback, store_callbacks
from smstracker.models.messages import is_deleted_sid, keep_undeleted
from smstracker.refused.request import RefusedRequest
from smstracker.web.health import add_readiness_check

log = logging.getLogger(__name__)

FLUSH_INTERVAL = timedelta(seconds=1)
UNAVAILABLE_FOR = timedelta(seconds=2)  # after a failure of the database
BUSY_SECONDS = 0.5
IDLE_SECONDS = 1.0  # after which the thread ends
RECOUNT_SECONDS = 3600.0  # for which it tries to store by itself how many it could not store
# A process checks again whether the quarantine is full after it has filled this part of the free
# rows: other processes fill them too.
ROOM_DIVISOR = 8
STUCK_SECONDS = 1.0  # of one commit
UNREADY_SECONDS = 5.0  # of one commit, after which no load balancer should choose this process
DAMAGED_SECONDS = 300.0  # for which a callback that met damage is remembered, unless one succeeds
HUNG_SECONDS = 15.0  # no database takes as long by itself: its limits for a statement are shorter
MAX_WAITING = 200  # for a commit that is stuck or for what is locked
MAX_UNSTARTED = 64  # callbacks that wait for `start`, so that none waits long
MAX_LOCKED_SECONDS = 5.0  # a callback waits for what is locked
LOCKED_RETRY_SECONDS = 0.05
MAX_REFUSALS_IN_GROUP = 16


class StuckError(SQLAlchemyError):
    """Too many wait for the database or for what is locked: one more would wait in vain."""


class LockedError(SQLAlchemyError):
    """Another transaction has kept locked for too long what a callback changes."""


class PendingWrite(Future[None]):
    """A callback, or a refused one, that waits for its commit: done once it is durably stored."""

    def __init__(self, item: Callback | RefusedRequest) -> None:
        super().__init__()
        self.item = item
        self.arrived_at = time.monotonic()
        self.request_id = request_id.get()

    @property
    def needs_repeat(self) -> bool:
        """Whether it failed, or is not done in time, and Twilio has to send it again."""
        error = self.exception() if self.done() else StuckError()
        if isinstance(self.item, Callback):
            return error is not None
        return self.item.is_plausible and isinstance(error, SQLAlchemyError)


Group = list[PendingWrite]


class CallbackWriter:
    """The writer of an app, shared by its threads."""

    def __init__(self, refused_callbacks_kept: int) -> None:
        self._callbacks: SimpleQueue[PendingWrite] = SimpleQueue()
        self._refusals: SimpleQueue[PendingWrite] = SimpleQueue()
        self._starts: SimpleQueue[None] = SimpleQueue()  # wakes the thread
        self._next_group: Group = []
        self._thread: Thread | None = None
        self._engine: Engine | None = None
        self._lock = Lock()
        self._tally_key = secrets.token_hex(8)
        self._max_refused = refused_callbacks_kept
        self._free_rows = 0
        # What the next commit counts: refusals that are not stored, by reason, and the times that
        # it took to store what came before.
        self._uncounted: Counter[str] = Counter()
        self._store_times: Counter[str] = Counter()
        # Callbacks answered with 503 since the last success; the reason for the last, and its time.
        self.not_stored = 0
        self._not_stored_at = 0.0
        self.failure: tuple[DatabaseProblem, datetime] | None = None
        self._damage_met_at = -DAMAGED_SECONDS
        self._unavailable_at = utcnow() - UNAVAILABLE_FOR
        self._busy_at = -BUSY_SECONDS
        self._written_at = utcnow()
        self._commit_started_at: float | None = None  # the commit that is under way

    def write(self, item: Callback | RefusedRequest) -> PendingWrite:
        """Have a callback, or a refused one, stored with the next group, after `start`."""
        write, self._engine = PendingWrite(item), db.engine
        queue = self._callbacks if isinstance(item, Callback) else self._refusals
        if self._is_writing_for(STUCK_SECONDS) and queue.qsize() >= MAX_WAITING:
            self._fail([write], StuckError())
        else:
            queue.put(write)
        if self._callbacks.qsize() >= MAX_UNSTARTED:
            self.start()
        return write

    def start(self) -> None:
        """Store what has come. Once for many: the first alone would be a group of its own."""
        with self._lock:
            if self._starts.empty():
                self._starts.put(None)
            is_running = self._thread is not None and self._thread.is_alive()  # not after a fork
            is_hung = self._is_writing_for(HUNG_SECONDS)
            if is_hung:  # it may have locked the row of its counts
                self._tally_key = secrets.token_hex(8)
            if not is_running or is_hung:
                self._commit_started_at = None
                self._thread = Thread(target=self._run, args=(self._engine,), daemon=True)
                try:
                    self._thread.start()
                except RuntimeError as error:  # too many threads; the next start tries again
                    log.error("callbacks_not_started", exc_info=error)

    @property
    def is_busy(self) -> bool:
        """Whether callbacks are being stored now, or arrived together just before."""
        is_writing = self._commit_started_at is not None
        return is_writing or time.monotonic() - self._busy_at < BUSY_SECONDS

    @property
    def is_unavailable(self) -> bool:
        """Whether the database has failed just before."""
        return abs(utcnow() - self._unavailable_at) < UNAVAILABLE_FOR

    def find_unready_commit(self) -> DatabaseProblem | None:
        """Return the problem of a database that takes no callback now, for /readyz."""
        if time.monotonic() - self._damage_met_at < DAMAGED_SECONDS:
            return DAMAGED
        return TOO_SLOW if self._is_writing_for(UNREADY_SECONDS) else None

    def count_refused(self, reason: str) -> None:
        """Count a refused callback that is not stored, with the next commit or within a second."""
        with self._lock:
            self._uncounted[refusal_column(reason)] += 1
        if abs(utcnow() - self._written_at) >= FLUSH_INTERVAL:
            self._engine = db.engine
            self.start()

    @property
    def _is_current(self) -> bool:
        """Whether this thread is the writer, and was not replaced while its database hung."""
        return self._thread is current_thread()

    def _is_writing_for(self, seconds: float) -> bool:
        """Whether the current commit has taken longer than that."""
        started_at = self._commit_started_at
        return started_at is not None and time.monotonic() - started_at > seconds

    def _run(self, engine: Engine) -> None:
        """Write group after group until nothing has come for a while."""
        while self._await_start():
            if self._has_more():
                self._write_group(engine)

    def _await_start(self) -> bool:
        """Wait for what is to be written; False if nothing came and the thread has to end.

        A thread whose database connection hung for long has been replaced when it comes back.
        """
        if not self._is_current:
            return False
        seconds = LOCKED_RETRY_SECONDS if self._next_group else IDLE_SECONDS
        try:
            self._starts.get(timeout=seconds)
        except Empty:
            with self._lock:
                has_more = self._has_more()
                if not has_more:
                    self._thread = None
            return has_more
        return True

    def _has_more(self) -> bool:
        has_arrivals = self._callbacks.qsize() or self._refusals.qsize()
        has_count = self._uncounted or (
            self.not_stored and time.monotonic() - self._not_stored_at < RECOUNT_SECONDS
        )
        return bool(has_arrivals or self._next_group or has_count)

    def _take_arrivals(self) -> Group:
        """Return all callbacks, and few of the refused ones: anybody can send many at once."""
        callbacks = _take(self._callbacks, self._callbacks.qsize())
        refusals = _take(self._refusals, MAX_REFUSALS_IN_GROUP)
        if not self._refusals.empty():
            self._starts.put(None)
        return callbacks + refusals

    def _write_group(self, engine: Engine) -> None:
        group, self._next_group = self._next_group, []
        self._commit_started_at = time.monotonic()
        try:
            self._commit(engine, group, takes_arrivals=True)
        except UNAVAILABLE as error:
            self._unavailable_at = utcnow()
            # Later arrivals would wait as long again.
            self._fail(group + self._take_arrivals(), error)
        except Exception:
            # One callback that cannot be stored must not fail the others. None was taken yet if the
            # transaction could not begin.
            self._commit_each(engine, group or self._take_arrivals())
        finally:
            if self._is_current:
                self._commit_started_at = None

    def _commit_each(self, engine: Engine, group: Group) -> None:
        for write in group:
            try:
                self._commit(engine, [write])
            except Exception as error:
                self._fail([write], error)

    def _commit(self, engine: Engine, group: Group, takes_arrivals: bool = False) -> None:
        with self._lock:
            uncounted, times = self._uncounted.copy(), self._store_times.copy()
        not_stored = self.not_stored
        counts = CallbackCounts(
            refused=uncounted.total(), not_stored=not_stored, details=uncounted + times
        )
        with engine.begin() as connection:
            if takes_arrivals:
                # Not before: on SQLite more arrive while this process waits for its turn.
                group += self._take_arrivals()
            free_rows, locked = self._store_refused(connection, group, counts)
            locked += self._store_accepted(connection, group, counts)
        self._free_rows = free_rows
        self._written_at = utcnow()
        with self._lock:
            self._uncounted -= uncounted
            self._store_times -= times
            self.not_stored -= not_stored
            self.failure = None
        stored = [write for write in group if write not in locked]
        accepted = [write for write in stored if isinstance(write.item, Callback)]
        if accepted:
            self._damage_met_at = -DAMAGED_SECONDS
        now = time.monotonic()
        self._store_times += store_times(now - write.arrived_at for write in accepted)
        _log_stored(accepted)
        for write in stored:
            write.set_result(None)
        self._postpone(locked)

    def _store_accepted(
        self, connection: Connection, group: Group, counts: CallbackCounts
    ) -> Group:
        """Store the callbacks of the group and count them; return those of locked messages."""
        now = utcnow()
        accepted = [write for write in group if isinstance(write.item, Callback)]
        callbacks = _callbacks(group)
        outcomes = store_callbacks(connection, callbacks) if callbacks else []
        locked = []
        for write, callback, outcome in zip(accepted, callbacks, outcomes, strict=True):
            if outcome is None:
                locked.append(write)
                continue
            counts.repeated += outcome.is_repeated
            counts.unmatched += not outcome.has_message
            counts.by_key += callback.update.signed_with == SHARED_KEY
            counts.accepted += 1
        if len(accepted) > 1:
            self._busy_at = time.monotonic()
        # Those of other programs do not tell whether ours come.
        counts.last_accepted_at = now if counts.accepted > counts.unmatched else None
        CallbackTally.add(connection, self._tally_key, counts, now)
        return locked

    def _postpone(self, group: Group) -> None:
        """Leave callbacks that another transaction has locked to the next group, but not for long.

        A thread that was replaced has no next group.
        """
        until = time.monotonic() - MAX_LOCKED_SECONDS
        late = [write for write in group if write.arrived_at < until or not self._is_current]
        self._fail(late, LockedError())
        waiting = [write for write in group if write not in late]
        self._fail(waiting[MAX_WAITING:], StuckError())
        self._next_group += waiting[:MAX_WAITING]

    def _store_refused(
        self, connection: Connection, group: Group, counts: CallbackCounts
    ) -> tuple[int, Group]:
        """Store refused callbacks; return how many more fit before the next check for room, and
        those that another transaction has locked.
        """
        free_rows, locked = self._free_rows, []
        requests = {write: write.item for write in group if isinstance(write.item, RefusedRequest)}
        fingerprints = {refused.fingerprint for refused in requests.values()}
        locked_fingerprints = RefusedCallback.try_to_lock(connection, fingerprints)
        sids = {refused.twilio_sid for refused in requests.values() if refused.twilio_sid}
        locked_sids = keep_undeleted(connection, sids)
        for write, refused in requests.items():
            if refused.fingerprint in locked_fingerprints or refused.twilio_sid in locked_sids:
                locked.append(write)
                continue
            row = {**refused.row(), "fingerprint": refused.fingerprint}
            counts.refused += 1
            counts.details[refusal_column(refused.reason)] += 1
            # The numbers of a deleted message shall not come back.
            if not is_deleted_sid(connection, refused.twilio_sid):
                free_rows -= RefusedCallback.store(connection, row, utcnow())
        if free_rows < 0:
            free_rows = max(RefusedCallback.evict(connection, self._max_refused), 0) // ROOM_DIVISOR
        return free_rows, locked

    def _fail(self, group: Group, error: Exception) -> None:
        # A failure that took seconds is not tried again at once.
        self._written_at = utcnow()
        if not group:
            return
        _set_request_id(group)
        problem, lost_count = explain(error), len(_callbacks(group))
        with self._lock:
            self.not_stored += lost_count
            self.failure = (problem, utcnow()) if problem else None
        if lost_count:
            self._not_stored_at = time.monotonic()
            if problem is DAMAGED:
                self._damage_met_at = time.monotonic()
            facts = {"reason": log_reason(error), "count": lost_count}
            log.error("callback_not_stored", exc_info=error, extra=facts)
        for write in group:
            write.set_exception(error)


def _take(queue: "SimpleQueue[PendingWrite]", most: int) -> Group:
    """Take what is there, which a thread that was replaced may do as well."""
    group: Group = []
    with suppress(Empty):
        while len(group) < most:
            group.append(queue.get_nowait())
    return group


def _callbacks(group: Group) -> list[Callback]:
    return [write.item for write in group if isinstance(write.item, Callback)]


def _log_stored(group: Group) -> None:
    """Log a commit in one line; a callback that came alone by its message."""
    _set_request_id(group)
    callbacks = _callbacks(group)
    if len(callbacks) == 1:
        log.info("callback_stored", extra={"message_sid": callbacks[0].update.twilio_sid})
    elif callbacks:
        log.info("callbacks_stored", extra={"count": len(callbacks)})


def _set_request_id(group: Group) -> None:
    """Name the request of a write that came alone in the lines that follow."""
    request_id.set(group[0].request_id if len(group) == 1 else None)


def init_app(app: Flask) -> None:
    settings = app.config["SETTINGS"]
    writer = CallbackWriter(settings.refused_callbacks_kept)
    app.extensions["callback_writer"] = writer
    add_readiness_check(app, writer.find_unready_commit)


def current_writer() -> CallbackWriter:
    return cast(CallbackWriter, current_app.extensions["callback_writer"])
