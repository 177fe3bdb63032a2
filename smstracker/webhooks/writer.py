"""Group commit: callbacks that wait at the same time are stored in one durable transaction.

A commit costs far more than the two statements of a callback, and on SQLite threads that fight for
the write lock wait in ever longer naps. Here the first to come writes for all who wait, and each
request is answered after the commit that holds its callback. (This is why the commit is not in the
view: see bench/callbacks for what it gains.) What was refused is kept in the same transactions, so
that it costs no commit of its own.
"""

import secrets
import uuid
from concurrent.futures import Future
from datetime import datetime, timedelta
from threading import Lock
from time import monotonic
from typing import NamedTuple

from flask import Flask, current_app
from sqlalchemy import Connection, Engine

from smstracker.carrier.signatures import SECONDARY, SHARED_KEY
from smstracker.clock import utcnow
from smstracker.database import UNAVAILABLE
from smstracker.extensions import db
from smstracker.models import CallbackTally, RefusedCallback
from smstracker.models.events import News
from smstracker.models.recording import record_callback
from smstracker.models.tallies import Counts
from smstracker.webhooks.evidence import Evidence

FLUSH_AFTER = timedelta(seconds=1)
LONGEST_TURN = 0.05  # seconds
CROWDED = 0.5  # seconds
# A process looks whether the quarantine is full once it has filled this part of the room that it
# saw: nobody knows how many others fill it too.
SHARE = 8


class Callback(NamedTuple):
    """A verified callback, and the message in its path."""

    public_id: uuid.UUID | None
    news: News


Waiting = tuple[Callback | Evidence, "Future[None]"]


class CallbackWriter:
    """One for an app; threads share it."""

    def __init__(self, refused_callbacks_kept: int) -> None:
        self._waiting: list[Waiting] = []
        self._guard = Lock()
        self._writing = Lock()
        self._process = secrets.token_hex(8)
        self._kept = refused_callbacks_kept
        self._room = 0
        self._uncounted = 0
        self._crowded_at = -CROWDED
        self._written_at = utcnow()

    def store(self, public_id: uuid.UUID | None, news: News) -> None:
        """Return when the callback is durably stored; raise what kept it from being stored."""
        self._write(Callback(public_id, news))

    def keep(self, evidence: Evidence) -> None:
        """The same for a refused callback."""
        self._write(evidence)

    @property
    def is_busy(self) -> bool:
        """Whether callbacks are being stored at this moment, or came side by side just before."""
        return self._writing.locked() or monotonic() - self._crowded_at < CROWDED

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

    def _write(self, what: Callback | Evidence) -> None:
        done: Future[None] = Future()
        with self._guard:
            self._waiting.append((what, done))
        with self._writing:
            if not done.done():
                self._write_all(db.engine)
        done.result()

    def _write_all(self, engine: Engine) -> None:
        self._written_at = utcnow()
        with self._guard:
            group, self._waiting = self._waiting, []
        if sum(isinstance(what, Callback) for what, _ in group) > 1:
            self._crowded_at = monotonic()
        try:
            self._commit(engine, group)
        except UNAVAILABLE as error:
            _settle(group, error)
        except Exception as error:
            # One of them cannot be stored; that must not cost the others their place.
            for one in group if len(group) > 1 else ():
                self._commit_alone(engine, one)
            _settle(group, error)
        finally:
            # From its end, or what failed after seconds would be tried again at once.
            self._written_at = utcnow()
            _settle(group, RuntimeError("not stored"))

    def _commit(self, engine: Engine, group: list[Waiting]) -> None:
        now, uncounted = utcnow(), self._uncounted
        counts = Counts(refused=uncounted)
        with engine.begin() as connection:
            # Refused ones first, in every process, so that none ever waits in a circle.
            room = self._keep(connection, group, counts, now)
            _record(connection, group, counts)
            counts.last_accepted_at = now if counts.accepted else None
            CallbackTally.add(connection, self._process, counts, now)
        self._room = room
        with self._guard:
            self._uncounted -= uncounted
        _settle(group)

    def _keep(
        self, connection: Connection, group: list[Waiting], counts: Counts, now: datetime
    ) -> int:
        """Keep what was refused; how many more this process may keep before it has to look."""
        room = self._room
        refused = [what for what, _ in group if isinstance(what, Evidence)]
        for evidence in sorted(refused, key=lambda one: one.fingerprint):
            row = {**evidence.row(), "fingerprint": evidence.fingerprint}
            room -= RefusedCallback.keep(connection, row, now)
            counts.refused += 1
        if room < 0:
            room = max(RefusedCallback.evict(connection, self._kept), 0) // SHARE
        return room

    def _commit_alone(self, engine: Engine, one: Waiting) -> None:
        try:
            self._commit(engine, [one])
        except Exception as error:
            _settle([one], error)


def _record(connection: Connection, group: list[Waiting], counts: Counts) -> None:
    # In the order of the SIDs, so that two processes never wait for one another's rows; the sort
    # keeps what belongs to one message in the order in which it came.
    callbacks = [what for what, _ in group if isinstance(what, Callback)]
    for public_id, news in sorted(callbacks, key=lambda one: one.news.twilio_sid or ""):
        recorded = record_callback(connection, public_id, news)
        counts.repeated += recorded.is_repeated
        counts.unmatched += not recorded.is_matched
        counts.by_secondary += news.signed_with == SECONDARY
        counts.by_key += news.signed_with == SHARED_KEY
        counts.accepted += 1


def _settle(group: list[Waiting], error: BaseException | None = None) -> None:
    for _, done in group:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def init_app(app: Flask) -> None:
    app.extensions["callback_writer"] = CallbackWriter(
        app.config["SETTINGS"].refused_callbacks_kept
    )


def current_writer() -> CallbackWriter:
    writer: CallbackWriter = current_app.extensions["callback_writer"]
    return writer
