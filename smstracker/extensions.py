"""The unbound database extension, and the settings of the current app."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from flask import current_app
from flask_sqlalchemy import SQLAlchemy

from smstracker.database.engine import Base
from smstracker.database.request_session import WRITES, RequestSession

if TYPE_CHECKING:
    from config import Config

_session_options = {"expire_on_commit": False, "class_": RequestSession}
db = SQLAlchemy(model_class=Base, session_options=_session_options)

# Flask-SQLAlchemy creates its Model at run time, which mypy cannot follow.
if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model


def settings() -> "Config":
    """The settings of the current app."""
    return cast("Config", current_app.config["SETTINGS"])


@contextmanager
def writing() -> Iterator[None]:
    """A transaction of `db.session` that may write: begun anew, committed at the end.

    Rolled back if an exception leaves it. Keep it short: on SQLite all callbacks wait for it.
    """
    db.session.rollback()
    db.session.info[WRITES] = True
    try:
        yield
        db.session.commit()
    finally:
        db.session.info[WRITES] = False
        db.session.rollback()


def receipt_window() -> timedelta:
    """How long a delivery receipt may take before a sent message counts as "no receipt"."""
    return timedelta(hours=settings().receipt_window_hours)


def is_sqlite() -> bool:
    """Whether the database of the current app is SQLite."""
    return db.engine.dialect.name == "sqlite"
