"""Windows of real browsers: of Chromium by Playwright, and of three engines by selenium.

The pages are the same on both databases, so SQLite is enough.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

from smstracker.clock import utcnow
from smstracker.models.messages import Message
from smstracker.worker.loop import Worker
from tests.browser.engines import ENGINES, Engine
from tests.browser.steps import NewPage, sign_in
from tests.browser.windows import Window
from tests.clients import Person
from tests.machine import need
from tests.served_apps import ServedApp, serve_installations

QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run"]


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    """The Chromium of the system; Playwright would look for one of its own."""
    return {"executable_path": need("chromium"), "args": QUIET}


@pytest.fixture(scope="session")
def installations(
    migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, ServedApp]]:
    """The installations of `tests.served_apps`, made once: no test changes their data for good."""
    with serve_installations(
        migrated_sqlite, tmp_path_factory.mktemp("installations"), utcnow(), divisor=400
    ) as found:
        yield found


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def new_page(browser: Browser, live: Flask) -> Iterator[NewPage]:
    """Open a browser window of the app; whatever its console complains about fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def complain(message: ConsoleMessage) -> None:
        # A page that answers 4xx says so in the console; the tests look at those pages themselves.
        if message.type in ("error", "warning") and "status of 4" not in message.text:
            complaints.append(message.text)

    def new(**options: object) -> Page:
        base_url = live.config["SETTINGS"].public_base_url
        context = browser.new_context(base_url=base_url, **options)  # type: ignore[arg-type]
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", complain)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield new
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def running_worker(live: Flask) -> Iterator[None]:
    worker = Worker()

    def run() -> None:
        with live.app_context():
            worker.run()

    thread = Thread(target=run)
    thread.start()
    yield
    worker.stop()
    thread.join()


@pytest.fixture
def alice(live: Flask) -> Person:
    return Person.signed_in(live, "alice@example.org")


@pytest.fixture
def message(alice: Person) -> Message:
    return alice.has_message()


@pytest.fixture
def page(new_page: NewPage, live: Flask, message: Message) -> Page:
    """Alice's log with one message; the document is marked, so that a test sees it go."""
    page = new_page()
    sign_in(page, live)
    page.evaluate("window.sameDocument = true")
    return page


@pytest.fixture(scope="session", params=ENGINES)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """One browser of each engine, which runs for all its tests."""
    browser = ENGINES[request.param](tmp_path_factory.mktemp(request.param))
    yield browser
    browser.stop()


@pytest.fixture
def open_window(engine: Engine, live: Flask) -> Iterator[Callable[..., Window]]:
    """Open a window of the app in each engine; a complaint of any console fails the test."""
    engine.attach(live)

    def open_window(width: int = 1280, height: int = 900) -> Window:
        return engine.open_window(live.config["SETTINGS"].public_base_url, width, height)

    yield open_window
    complaints = engine.read_console()
    engine.close_windows()
    engine.read_console()  # windows that are still open complain that nobody is signed in
    assert complaints == []
