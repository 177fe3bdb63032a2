"""Group commit: callbacks that wait at the same time are stored in one durable transaction.

A commit costs far more than the two statements of a callback, and on SQLite threads that fight for
the write lock wait in ever longer naps. Here the first to come writes for all who wait, and each
request is answered after the commit that holds its callback. (This is why the commit is not in the
view: see bench/callbacks for what it gains.)
"""

import secrets
import uuid
from concurrent.futures import Future
from threading import Lock

from flask import Flask, current_app
from sqlalchemy import Connection, Engine

from smstracker.carrier.signatures import SECONDARY
from smstracker.clock import utcnow
from smstracker.database import UNAVAILABLE
from smstracker.extensions import db
from smstracker.models import CallbackTally
from smstracker.models.events import News, record_callback
from smstracker.models.tallies import Counts

Waiting = tuple[uuid.UUID | None, News, "Future[None]"]


class CallbackWriter:
    """One for an app; threads share it."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._guard = Lock()
        self._writing = Lock()
        self._process = secrets.token_hex(8)

    def store(self, public_id: uuid.UUID | None, news: News) -> None:
        """Return when the callback is durably stored; raise what kept it from being stored."""
        done: Future[None] = Future()
        with self._guard:
            self._waiting.append((public_id, news, done))
        with self._writing:
            if not done.done():
                self._write_all(db.engine)
        done.result()

    def _write_all(self, engine: Engine) -> None:
        with self._guard:
            group, self._waiting = self._waiting, []
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
            _settle(group, RuntimeError("not stored"))

    def _commit(self, engine: Engine, group: list[Waiting]) -> None:
        now, counts = utcnow(), Counts()
        with engine.begin() as connection:
            _record(connection, group, counts)
            counts.last_accepted_at = now if counts.accepted else None
            CallbackTally.add(connection, self._process, counts, now)
        _settle(group)

    def _commit_alone(self, engine: Engine, one: Waiting) -> None:
        try:
            self._commit(engine, [one])
        except Exception as error:
            _settle([one], error)


def _record(connection: Connection, group: list[Waiting], counts: Counts) -> None:
    # In the order of the SIDs, so that two processes never wait for one another's rows; the sort
    # keeps what belongs to one message in the order in which it came.
    for public_id, news, _ in sorted(group, key=lambda one: one[1].twilio_sid or ""):
        counts.repeated += bool(record_callback(connection, public_id, news))
        counts.by_secondary += news.signed_with == SECONDARY
        counts.accepted += 1


def _settle(group: list[Waiting], error: BaseException | None = None) -> None:
    for _, _, done in group:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def init_app(app: Flask) -> None:
    app.extensions["callback_writer"] = CallbackWriter()


def current_writer() -> CallbackWriter:
    writer: CallbackWriter = current_app.extensions["callback_writer"]
    return writer
