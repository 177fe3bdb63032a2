"""Settings of retention that have been on for long."""

from flask import Flask
from sqlalchemy import update

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import ScheduledJob
from smstracker.models.keep_settings import is_keep_setting, note_settings


def let_settings_begin(app: Flask) -> None:
    """Let what is set be in force, as if it had been seen a day ago."""
    now = utcnow()
    with app.app_context(), db.engine.begin() as connection:
        note_settings(connection, now)
        connection.execute(
            update(ScheduledJob).where(is_keep_setting()).values(due_at=now, done_at=now)
        )
