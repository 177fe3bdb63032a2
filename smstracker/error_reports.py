"""Error reports to Sentry with SENTRY_DSN: where the program failed, and nothing that it handled.

Reported is each exception that a logger of ours logs as an error, and each that ends a command or a
thread. A report is built anew from a short list of facts, whatever the library would send. Neither
requests nor the end of a process wait for Sentry.
"""

import atexit
import logging
import re
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

import click
from flask import Flask, has_request_context, request
from sentry_sdk.client import Client

from smstracker.version import version
from smstracker.web.throttle import TokenBucket

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

LOGGER = logging.getLogger("smstracker")
CLOSE_SECONDS = 1.0  # for reports under way when the process ends
LIMIT = (0.5, 30)  # reports a second, and at once, of each process
MAX_FRAMES = 50
MAX_CHAINED = 5  # exceptions that led to the reported one


class ReportHandler(logging.Handler):
    """Reports the exceptions of log records."""

    def __init__(self, dsn: str, environment: str) -> None:
        super().__init__(logging.ERROR)
        self._bucket = TokenBucket(*LIMIT)
        self.environment = environment
        self.client = Client(
            dsn=dsn,
            before_send=self._build_event,
            default_integrations=False,
            auto_enabling_integrations=False,
            auto_session_tracking=False,
            # No integration collects any of these; should one ever do so, it stays here.
            data_collection={
                "user_info": False,
                "cookies": {"mode": "off"},
                "http_headers": {"request": {"mode": "off"}},
                "http_bodies": [],
                "url_query_params": {"mode": "off"},
                "database_query_data": False,
                "queues": False,
                "stack_frame_variables": False,
                "frame_context_lines": 0,
            },
            enable_backpressure_handling=False,
            enable_metrics=False,
            max_breadcrumbs=0,
            propagate_traces=False,
            send_client_reports=False,
            server_name="",
            shutdown_timeout=CLOSE_SECONDS,
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Report the exception of a record, within LIMIT."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and self._bucket.take():
            name = record.msg if re.fullmatch("[a-z_]+", str(record.msg)) else None
            facts = {"error": error, "name": name, "place": _find_place()}
            # Sent by a thread of the library, after `_build_event`, which this thread calls.
            self.client.capture_event({"level": "error"}, hint=facts)

    def _build_event(self, event: "Event", hint: "Hint") -> "Event":
        """Return the report of `hint`; of `event`, only what the protocol needs."""
        report: Event = {
            "event_id": event["event_id"],
            "timestamp": event["timestamp"],
            "level": "error",
            "platform": "python",
            "release": version(),
            "environment": self.environment,
            "exception": {"values": [*map(_describe, _chain(hint["error"]))][::-1]},
        }
        if hint["place"]:
            report["transaction"] = hint["place"]
        if hint["name"]:
            report["tags"] = {"event": hint["name"]}
        return report


def _find_place() -> str | None:
    """The rule of the request or the name of the command; never a path or an argument."""
    if has_request_context():
        return f"{request.method} {request.url_rule.rule}" if request.url_rule else None
    context = click.get_current_context(silent=True)
    return context.command_path if context else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that led to it."""
    current: BaseException | None = error
    for _ in range(MAX_CHAINED):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__


def _describe(error: BaseException) -> dict[str, object]:
    """The type and the lines of an exception; not its message, which may hold anything."""
    kind, frames = type(error), []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(_describe_frame(traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return {
        "type": kind.__name__,
        "module": kind.__module__,
        "stacktrace": {"frames": frames[-MAX_FRAMES:] or [{"function": "unknown"}]},
    }


def _describe_frame(frame: FrameType, line: int) -> dict[str, object]:
    module = str(frame.f_globals.get("__name__", "unknown"))
    function = frame.f_code.co_name
    return {
        "module": module,
        "function": function,
        "lineno": line,
        "in_app": module.partition(".")[0] == "smstracker",
    }


def init_app(app: Flask) -> None:
    """Report from now on, in place of an earlier app of this process."""
    settings = app.config["SETTINGS"]
    handler = ReportHandler(settings.sentry_dsn, "demo" if settings.demo else "live")
    LOGGER.handlers = [
        former for former in LOGGER.handlers if not isinstance(former, ReportHandler)
    ]
    LOGGER.addHandler(handler)
    app.extensions["error_reports"] = handler
    default_hook, default_thread_hook = sys.__excepthook__, threading.__excepthook__

    def report_uncaught(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            handler.handle(_uncaught(error))
        default_hook(kind, error, traceback)

    def report_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
        if isinstance(arguments.exc_value, Exception):
            handler.handle(_uncaught(arguments.exc_value))
        default_thread_hook(arguments)

    sys.excepthook, threading.excepthook = report_uncaught, report_uncaught_in_thread
    atexit.register(handler.client.close, timeout=CLOSE_SECONDS)


def _uncaught(error: Exception) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__)
    return LOGGER.makeRecord(
        LOGGER.name, logging.ERROR, __file__, 0, "uncaught_exception", (), exc_info
    )
