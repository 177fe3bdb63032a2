"""The unbound Flask extensions, and the settings of the current app."""

from datetime import timedelta
from typing import TYPE_CHECKING, cast

from flask import current_app
from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect

from smstracker.database.engine import Base

if TYPE_CHECKING:
    from config import Config

db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})
login_manager = LoginManager()
csrf = CSRFProtect()

# Flask-SQLAlchemy creates its Model at run time, which mypy cannot follow.
if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model


def settings() -> "Config":
    """The settings of the current app."""
    return cast("Config", current_app.config["SETTINGS"])


def receipt_window() -> timedelta:
    """How long a delivery receipt may take before a sent message counts as "no receipt"."""
    return timedelta(hours=settings().receipt_window_hours)
