"""gunicorn's settings: `gunicorn -c python:smstracker.server wsgi:app`."""

import sys

from config import ConfigError, load

try:
    _settings = load()
except ConfigError as error:
    sys.exit(str(error))

bind = _settings.listen
worker_class = "gthread"
# Several processes contend for one SQLite file: there, one process with threads is faster.
workers = _settings.web_concurrency
threads = _settings.web_threads
timeout = 60
graceful_timeout = 10
keepalive = 5
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
