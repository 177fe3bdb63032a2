"""Four served installations of the app, in four conditions, each with a database of its own."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from flask import Flask

from config import Config, load
from smstracker import create_app
from tests.clients import Client, Person
from tests.live_settings import settings
from tests.sample_messages import break_connection, fill_database
from tests.serving import close, free_port, served

KEY = "the pictures sign with this: 4d1b"


class ServedApp:
    """A served app and the session cookies of its users."""

    def __init__(self, app: Flask, has_database: bool) -> None:
        self.app = app
        self.url: str = app.config["SETTINGS"].public_base_url
        self.has_database = has_database
        self._cookies: dict[str, str] = {}

    def cookie(self, email: str) -> str:
        """The session cookie of a signed-in user; without a database, any will do."""
        if not self.has_database:
            person = Person(self.app, email)
            with person.client.session_transaction(base_url=self.url) as session:
                session["_user_id"] = "somebody"
            return person.session_cookie
        if email not in self._cookies:
            self._cookies[email] = Person.signed_in(self.app, email).session_cookie
        return self._cookies[email]


@contextmanager
def serve_installations(
    migrated: Path, folder: Path, now: datetime, divisor: int = 1
) -> Iterator[dict[str, ServedApp]]:
    """Serve the installations, with samples of `now`; `migrated` is an empty SQLite database."""
    with ExitStack() as stack:
        served_apps = {}
        for name in ("live", "broken", "demo", "down"):
            port = free_port()
            path = folder / f"{name}.sqlite"
            if name != "down":
                shutil.copy(migrated, path)
            app = create_app(_settings(name, port, path, folder))
            app.test_client_class = Client
            served_apps[name] = ServedApp(app, has_database=name != "down")
            stack.callback(close, app)
            stack.enter_context(served(app, port))
        for name in ("live", "broken", "demo"):
            fill_database(served_apps[name].app, now, divisor if name == "live" else 10_000)
        break_connection(served_apps["broken"].app, now)
        yield served_apps


def _settings(name: str, port: int, path: Path, folder: Path) -> Config:
    database_path = folder / "missing" / "x.sqlite" if name == "down" else path
    common = {"SECRET_KEY": KEY, "DATABASE_URL": f"sqlite:///{database_path}", "PORT": str(port)}
    if name == "demo":
        return load(common, instance=folder)
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": "9"} if name == "live" else {"MAIL_SERVER": ""}
    if name == "broken":
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        mail |= {"ALERT_WEBHOOK_URL": "https://127.0.0.1:9/", "ALERT_WEBHOOK_SECRET": secret}
    senders = "+15005550006, +442079460018, Clinic"
    twilio = {"PUBLIC_BASE_URL": f"http://127.0.0.1:{port}", "TWILIO_PHONE_NUMBER": senders}
    return settings(**common, **twilio, **mail)
