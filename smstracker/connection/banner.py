"""The sentence on the log, for everybody: remembered, so that the log does not pay for it."""

import logging
from datetime import datetime, timedelta
from threading import Lock

from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from smstracker.clock import utcnow
from smstracker.connection.report import report
from smstracker.connection.sentence import Kind, Sentence, sentence
from smstracker.database_problems import cause

log = logging.getLogger(__name__)

REMEMBERED = timedelta(seconds=30)


class Banner:
    """One for an app; threads share it, and at most one of them computes while others go on."""

    def __init__(self) -> None:
        self._said: Sentence | None = None
        self._at: datetime | None = None
        self._computing = Lock()

    def sentence(self) -> Sentence | None:
        """The sentence of the last half minute, or of now while nothing can be stored.

        None if it cannot be had.
        """
        now = utcnow()
        if self._is_stale(now) and self._computing.acquire(blocking=False):
            try:
                self._said, self._at = _compute(now), now
            finally:
                self._computing.release()
        return self._said

    def forget(self) -> None:
        """Compute anew when next asked."""
        self._at = None

    def _is_stale(self, now: datetime) -> bool:
        if self._said is not None and self._said.kind is Kind.NOT_STORING:
            return True
        # A clock that was set back must not make it last for ever.
        return self._at is None or abs(now - self._at) >= REMEMBERED


def _compute(now: datetime) -> Sentence | None:
    try:
        return sentence(report(now))
    except SQLAlchemyError as error:
        log.warning("connection_not_judged", extra={"reason": cause(error)})
        return None


def init_app(app: Flask) -> None:
    app.extensions["banner"] = Banner()
    app.jinja_env.globals["connection_banner"] = lambda: current_banner().sentence()


def current_banner() -> Banner:
    banner: Banner = current_app.extensions["banner"]
    return banner
