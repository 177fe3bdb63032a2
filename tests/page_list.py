"""Every page that there is to see, one line each: for `make screenshots` and for axe.

To add a page, add a line to SCENES. A path may name staged messages of Alice's: `{failed}` is the
public id of the one that `tests.sample_histories` calls "failed". Where a path is not enough, a function
brings the page about.
"""

from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Browser, Page, expect

from smstracker.extensions import db
from smstracker.models import SignInToken
from tests.sample_messages import (
    ADMIN,
    ALICE,
    EMPTY,
    LONG_NAME,
    MANY,
    ONE,
    public_id,
    put_replayable,
)
from tests.served_apps import ServedApp


@dataclass(frozen=True, slots=True)
class Scene:
    """A page: where it is, who looks at it, and in which house it stands.

    Houses: "live", "demo", "sick" (everything is wrong with the connection), "down" (no database).
    A variant has the markup of another scene, so the test looks only at its colours and measures.
    """

    name: str
    where: str | Callable[[Page, ServedApp], None]
    who: str | None = None
    house: str = "live"
    is_variant: bool = False

    def open(self, page: Page, house: ServedApp) -> None:
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


def _code(page: Page, house: ServedApp) -> None:
    page.goto("/auth/sign-in")
    page.get_by_label("E-mail address").fill("me@home.example")
    page.get_by_role("button", name="Send the mail").click()
    expect(page.get_by_label("Six-digit code")).to_be_visible()
    house.app.extensions["mailer"].drain()


def _wrong_code(page: Page, house: ServedApp) -> None:
    _code(page, house)
    page.get_by_label("Six-digit code").fill("12 34")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("The code has six digits")).to_be_visible()


def _mailbox(page: Page, house: ServedApp) -> None:
    _code(page, house)
    page.get_by_role("link", name="mailbox").click()
    expect(page.get_by_role("heading", level=2).first).to_be_visible()


def _link(page: Page, house: ServedApp) -> None:
    with house.app.app_context():
        token = SignInToken.issue(ALICE).token
        db.session.commit()
    page.goto(f"/auth/link/{token}")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def _dead_link(page: Page, house: ServedApp) -> None:
    page.goto("/auth/link/used")
    expect(page.get_by_role("heading", name="no longer works")).to_be_visible()


def _wrong_address(page: Page, house: ServedApp) -> None:
    page.goto("/auth/sign-in")
    page.get_by_label("E-mail address").fill("nonsense")
    page.keyboard.press("Enter")
    expect(page.get_by_text("does not look like")).to_be_visible()


def _type(page: Page, to: str, text: str) -> None:
    page.goto("/messages/new")
    page.get_by_label("To", exact=True).fill(to)
    page.get_by_label("Text").fill(text)


def _errors(page: Page, house: ServedApp) -> None:
    _type(page, "12", "")
    page.get_by_label("Pictures").fill("ftp://pictures.example/x")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("too short").first).to_be_visible()


def _long_text(page: Page, house: ServedApp) -> None:
    _type(page, "+44 7700 900123", "An ê, a “quotation” – and 🚀\n" * 60)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("more than one message can hold").first).to_be_visible()


def _signed_out(page: Page, house: ServedApp) -> None:
    _type(page, "+1 202 555 0123", "A long story that must not be lost.\n" * 3)
    page.context.clear_cookies()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="signed out")).to_be_visible()


def _kept(page: Page, house: ServedApp) -> None:
    page.goto("/auth/link/x")  # the only form that asks nothing of the database
    page.evaluate("""() => {
        const form = document.querySelector("form");
        form.action = "/messages";
        const typed = { recipient: "+1 202 555 0123", body: "A long story.\\nKept." };
        for (const [name, value] of Object.entries(typed))
            form.append(Object.assign(document.createElement("textarea"), { name, value }));
        form.submit();
    }""")
    expect(page.get_by_role("heading", name="cannot do this right now")).to_be_visible()


def _open_details(path: str) -> Callable[[Page, ServedApp], None]:
    def open(page: Page, house: ServedApp) -> None:
        page.goto(path.format_map(_Ids()))
        for summary in page.locator("main summary").all():
            summary.click()

    return open


def _keys(page: Page, house: ServedApp) -> None:
    page.goto("/messages")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


def _focused(page: Page, house: ServedApp) -> None:
    page.goto("/messages")
    page.keyboard.press("j")
    page.keyboard.press("j")


