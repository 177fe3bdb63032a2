"""The WSGI entry point: `wsgi:app`."""

import sys

from config import ConfigError, load
from smstracker import create_app, logs

try:
    settings = load()
except ConfigError as error:
    sys.exit(str(error))

logs.configure()
app = create_app(settings)
