"""The houses in which the pages stand: the app served in four conditions, each with a database."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from flask import Flask

from config import Config, load
from smstracker import create_app
from smstracker.extensions import db
from tests.clients import Client, Person
from tests.conftest import free_port, served, settings
from tests.sample_messages import make_sick, stage

KEY = "the pictures sign with this: 4d1b"


class ServedApp:
    """A served app and who is signed in to it."""

    def __init__(self, app: Flask, database_is_there: bool) -> None:
        self.app = app
        self.url: str = app.config["SETTINGS"].public_base_url
        self.has_database = database_is_there
        self._cookies: dict[str, str] = {}

    def cookie(self, email: str) -> str:
        """The session cookie of somebody who is signed in; any will do where nobody can tell."""
        if not self.has_database:
            client = self.app.test_client()
            with client.session_transaction(base_url=self.url) as session:
                session["_user_id"] = "somebody"
            return _cookie_of(client)
        if email not in self._cookies:
            self._cookies[email] = _cookie_of(Person.signed_in(self.app, email).client)
        return self._cookies[email]


def _cookie_of(client: Client) -> str:  # type: ignore[type-arg]
    cookie = client.get_cookie("smstracker_session", domain="127.0.0.1")
    assert cookie
    return cookie.value


@contextmanager
def houses(
    migrated: Path, folder: Path, now: datetime, many: int = 1
) -> Iterator[dict[str, ServedApp]]:
    """The four houses, staged at `now`; `migrated` is an empty SQLite database."""
    with ExitStack() as stack:
        found = {}
        for name in ("live", "sick", "demo", "down"):
            port = free_port()
            path = folder / f"{name}.sqlite"
            if name != "down":
                shutil.copy(migrated, path)
            app = create_app(_settings(name, port, path, folder))
            app.test_client_class = Client
            found[name] = ServedApp(app, database_is_there=name != "down")
            stack.callback(_close, app)
            stack.enter_context(served(app, port))
        for name in ("live", "sick", "demo"):
            stage(found[name].app, now, many if name == "live" else 10_000)
        make_sick(found["sick"].app, now)
        yield found


def _settings(name: str, port: int, path: Path, folder: Path) -> Config:
    where = folder / "missing" / "x.sqlite" if name == "down" else path
    both = {"SECRET_KEY": KEY, "DATABASE_URL": f"sqlite:///{where}", "PORT": str(port)}
    if name == "demo":
        return load(both, instance=folder)
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": "9"} if name == "live" else {"MAIL_SERVER": ""}
    senders = "+15005550006, +442079460018, Clinic"
    more = {"PUBLIC_BASE_URL": f"http://127.0.0.1:{port}", "TWILIO_PHONE_NUMBER": senders}
    return settings(**both, **more, **mail)


def _close(app: Flask) -> None:
    app.extensions["mailer"].drain()
    app.extensions["mailer"].close()
    with app.app_context():
        db.engine.dispose()