def _exact(page: Page, house: ServedApp) -> None:
    page.goto("/messages")
    page.keyboard.press("t")


def _bad_filter(page: Page, house: ServedApp) -> None:
    page.goto("/messages")
    page.get_by_label("Text contains").fill("ab")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("alert")).to_be_visible()


def _skip(page: Page, house: ServedApp) -> None:
    page.goto("/messages")
    page.keyboard.press("Tab")


def _replayed(page: Page, house: ServedApp) -> None:
    put_replayable(house.app)
    page.goto("/callbacks")
    page.get_by_role("button", name="Replay all").click()
    expect(page.get_by_role("status").first).to_contain_text("refused")


def _replayable(page: Page, house: ServedApp) -> None:
    put_replayable(house.app)
    page.goto("/callbacks")
    expect(page.get_by_role("button", name="Replay all")).to_be_visible()


SCENES = (
    Scene("sign-in", "/auth/sign-in"),
    Scene("sign-in-error", _wrong_address),
    Scene("sign-in-without-mail", "/auth/sign-in", house="sick", is_variant=True),
    Scene("code", _code, house="demo"),
    Scene("code-mail-down", _code, is_variant=True),
    Scene("code-error", _wrong_code, house="demo"),
    Scene("mailbox", _mailbox, house="demo"),
    Scene("mailbox-signed-in", "/auth/mailbox", ALICE, "demo", is_variant=True),
    Scene("link", _link),
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
    Scene("message-deleted", "/messages/{deleted}", ALICE, is_variant=True),
    Scene("message-long-text", "/messages/{long-text}", ALICE, is_variant=True),
    Scene("message-long-word", "/messages/{long-word}", ALICE, is_variant=True),
    Scene("message-arabic", "/messages/{arabic}", ALICE, is_variant=True),
    Scene("message-emoji", "/messages/{emoji}", ALICE, is_variant=True),
    Scene("new", "/messages/new", ALICE),
    Scene("new-demo", "/messages/new", ALICE, "demo"),
    Scene("new-errors", _errors, ALICE),
    Scene("new-long-text", _long_text, ALICE, is_variant=True),
    Scene("signed-out", _signed_out, ALICE),
    Scene("log-filtered", "/messages?error=30006&source=callback&period=7d", ALICE),
    Scene("log-bad-filter", _bad_filter, ALICE),
    Scene("again", "/messages/{unreached}/again", ALICE),
    Scene("help-errors", "/help/errors", ALICE),
    Scene("help-unknown", "/help/errors/39999", ALICE, is_variant=True),
    Scene("insights", "/insights?period=7d&zone=UTC", ALICE),
    Scene("insights-many", "/insights?period=30d&zone=UTC", MANY, is_variant=True),
    Scene("insights-day", "/insights?period=24h&zone=UTC", MANY, is_variant=True),
    Scene("insights-empty", "/insights?zone=UTC", EMPTY, is_variant=True),
    Scene("insights-everyone", "/insights?everyone=1&period=30d&zone=UTC", ADMIN),
    Scene("callbacks", "/callbacks", ADMIN, is_variant=True),
    Scene("callbacks-sick", _open_details("/callbacks"), ADMIN, "sick"),
    Scene("callbacks-replayed", _replayed, ADMIN, "sick", is_variant=True),
    Scene("callbacks-nothing-older", "/callbacks?kind=strangers&before=1", ADMIN, is_variant=True),
    Scene("error-404", "/no/such/page"),
    Scene("error-403", "/callbacks", ALICE, is_variant=True),
    Scene("error-503-kept", _kept, ALICE, "down"),
    Scene("error-503", "/messages", ALICE, "down", is_variant=True),
)

# Pages of the above at a moment that only the eye can judge: for pictures alone.
MOMENTS = (
    Scene("log-focused", _focused, ALICE),
    Scene("log-exact-times", _exact, ALICE),
    Scene("log-skip-link", _skip, ALICE),
    Scene("callbacks-replayable", _replayable, ADMIN, "sick"),
)


def look_in(browser: Browser, scene: Scene, house: ServedApp, **options: object) -> Page:
    """A window of its own in the house of a scene, signed in as the one who looks."""
    context = browser.new_context(base_url=house.url, **options)  # type: ignore[arg-type]
    context.set_default_timeout(10_000)
    if scene.who:
        cookie = {"name": "smstracker_session", "url": house.url, "value": house.cookie(scene.who)}
        context.add_cookies([cookie])  # type: ignore[list-item]
    return context.new_page()
