"""The sentence on the log, for everybody: remembered, so that the log does not pay for it."""

import logging
from datetime import datetime, timedelta
from threading import Lock
from typing import NamedTuple

from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from smstracker.clock import utcnow
from smstracker.connection.report import build_report
from smstracker.connection.summary import HealthSummary, SummaryKind, summarize
from smstracker.database.problems import log_reason

log = logging.getLogger(__name__)

REMEMBERED = timedelta(seconds=30)


class CachedSummary(NamedTuple):
    """A sentence, when it was computed, and since which `forget` it counts."""

    sentence: HealthSummary | None
    at: datetime
    since: object


class Banner:
    """One for an app; threads share it, and at most one of them computes while others go on."""

    def __init__(self) -> None:
        self._remembered: CachedSummary | None = None  # replaced as a whole: other threads read it
        self._forgotten = object()
        self._computing = Lock()

    def sentence(self) -> HealthSummary | None:
        """The sentence of the last half minute, or of now while nothing can be stored.

        None if it cannot be had.
        """
        now, since, remembered = utcnow(), self._forgotten, self._remembered
        if _is_stale(remembered, now, since) and self._computing.acquire(blocking=False):
            try:
                remembered = self._remembered = CachedSummary(_compute(now), now, since)
            finally:
                self._computing.release()
        return remembered.sentence if remembered else None

    def forget(self) -> None:
        """Compute anew when next asked; what is being computed at this moment is too old."""
        self._forgotten = object()


def _is_stale(remembered: CachedSummary | None, now: datetime, since: object) -> bool:
    if remembered is None or remembered.since is not since:
        return True
    if remembered.sentence is not None and remembered.sentence.kind is SummaryKind.NOT_STORING:
        return True
    # A clock that was set back must not make it last for ever.
    return abs(now - remembered.at) >= REMEMBERED


def _compute(now: datetime) -> HealthSummary | None:
    try:
        return summarize(build_report(now))
    except SQLAlchemyError as error:
        log.warning("connection_not_judged", extra={"reason": log_reason(error)})
        return None


def init_app(app: Flask) -> None:
    app.extensions["banner"] = Banner()
    app.jinja_env.globals["connection_banner"] = lambda: current_banner().sentence()


def current_banner() -> Banner:
    banner: Banner = current_app.extensions["banner"]
    return banner
