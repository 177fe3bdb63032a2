"""Every page and webhook of the app, and what each request to them needs."""

from flask import Flask

from smstracker import logs, web_templates
from smstracker.alerts import alert_page
from smstracker.alerts.views import bp as alerts
from smstracker.api import guard as api_guard
from smstracker.api import send_groups as api_send_groups
from smstracker.api import waiting as api_waiting
from smstracker.api.batch_views import bp as api
from smstracker.auth import demo_mailbox
from smstracker.auth.views import bp as auth
from smstracker.batches.views import bp as batches
from smstracker.connection import banner
from smstracker.connection.views import bp as connection
from smstracker.dashboard.error_codes import bp as error_guide
from smstracker.dashboard.form_check import bp as form_check
from smstracker.dashboard.resend import bp as resend
from smstracker.dashboard.views import bp as dashboard
from smstracker.dashboard.waiting_message import bp as waiting
from smstracker.insights.views import bp as insights
from smstracker.live import broadcaster
from smstracker.live.views import bp as live_pages
from smstracker.metrics.views import bp as metrics
from smstracker.models.users import signed_in_user
from smstracker.people.audit_views import bp as audit
from smstracker.people.settings_views import bp as own_settings
from smstracker.people.token_views import bp as tokens
from smstracker.people.user_views import bp as users
from smstracker.privacy.views import bp as privacy
from smstracker.web import error_pages, large_bodies, security
from smstracker.web.health import bp as health
from smstracker.web.request_extensions import csrf, login_manager
from smstracker.webhooks import quarantine, writer
from smstracker.webhooks.views import bp as webhooks

PAGES = (
    *(auth, dashboard, resend, waiting, form_check, batches, insights, error_guide),
    *(own_settings, tokens),
)
ADMINISTRATION = (connection, alerts, users, audit, privacy)


def init_app(app: Flask) -> None:
    for module in (logs, security, error_pages, large_bodies, writer, quarantine, web_templates):
        module.init_app(app)
    for module in (banner, broadcaster, alert_page):
        module.init_app(app)
    for module in (api_guard, api_waiting, api_send_groups):
        module.init_app(app)
    _bind_extensions(app)
    for blueprint in (*PAGES, *ADMINISTRATION, live_pages, webhooks, api, health, metrics):
        app.register_blueprint(blueprint)
    csrf.exempt(webhooks)
    csrf.exempt(api)
    if app.config["SETTINGS"].demo:
        app.register_blueprint(demo_mailbox.bp)


def _bind_extensions(app: Flask) -> None:
    csrf.init_app(app)
    # Its context processor would query the database for every page, even the page of its failure.
    login_manager.init_app(app, add_context_processor=False)
    login_manager.login_view = "auth.sign_in"
    login_manager.login_message = None
    # It would hash the client's X-Forwarded-For header; our sessions end on the server.
    login_manager.session_protection = None
    login_manager.user_loader(signed_in_user)
