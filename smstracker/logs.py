"""JSON logs with a request id, without phone numbers, texts, tokens or signatures."""

import json
import logging
import os
import secrets
import sys
import time
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import count

from flask import Flask, Response, g, request

from smstracker.web.server_warnings import explain_warning

log = logging.getLogger(__name__)

# An id of a request is random for each start of the app, then counted: chance costs a system call.
_start_id = secrets.token_hex(5)
_numbers = count(1)
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

# The fields of a record that are written beside its event name; all others are dropped.
FIELDS = (
    *("method", "route", "http_status", "ms", "message_sid", "message_id", "code", "reason"),
    *("count", "messages", "texts"),
)
FOREIGN_WARNING = "foreign_warning"


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON line; of an exception only type and frames, never its text."""

    def format(self, record: logging.LogRecord) -> str:
        event = self._event(record)
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
            "request_id": request_id.get(),
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if event == FOREIGN_WARNING and (reason := explain_warning(record)):
            # The id would be that of the last request of this thread.
            line |= {"event": "server_warning", "reason": reason, "request_id": None}
        if record.exc_info and record.exc_info[0]:
            frames = traceback.extract_tb(record.exc_info[2])[-12:]
            line["error"] = record.exc_info[0].__name__
            line["trace"] = [
                f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}"
                for frame in frames
            ]
        return json.dumps({name: value for name, value in line.items() if value is not None})

    @staticmethod
    def _event(record: logging.LogRecord) -> str:
        """Return the event name. Warnings of other libraries quote paths, which may hold tokens."""
        if record.name.startswith("smstracker."):
            return str(record.msg)
        return record.getMessage() if record.levelno < logging.WARNING else FOREIGN_WARNING


def configure(level: int = logging.INFO) -> None:
    """Send every log record of this process to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("werkzeug").addFilter(_is_not_request_line)
    # Both log phone numbers: in the query of a look-up, in the path of a request.
    for logger_name in ("twilio", "urllib3"):
        logging.getLogger(logger_name).setLevel(logging.ERROR)
    # It logs the kind of database at each check of the migrations.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _is_not_request_line(record: logging.LogRecord) -> bool:
    """Drop the development server's request lines: a path may hold a sign-in token.

    `_end` logs each request by its rule instead.
    """
    return " - - [" not in record.getMessage()


def set_log_event(event: str, **fields: str | None) -> None:
    """Give the log line of this request its event name and fields of `FIELDS`."""
    g.log_event, g.log_fields = event, fields


def suppress_log_line() -> None:
    """Write no line for this request: one line reports the whole flood it belongs to."""
    g.is_log_suppressed = True


def init_app(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.started_at = time.perf_counter()
    g.request_id = f"{_start_id}-{os.getpid():x}-{next(_numbers):x}"
    request_id.set(g.request_id)


def _end(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    if g.get("is_log_suppressed"):
        return response
    log.info(
        g.get("log_event", "request"),
        extra={
            **g.get("log_fields", {}),
            "method": request.method,
            # The rule, not the path: a path may hold a sign-in token.
            "route": request.url_rule.rule if request.url_rule else None,
            "http_status": response.status_code,
            "ms": round((time.perf_counter() - g.started_at) * 1000, 1),
        },
    )
    return response
