"""Group commit: callbacks that wait at the same time are stored in one durable transaction.

A commit costs far more than the two statements of a callback, and on SQLite threads that fight for
the write lock wait in ever longer naps. Here the first to come writes for all who wait, and each
request is answered after the commit that holds its callback. (This is why the commit is not in the
view: see bench/callbacks for what it gains.) What was refused is kept in the same transactions, so
that it costs no commit of its own.

A message that another transaction holds costs its own callbacks the wait and no others: they leave
the group and are written, in their order, by the thread of the first of them. Only few threads wait
that way; what finds no room tries once more, because another process of ours holds a row just as
well, for the moment of its commit.
"""

import secrets
import time
import uuid
from collections.abc import Collection
from concurrent.futures import Future
from datetime import datetime, timedelta
from threading import Lock
from typing import NamedTuple

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
from smstracker.models.event_store import find_locked_sids, store_callback
from smstracker.models.events import StatusUpdate
from smstracker.refused.request import RefusedRequest

FLUSH_AFTER = timedelta(seconds=1)
LONGEST_TURN = 0.05  # seconds
CROWDED = 0.5  # seconds
# A process looks whether the quarantine is full once it has filled this part of the room that it
# saw: nobody knows how many others fill it too.
SHARE = 8
STUCK_AFTER = 1.0  # seconds of one commit
# So long a group waits for a row before it is looked up which message is locked.
LOCK_PATIENCE = "100ms"
LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's code for lock_timeout
# So long after a lock was met, each group looks for locked messages before it writes: while it
# waits for one of them, it holds the rows that it has written, and so holds up other processes.
ON_GUARD = 5.0  # seconds
HELD_PAUSE = 0.2  # seconds until a callback without room in a line tries once more


class StuckError(SQLAlchemyError):
    """So many wait for the database already that one more would keep a thread for nothing."""


class NoRoomError(StuckError):
    """The message is locked and no thread is left to wait. It may be free a moment later."""


class Callback(NamedTuple):
    """A verified callback, and the message in its path."""

    public_id: uuid.UUID | None
    news: StatusUpdate


class Done(Future[str | None]):
    """The result is None once it is stored, or the message whose line its own thread is to write.

    The last try of a callback is counted as not stored if it finds no room in a line.
    """

    def __init__(self, is_last: bool = True) -> None:
        super().__init__()
        self.is_last = is_last


Waiting = tuple[Callback | RefusedRequest, Done]


