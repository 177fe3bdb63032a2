"""`GET /metrics`, for Prometheus: guarded by METRICS_TOKEN alone, without a session."""

import hmac
import logging
import time
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, cast

from flask import Blueprint, abort, current_app, request
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue

from smstracker.database.engine import UNAVAILABLE
from smstracker.database.problems import log_reason
from smstracker.extensions import db, settings

if TYPE_CHECKING:
    from smstracker.metrics.collector import DatabaseCollector

log = logging.getLogger(__name__)
bp = Blueprint("metrics", __name__)
EXTENSION = "smstracker_metrics"
MAX_AGE_SECONDS = 5.0
_HOW_TO_SEND = "Send the token of METRICS_TOKEN: Authorization: Bearer ..."
TEXT = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}


class Scrapes:
    """The newest metrics of an app, read at most every MAX_AGE_SECONDS and by one thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._text = b""
        self._collector: DatabaseCollector | None = None
        self._read_at = -MAX_AGE_SECONDS

    def read(self) -> bytes:
        """Return the metrics as text."""
        with self._lock:
            if self._collector is None:  # memory that a process without scrapes does not need
                module = import_module("smstracker.metrics.collector")
                self._collector = cast("DatabaseCollector", module.DatabaseCollector(db.engine))
            if time.monotonic() - self._read_at >= MAX_AGE_SECONDS:
                self._text = self._collector.render()
                self._read_at = time.monotonic()
            return self._text


@bp.record
def add_scrapes(state: BlueprintSetupState) -> None:
    state.app.extensions[EXTENSION] = Scrapes()


@bp.get("/metrics")
def metrics() -> ResponseReturnValue:
    """The metrics of all processes; 404 without METRICS_TOKEN, 401 without it in the request."""
    token = settings().metrics_token
    if token is None:
        abort(404)
    scheme, _, sent_token = request.headers.get("Authorization", "").partition(" ")
    is_token = hmac.compare_digest(sent_token.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not is_token:
        is_sent = scheme.lower() == "bearer" and sent_token
        problem = "The token is not METRICS_TOKEN" if is_sent else _HOW_TO_SEND
        return f"{problem}\n", 401, {**TEXT, "WWW-Authenticate": "Bearer"}
    scrapes: Scrapes = current_app.extensions[EXTENSION]
    try:
        return scrapes.read(), 200, TEXT
    except UNAVAILABLE as error:
        log.error("database_error", exc_info=error, extra={"reason": log_reason(error)})
        return "The database does not answer\n", 503, {**TEXT, "Retry-After": "5"}
