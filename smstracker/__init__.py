"""smstracker: send SMS and MMS through Twilio and track the status of each message."""

import sys
from importlib import import_module

from flask import Flask

import config
from smstracker import carrier, logs, mailer, web_templates
from smstracker.alerts import alert_page
from smstracker.alerts.views import bp as alerts
from smstracker.auth import demo_mailbox
from smstracker.auth.views import bp as auth
from smstracker.commands import AppCommands, bind_migrations
from smstracker.connection import banner
from smstracker.connection.views import bp as connection
from smstracker.dashboard.error_codes import bp as error_guide
from smstracker.dashboard.form_check import bp as form_check
from smstracker.dashboard.resend import bp as resend
from smstracker.dashboard.views import bp as dashboard
from smstracker.database.demo_guard import refuse_live_database
from smstracker.database.engine import engine_options, prepare_engine
from smstracker.extensions import csrf, db, login_manager
from smstracker.insights.views import bp as insights
from smstracker.live import broadcaster
from smstracker.live.views import bp as live_pages
from smstracker.metrics.views import bp as metrics
from smstracker.models.tombstones import use_secret_key
from smstracker.models.users import signed_in_user
from smstracker.people.audit_views import bp as audit
from smstracker.people.settings_views import bp as own_settings
from smstracker.people.user_views import bp as users
from smstracker.privacy.views import bp as privacy
from smstracker.web import error_pages, security, waiting_threads
from smstracker.web.health import bp as health
from smstracker.webhooks import quarantine, writer
from smstracker.webhooks.views import bp as webhooks

__all__ = ["create_app"]


# Quoted, because config imports this package and may not be complete yet.
def create_app(settings: "config.Config | None" = None) -> Flask:
    """Compose the app; `settings` default to the environment's. Raises config.ConfigError."""
    settings = settings or config.load()
    app = Flask(__name__, instance_path=str(settings.instance))
    app.cli = AppCommands(app.name)
    app.config["SETTINGS"] = settings
    app.config |= security.flask_settings(settings)
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(
        settings.database_url, settings.web_threads
    )

    modules = (
        logs,
        security,
        error_pages,
        waiting_threads,
        carrier,
        mailer,
        writer,
        quarantine,
        web_templates,
    )
    for module in (*modules, banner, broadcaster, alert_page):
        module.init_app(app)
    if settings.sentry_dsn:  # it brings a large library
        import_module(f"{__name__}.error_reports").init_app(app)
    _bind_extensions(app)
    pages = (auth, dashboard, resend, form_check, insights, error_guide, own_settings)
    administration = (connection, alerts, users, audit, privacy)
    for blueprint in (*pages, *administration, live_pages, webhooks, health, metrics):
        app.register_blueprint(blueprint)
    csrf.exempt(webhooks)
    if settings.demo:
        app.register_blueprint(demo_mailbox.bp)
    return app


def _bind_extensions(app: Flask) -> None:
    db.init_app(app)
    if "flask_migrate" in sys.modules:  # who migrates in Python, without `flask db`
        bind_migrations(app)
    csrf.init_app(app)
    # Its context processor would query the database for every page, even the page of its failure.
    login_manager.init_app(app, add_context_processor=False)
    login_manager.login_view = "auth.sign_in"
    login_manager.login_message = None
    # It would hash the client's X-Forwarded-For header; our sessions end on the server.
    login_manager.session_protection = None
    login_manager.user_loader(signed_in_user)
    with app.app_context():
        prepare_engine(db.engine)
        use_secret_key(db.engine, app.config["SETTINGS"].secret_key)
        if app.config["SETTINGS"].demo:
            refuse_live_database(db.engine)
