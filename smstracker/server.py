"""gunicorn's settings: `gunicorn -c python:smstracker.server wsgi:app`."""

import signal
import sys
from threading import Thread
from types import FrameType
from typing import Any

from config import ConfigError, load
from smstracker import create_app, open_files

try:
    _settings = load()
    if _settings.demo:
        # Here, where it ends the server: a worker that does not start is started again.
        create_app(_settings)
except ConfigError as error:
    sys.exit(str(error))

bind = _settings.listen
worker_class = "smstracker.web_worker.Worker"
# Several processes contend for one SQLite file: there, one process with threads is faster.
workers = _settings.web_concurrency
threads = _settings.web_threads
# The usual limit of open files would be reached by connections that do nothing.
worker_connections = open_files.most_connections(open_files.raise_limit(), threads)
timeout = 60
graceful_timeout = 10
# Its own time limits for peers are in the module of the worker class.
keepalive = 5
# A file would go past the worker's hold on responses that nobody takes.
sendfile = False
# Fifty ids and a long text to search for stand in one address.
limit_request_line = 8190
# It would be one socket in the home folder, shared by whatever runs there.
control_socket_disable = True
# Requests are logged by the app, with their id.
accesslog = None
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


def post_worker_init(worker: Any) -> None:
    """Let SIGTERM end the open streams at once: a stop would wait for them until its time is up."""
    broadcaster = getattr(worker.wsgi, "extensions", {}).get("broadcaster")
    if broadcaster is None:
        return
    begin_to_stop = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        # Not here: a handler interrupts its thread anywhere, and must not wait for a lock.
        Thread(target=broadcaster.stop, daemon=True).start()
        if callable(begin_to_stop):
            begin_to_stop(number, frame)

    signal.signal(signal.SIGTERM, stop)
    signal.siginterrupt(signal.SIGTERM, False)
