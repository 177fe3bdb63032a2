"""Every page that there is to see, one line each: for `make screenshots` and for axe.

To add a page, add a line to SCENES. A path may name staged messages of Alice's: `{failed}` is the
public id of the one that `tests.stories` calls "failed". Where a path is not enough, a function
brings the page about.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flask import Flask
from playwright.sync_api import Browser, Page, expect

from config import Config, load
from smstracker import create_app
from smstracker.extensions import db
from tests.conftest import free_port, served, settings
from tests.people import Client, Person
from tests.stage import ADMIN, ALICE, EMPTY, LONG_NAME, MANY, ONE, make_sick, public_id, stage

KEY = "a secret for pictures only"


class House:
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


@dataclass(frozen=True, slots=True)
class Scene:
    """A page: where it is, who looks at it, and in which house it stands.

    Houses: "live", "demo", "sick" (everything is wrong with the connection), "down" (no database).
    A variant has the markup of another scene, so the test looks only at its colours and measures.
    """

    name: str
    where: str | Callable[[Page, House], None]
    who: str | None = None
    house: str = "live"
    is_variant: bool = False

    def open(self, page: Page, house: House) -> None:
        """Go there, and wait until everything has been drawn."""
        if callable(self.where):
            self.where(page, house)
        else:
            page.goto(self.where.format_map(_Ids()))
        page.wait_for_load_state("load")
        page.evaluate("document.fonts.ready")


class _Ids(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return str(public_id(key))


def _code(page: Page, house: House) -> None:
    page.goto("/auth/sign-in")
    page.get_by_label("E-mail address").fill("me@home.example")
    page.get_by_role("button", name="Send the mail").click()
    expect(page.get_by_label("Six-digit code")).to_be_visible()
    house.app.extensions["mailer"].drain()


def _wrong_code(page: Page, house: House) -> None:
    _code(page, house)
    page.get_by_label("Six-digit code").fill("12 34")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("The code has six digits")).to_be_visible()


def _mailbox(page: Page, house: House) -> None:
    _code(page, house)
    page.get_by_role("link", name="mailbox").click()
    expect(page.get_by_role("heading", level=2).first).to_be_visible()


def _dead_link(page: Page, house: House) -> None:
    page.goto("/auth/link/used")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="no longer works")).to_be_visible()


def _wrong_address(page: Page, house: House) -> None:
    page.goto("/auth/sign-in")
    page.get_by_label("E-mail address").fill("nonsense")
    page.keyboard.press("Enter")
    expect(page.get_by_text("does not look like")).to_be_visible()


def _type(page: Page, to: str, text: str) -> None:
    page.goto("/messages/new")
    page.get_by_label("To", exact=True).fill(to)
    page.get_by_label("Text").fill(text)


def _errors(page: Page, house: House) -> None:
    _type(page, "12", "")
    page.get_by_label("Pictures").fill("ftp://pictures.example/x")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("too short").first).to_be_visible()


def _long_text(page: Page, house: House) -> None:
    _type(page, "+44 7700 900123", "An ê, a “quotation” – and 🚀\n" * 60)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("more than the 1,600").first).to_be_visible()


def _signed_out(page: Page, house: House) -> None:
    _type(page, "+1 202 555 0123", "A long story that must not be lost.\n" * 3)
    page.context.clear_cookies()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="signed out")).to_be_visible()


def _open_details(path: str) -> Callable[[Page, House], None]:
    def open(page: Page, house: House) -> None:
        page.goto(path.format_map(_Ids()))
        for summary in page.locator("main summary").all():
            summary.click()

    return open


def _keys(page: Page, house: House) -> None:
    page.goto("/messages")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


def _focused(page: Page, house: House) -> None:
    page.goto("/messages")
    page.keyboard.press("j")
    page.keyboard.press("j")


def _exact(page: Page, house: House) -> None:
    page.goto("/messages")
    page.keyboard.press("t")


def _skip(page: Page, house: House) -> None:
    page.goto("/messages")
    page.keyboard.press("Tab")


def _replayed(page: Page, house: House) -> None:
    page.goto("/callbacks")
    page.get_by_role("button", name="Replay all").click()
    expect(page.get_by_role("status").first).to_contain_text("refused")


SCENES = (
    Scene("sign-in", "/auth/sign-in"),
    Scene("sign-in-error", _wrong_address),
    Scene("sign-in-without-mail", "/auth/sign-in", house="sick", is_variant=True),
    Scene("code", _code, house="demo"),
    Scene("code-error", _wrong_code, house="demo"),
    Scene("mailbox", _mailbox, house="demo"),
    Scene("mailbox-signed-in", "/auth/mailbox", ALICE, "demo", is_variant=True),
    Scene("link", "/auth/link/x"),
    Scene("link-dead", _dead_link),
    Scene("log", "/messages", ALICE),
    Scene("log-empty", "/messages", EMPTY),
    Scene("log-one", "/messages", ONE, is_variant=True),
    Scene("log-many", "/messages", MANY),
    Scene("log-nothing-of-this-state", "/messages?state=failed", ONE),
    Scene("log-long-name", "/messages", LONG_NAME, is_variant=True),
    Scene("log-sick", "/messages", ADMIN, "sick", is_variant=True),
    Scene("keys", _keys, ALICE),
    Scene("message-delivered", "/messages/{delivered}", ALICE, is_variant=True),
    Scene("message-waiting", "/messages/{waiting}", ALICE, is_variant=True),
    Scene("message-failed", "/messages/{failed}", ALICE),
    Scene("message-refused", "/messages/{refused}", ALICE, is_variant=True),
    Scene("message-unknown", "/messages/{unknown}", ALICE, is_variant=True),
    Scene("message-no-receipt", "/messages/{no-receipt}", ALICE, is_variant=True),
    Scene("message-conflicting", _open_details("/messages/{conflicting}"), ALICE),
    Scene("message-long-text", "/messages/{long-text}", ALICE, is_variant=True),
    Scene("message-long-word", "/messages/{long-word}", ALICE, is_variant=True),
    Scene("message-arabic", "/messages/{arabic}", ALICE, is_variant=True),
    Scene("message-emoji", "/messages/{emoji}", ALICE, is_variant=True),
    Scene("new", "/messages/new", ALICE),
    Scene("new-demo", "/messages/new", ALICE, "demo"),
    Scene("new-errors", _errors, ALICE),
    Scene("new-long-text", _long_text, ALICE, is_variant=True),
    Scene("signed-out", _signed_out, ALICE),
    Scene("callbacks", "/callbacks", ADMIN, is_variant=True),
    Scene("callbacks-sick", _open_details("/callbacks"), ADMIN, "sick"),
    Scene("callbacks-replayed", _replayed, ADMIN, "sick", is_variant=True),
    Scene("callbacks-nothing-older", "/callbacks?kind=strangers&before=1", ADMIN, is_variant=True),
    Scene("error-404", "/no/such/page"),
    Scene("error-403", "/callbacks", ALICE, is_variant=True),
    Scene("error-503", "/messages", ALICE, "down", is_variant=True),
)

# Pages of the above at a moment that only the eye can judge: for pictures alone.
MOMENTS = (
    Scene("log-focused", _focused, ALICE),
    Scene("log-exact-times", _exact, ALICE),
    Scene("log-skip-link", _skip, ALICE),
)


@contextmanager
def houses(
    migrated: Path, folder: Path, now: datetime, many: int = 1
) -> Iterator[dict[str, House]]:
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
            found[name] = House(app, database_is_there=name != "down")
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
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": "9"} if name == "live" else {}
    senders = "+15005550006, +442079460018, Clinic"
    more = {"PUBLIC_BASE_URL": f"http://127.0.0.1:{port}", "TWILIO_PHONE_NUMBER": senders}
    return settings(**both, **more, **mail)


def _close(app: Flask) -> None:
    app.extensions["mailer"].drain()
    app.extensions["mailer"].close()
    with app.app_context():
        db.engine.dispose()


def look_in(browser: Browser, scene: Scene, house: House, **options: object) -> Page:
    """A window of its own in the house of a scene, signed in as the one who looks."""
    context = browser.new_context(base_url=house.url, **options)  # type: ignore[arg-type]
    context.set_default_timeout(10_000)
    if scene.who:
        cookie = {"name": "smstracker_session", "url": house.url, "value": house.cookie(scene.who)}
        context.add_cookies([cookie])  # type: ignore[list-item]
    return context.new_page()
