"""Cache the health summary that stands on every message log."""

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

CACHE_LIFETIME = timedelta(seconds=30)


class CachedSummary(NamedTuple):
    """A summary, when it was computed, and the cache generation that it belongs to."""

    summary: HealthSummary | None
    computed_at: datetime
    generation: object


class Banner:
    """Cache of one app, shared by its threads; at most one of them computes at a time."""

    def __init__(self) -> None:
        self._cached: CachedSummary | None = None  # replaced as a whole: other threads read it
        self._generation = object()
        self._computing = Lock()

    def summary(self) -> HealthSummary | None:
        """The summary, at most 30 seconds old; None if the report cannot be built.

        While nothing can be stored it is computed each time, so that recovery shows at once.
        """
        now, generation, cached = utcnow(), self._generation, self._cached
        if _is_stale(cached, now, generation) and self._computing.acquire(blocking=False):
            try:
                cached = self._cached = CachedSummary(_compute(now), now, generation)
            finally:
                self._computing.release()
        return cached.summary if cached else None

    def invalidate(self) -> None:
        """Compute anew at the next call, and discard what is being computed at this moment."""
        self._generation = object()


def _is_stale(cached: CachedSummary | None, now: datetime, generation: object) -> bool:
    if cached is None or cached.generation is not generation:
        return True
    if cached.summary is not None and cached.summary.kind is SummaryKind.NOT_STORING:
        return True
    # abs(): a clock that was set back must not keep a summary for ever.
    return abs(now - cached.computed_at) >= CACHE_LIFETIME


def _compute(now: datetime) -> HealthSummary | None:
    try:
        return summarize(build_report(now))
    except SQLAlchemyError as error:
        log.warning("connection_not_judged", extra={"reason": log_reason(error)})
        return None


def init_app(app: Flask) -> None:
    app.extensions["banner"] = Banner()
    app.jinja_env.globals["connection_banner"] = lambda: current_banner().summary()


def current_banner() -> Banner:
    banner: Banner = current_app.extensions["banner"]
    return banner