class CallbackWriter:
    """One for an app; threads share it."""

    def __init__(self, refused_callbacks_kept: int, threads: int = 16) -> None:
        self._waiting: list[Waiting] = []
        self._guard = Lock()
        self._writing = Lock()
        self._process = secrets.token_hex(8)
        self._kept = refused_callbacks_kept
        self._room = 0
        self._uncounted = 0
        # Callbacks that were answered with 503 since something was stored last; what kept the last
        # of them from being stored, and when.
        self.not_stored = 0
        self.failure: tuple[DatabaseProblem, datetime] | None = None
        self._crowded_at = -CROWDED
        self._written_at = utcnow()
        self._began: float | None = None  # the commit that is under way
        self._most_waiting = max(threads // 2, 1)  # in a commit that is stuck
        self._most_aside = max(threads // 4, 1)
        self._lines: dict[str, list[Waiting]] = {}  # by message, behind the one being written
        self._aside = 0
        self._locked_at = -ON_GUARD

    def store(self, public_id: uuid.UUID | None, news: StatusUpdate) -> None:
        """Return when the callback is durably stored; raise what kept it from being stored."""
        self._write(Callback(public_id, news))

    def keep(self, evidence: RefusedRequest) -> None:
        """The same for a refused callback."""
        self._write(evidence)

    @property
    def is_busy(self) -> bool:
        """Whether callbacks are being stored at this moment, or came side by side just before."""
        return self._writing.locked() or time.monotonic() - self._crowded_at < CROWDED

    def count_refused(self, patiently: bool = True) -> None:
        """Count a refused callback that is not kept, with the next commit or in a second.

        It waits for the commit that is under way, so that a flood goes no faster than what is
        signed: without that, its threads would take the interpreter from those that store. It does
        not wait long, or a database that hangs would take every thread.
        """
        with self._guard:
            self._uncounted += 1
        if not self._writing.acquire(timeout=LONGEST_TURN if patiently else 0):
            return
        try:
            if abs(utcnow() - self._written_at) >= FLUSH_AFTER:
                self._write_all(db.engine)
        finally:
            self._writing.release()

    def _write(self, what: Callback | RefusedRequest) -> None:
        try:
            self._write_in_group(what, Done(is_last=False))
        except NoRoomError:
            time.sleep(HELD_PAUSE)
            self._write_in_group(what, Done())

    def _write_in_group(self, what: Callback | RefusedRequest, done: Done) -> None:
        with self._guard:
            self._refuse_if_stuck(what)
            self._waiting.append((what, done))
        with self._writing:
            if not done.done():
                self._write_all(db.engine)
        message = done.result()
        if message is not None:
            self._write_line(db.engine, message, what)

    def _refuse_if_stuck(self, what: Callback | RefusedRequest) -> None:
        is_slow = self._began is not None and time.monotonic() - self._began > STUCK_AFTER
        if is_slow and len(self._waiting) >= self._most_waiting:
            self.not_stored += isinstance(what, Callback)
            raise StuckError

    def _write_all(self, engine: Engine) -> None:
        self._written_at, self._began = utcnow(), time.monotonic()
        group = self._take_waiting()
        if sum(isinstance(what, Callback) for what, _ in group) > 1:
            self._crowded_at = time.monotonic()
        try:
            self._leave_to_lines(group, self._messages_with_line())
            self._commit_around_locks(engine, group)
        except UNAVAILABLE as error:
            # Whoever came meanwhile would wait as long again.
            self._fail(group + self._take_waiting(), error)
        except Exception as error:
            # One of them cannot be stored; that must not cost the others their place.
            if len(group) > 1:
                self._commit_each(engine, group)
            self._fail(group, error)
        finally:
            # From its end, or what failed after seconds would be tried again at once.
            self._written_at, self._began = utcnow(), None
            _settle(group, RuntimeError("not stored"))

    def _take_waiting(self) -> list[Waiting]:
        with self._guard:
            group, self._waiting = self._waiting, []
        return group

    def _commit_around_locks(self, engine: Engine, group: list[Waiting]) -> None:
        """Commit the group but what is locked elsewhere, which leaves it."""
        if time.monotonic() - self._locked_at < ON_GUARD:
            self._leave_locked(engine, group)
        for _ in range(2):
            try:
                return self._commit(engine, group)
            except UNAVAILABLE as error:
                if not _is_lock(error):
                    raise
            self._locked_at = time.monotonic()
            self._leave_locked(engine, group)
        # What is in the way is no message that can be seen as locked.
        return self._commit_each(engine, group)

    def _leave_locked(self, engine: Engine, group: list[Waiting]) -> None:
        locked = _locked_messages(engine, group)
        if locked:
            self._locked_at = time.monotonic()
        self._leave_to_lines(group, locked)

    def _commit_each(self, engine: Engine, group: list[Waiting]) -> None:
        """Empty the group, with a commit for each."""
        while group:
            self._commit_alone(engine, group.pop(0))

    def _commit(self, engine: Engine, group: list[Waiting]) -> None:
        now, uncounted, not_stored = utcnow(), self._uncounted, self.not_stored
        counts = CallbackCounts(refused=uncounted, not_stored=not_stored)
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_PATIENCE}'")
            # Refused ones first, in every process, so that none ever waits in a circle.
            room = self._keep(connection, group, counts, now)
            self._record(connection, group, counts, now)
        self._room = room
        with self._guard:
            self._uncounted -= uncounted
            self.not_stored -= not_stored
            self.failure = None
        _settle(group)

    def _record(
        self, connection: Connection, group: list[Waiting], counts: CallbackCounts, now: datetime
    ) -> None:
        """Store the callbacks of the group, and add to the tally what it was."""
        # In the order of the SIDs, so that two processes never wait for one another's rows; the
        # sort keeps what belongs to one message in the order in which it came.
        callbacks = [what for what, _ in group if isinstance(what, Callback)]
        for public_id, news in sorted(callbacks, key=lambda one: one.news.twilio_sid or ""):
            recorded = store_callback(connection, public_id, news)
            counts.repeated += recorded.is_repeated
            counts.unmatched += not recorded.has_message
            counts.by_key += news.signed_with == SHARED_KEY
            counts.accepted += 1
        counts.last_accepted_at = now if counts.accepted else None
        CallbackTally.add(connection, self._process, counts, now)

    def _messages_with_line(self) -> frozenset[str]:
        """As they are at one moment: lines end meanwhile, and a callback belongs to one side."""
        with self._guard:
            return frozenset(self._lines)

    def _leave_to_lines(self, group: list[Waiting], locked: Collection[str | None]) -> None:
        """Take the callbacks of `locked` messages out of the group and set them aside."""
        if not locked:
            return
        held: list[Waiting] = []
        remaining: list[Waiting] = []
        for write in group:
            (held if _message_sid(write[0]) in locked else remaining).append(write)
        group[:] = remaining
        left = self._set_aside(held)
        _settle([one for one in left if not one[1].is_last], NoRoomError())
        self._fail(left, NoRoomError())

    def _set_aside(self, group: list[Waiting]) -> list[Waiting]:
        """Let each message's callbacks be written in a line of their own; those without room."""
        left = []
        with self._guard:
            for what, done in group:
                message = _message_sid(what)
                if message is None or self._aside >= self._most_aside:
                    left.append((what, done))
                    continue
                self._aside += 1
                if message in self._lines:
                    self._lines[message].append((what, done))
                else:
                    self._lines[message] = []
                    done.set_result(message)
        return left

    def _write_line(self, engine: Engine, message: str, what: Callback | RefusedRequest) -> None:
        """Write a callback and those that came behind it, then let the next one's thread go on."""
        first: Waiting = (what, Done())
        with self._guard:
            group, self._lines[message] = [first, *self._lines[message]], []
        try:
            with engine.begin() as connection:
                self._record(connection, group, CallbackCounts(), utcnow())
            _settle(group)
        except Exception as error:
            self._fail(group, error)
        finally:
            with self._guard:
                self._aside -= len(group)
                following = self._lines.pop(message)
                if following:
                    self._lines[message] = following[1:]
                    following[0][1].set_result(message)
        first[1].result()

    def _keep(
        self, connection: Connection, group: list[Waiting], counts: CallbackCounts, now: datetime
    ) -> int:
        """Keep what was refused; how many more this process may keep before it has to look."""
        room = self._room
        refused = [what for what, _ in group if isinstance(what, RefusedRequest)]
        for evidence in sorted(refused, key=lambda one: one.fingerprint):
            row = {**evidence.row(), "fingerprint": evidence.fingerprint}
            room -= RefusedCallback.store(connection, row, now)
            counts.refused += 1
        if room < 0:
            room = max(RefusedCallback.evict(connection, self._kept), 0) // SHARE
        return room

    def _commit_alone(self, engine: Engine, one: Waiting) -> None:
        try:
            self._commit(engine, [one])
        except Exception as error:
            message = _message_sid(one[0])
            if message and _is_lock(error):
                self._leave_to_lines([one], {message})
            else:
                self._fail([one], error)

    def _fail(self, group: list[Waiting], error: BaseException) -> None:
        if all(done.done() for _, done in group):
            return
        lost = [what for what, done in group if isinstance(what, Callback) and not done.done()]
        problem = explain(error)
        with self._guard:
            self.not_stored += len(lost)
            self.failure = (problem, utcnow()) if problem else None
        _settle(group, error)


def _locked_messages(engine: Engine, group: list[Waiting]) -> set[str | None]:
    """The messages of the group that another transaction holds, by SID."""
    callbacks = [what for what, _ in group if isinstance(what, Callback)]
    if not callbacks:
        return set()
    with engine.connect() as connection:
        named = [(callback.public_id, callback.news.twilio_sid) for callback in callbacks]
        return find_locked_sids(connection, named)


def _message_sid(what: Callback | RefusedRequest) -> str | None:
    return what.news.twilio_sid if isinstance(what, Callback) else None


def _is_lock(error: Exception) -> bool:
    return getattr(getattr(error, "orig", None), "sqlstate", None) == LOCK_NOT_AVAILABLE


def _settle(group: list[Waiting], error: BaseException | None = None) -> None:
    for _, done in group:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def init_app(app: Flask) -> None:
    settings = app.config["SETTINGS"]
    app.extensions["callback_writer"] = CallbackWriter(
        settings.refused_callbacks_kept, settings.web_threads
    )


def current_writer() -> CallbackWriter:
    writer: CallbackWriter = current_app.extensions["callback_writer"]
    return writer
