"""Tell people whose command acts on a demo that it does, where they may take it for the service."""

import os
from pathlib import Path

from sqlalchemy import make_url

from config import Config
from smstracker.command_name import IS_SERVICE, SERVICE_COMMAND
from smstracker.settings.database_url import sqlite_path

# As in deploy/systemd.
SERVICE_SETTINGS = Path(os.environ.get("SMSTRACKER_SETTINGS", "/etc/smstracker"))


def describe_unexpected_demo(settings: Config) -> str | None:
    """A sentence if a demo stands beside an installed service, or has no database; else None."""
    if not settings.demo:
        return None
    database = sqlite_path(make_url(settings.database_url))
    is_beside_service = SERVICE_SETTINGS.is_dir() and not IS_SERVICE
    if not is_beside_service and (database is None or database.exists()):
        return None
    sentence = (
        "Demo mode: TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN are set neither in the environment "
        "nor in .env."
    )
    if is_beside_service:
        sentence += f" For the service of {SERVICE_SETTINGS}, run the command {SERVICE_COMMAND}."
    return sentence
