"""gunicorn settings: `gunicorn -c python:smstracker.server wsgi:app`."""

import signal
import sys
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING

from gunicorn.glogging import Logger

from config import ConfigError, load
from smstracker import blueprints as blueprints  # before the fork: web processes share the code
from smstracker import create_app
from smstracker.web import open_files

if TYPE_CHECKING:
    from smstracker.web.gunicorn_worker import DeadlineWorker


class ServerLogger(Logger):
    """Skips the access log, which gunicorn would gather for nobody: the app logs requests."""

    def access(self, *_details: object) -> None:
        """Do nothing: the line is a twentieth of a callback's cost."""


try:
    _settings = load()
    if _settings.demo:
        # Create the app here, where a refusal ends the server; gunicorn restarts failed workers.
        create_app(_settings)
except ConfigError as error:
    sys.exit(str(error))

bind = _settings.listen
worker_class = "smstracker.web.gunicorn_worker.DeadlineWorker"
workers = _settings.web_concurrency
threads = _settings.web_threads
# Idle connections would reach the usual limit of open files.
worker_connections = open_files.limit_connections(open_files.raise_limit(), threads)
timeout = 60
graceful_timeout = 10
# The worker class has further time limits for clients.
keepalive = 5
# sendfile would bypass the worker's time limit on responses that a client does not read.
sendfile = False
# A URL may hold fifty ids and a long search text.
limit_request_line = 8190
# Else a client beside a proxy on this machine could name the path that the app sees.
forwarder_headers = ""
# The control socket would be in the home folder, shared by everything that runs there.
control_socket_disable = True
logger_class = ServerLogger
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "smstracker.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["stderr"], "propagate": False},
    },
}


def post_worker_init(worker: "DeadlineWorker") -> None:
    """End open streams and waiting requests at SIGTERM: a stop would wait graceful_timeout."""
    extensions = getattr(worker.wsgi, "extensions", {})
    waiting = [extensions[name] for name in ("broadcaster", "api_waiters") if name in extensions]
    default_handler = signal.getsignal(signal.SIGTERM)

    def stop_streams(number: int, frame: FrameType | None) -> None:
        # In a thread, because a signal handler must not wait for a lock.
        for party in waiting:
            Thread(target=party.stop, daemon=True).start()
        if callable(default_handler):
            default_handler(number, frame)

    signal.signal(signal.SIGTERM, stop_streams)
    signal.siginterrupt(signal.SIGTERM, False)
