"""smstracker: send SMS and MMS through Twilio and track the status of each message."""

import sys
from importlib import import_module

from flask import Flask

import config
from smstracker import carrier, mailer
from smstracker.commands import AppCommands, add_pages, bind_migrations
from smstracker.database.demo_guard import refuse_live_database
from smstracker.database.engine import engine_options, prepare_engine
from smstracker.extensions import db
from smstracker.models.tombstones import use_secret_key
from smstracker.web import waiting_threads, zone_data

__all__ = ["create_app"]


# Quoted, because config imports this package and may not be complete yet.
def create_app(settings: "config.Config | None" = None, *, with_pages: bool = True) -> Flask:
    """Compose the app; `settings` default to the environment's. Raises config.ConfigError.

    Commands and the worker need no pages.
    """
    settings = settings or config.load()
    zone_data.use_newest()
    app = Flask(__name__, instance_path=str(settings.instance))
    app.cli = AppCommands(app.name)
    app.config["SETTINGS"] = settings
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(
        settings.database_url, settings.web_threads
    )
    for module in (waiting_threads, carrier, mailer):
        module.init_app(app)
    if settings.sentry_dsn:  # it brings a large library
        import_module(f"{__name__}.error_reports").init_app(app)
    _bind_database(app)
    if with_pages:
        add_pages(app)
    return app


def _bind_database(app: Flask) -> None:
    db.init_app(app)
    if "flask_migrate" in sys.modules:  # who migrates in Python, without `flask db`
        bind_migrations(app)
    with app.app_context():
        prepare_engine(db.engine)
        use_secret_key(db.engine, app.config["SETTINGS"].secret_key)
        if app.config["SETTINGS"].demo:
            refuse_live_database(db.engine)
