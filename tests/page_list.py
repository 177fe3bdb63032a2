"""Every page of the app, one line each: for `make screenshots` and for axe.

To add a page, add a line to PAGE_VIEWS. A path may name sample messages of Alice's: `{failed}` is
the public id of the one that `tests.sample_histories` calls "failed". Where a path is not enough,
a function opens the page.
"""

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from playwright.sync_api import Browser, Page, expect
from sqlalchemy import delete, select

from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.models import Message, SignInToken, User, message_drafts
from smstracker.models.messages import Content
from smstracker.models.rate_limits import RateLimit
from smstracker.privacy.erasure import erase
from tests.clients import SESSION_COOKIE
from tests.sample_batches import batch_id
from tests.sample_messages import (
    ADMIN,
    ALICE,
    BATCHES,
    EMPTY,
    LONG_NAME,
    MANY,
    ONE,
    add_replayable_callback,
    public_id,
)
from tests.served_apps import ServedApp
from tests.serving import drain_mail


@dataclass(frozen=True, slots=True)
class PageView:
    """A page: its location, the e-mail address of its reader, and the installation.

    Installations: "live", "demo", "broken" (everything is wrong with the connection) and "down" (no
    database). A variant has the markup of another view, so only its colours and sizes are tested.
    """

    name: str
    location: str | Callable[[Page, ServedApp], None]
    email: str | None = None
    installation: str = "live"
    is_variant: bool = False

    def show(self, page: Page, served_app: ServedApp) -> None:
        """Open the page and wait until it is drawn."""
        if callable(self.location):
            self.location(page, served_app)
        else:
            page.goto(self.location.format_map(_Ids()))
        page.wait_for_load_state("load")
        page.evaluate("document.fonts.ready")


class _Ids(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return str(public_id(key))


def _ask_for_code(page: Page, served_app: ServedApp) -> None:
    with served_app.app.app_context():  # more mails are asked for than a person may
        db.session.execute(delete(RateLimit))
        db.session.commit()
    page.goto("/auth/sign-in")
    page.get_by_label("E-mail address").fill("me@home.example")
    page.get_by_role("button", name="Send the mail").click()
    expect(page.get_by_label("Six-digit code")).to_be_visible()
    drain_mail(served_app.app)


def _enter_wrong_code(page: Page, served_app: ServedApp) -> None:
    _ask_for_code(page, served_app)
    page.get_by_label("Six-digit code").fill("12 34")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("The code has six digits")).to_be_visible()


def _open_mailbox(page: Page, served_app: ServedApp) -> None:
    _ask_for_code(page, served_app)
    page.get_by_role("link", name="mailbox").click()
    expect(page.get_by_role("heading", level=2).first).to_be_visible()


def _open_link(page: Page, served_app: ServedApp) -> None:
    with served_app.app.app_context():
        token = SignInToken.issue(ALICE).token
        db.session.commit()
    page.goto(f"/auth/link/{token}")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def _open_dead_link(page: Page, served_app: ServedApp) -> None:
    page.goto("/auth/link/used")
    expect(page.get_by_role("heading", name="no longer works")).to_be_visible()


def _enter_wrong_address(page: Page, served_app: ServedApp) -> None:
    page.goto("/auth/sign-in")
    page.get_by_label("E-mail address").fill("nonsense")
    page.keyboard.press("Enter")
    expect(page.get_by_text("does not look like")).to_be_visible()


def _fill_form(page: Page, recipient: str, text: str) -> None:
    page.goto("/messages/new")
    page.get_by_label("To", exact=True).fill(recipient)
    page.get_by_label("Text").fill(text)


def _send_invalid_form(page: Page, served_app: ServedApp) -> None:
    _fill_form(page, "12", "")
    page.get_by_label("Pictures").fill("ftp://pictures.example/x")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("too short").first).to_be_visible()


def _send_long_text(page: Page, served_app: ServedApp) -> None:
    _fill_form(page, "+44 7700 900123", "An ê, a “quotation” – and 🚀\n" * 60)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("more than one message can hold").first).to_be_visible()


def _scheduled_path(served_app: ServedApp) -> str:
    """The page of a scheduled message of the administrator."""
    with served_app.app.app_context(), writing():
        owner = db.session.scalars(select(User).where(User.email == ADMIN)).one()
        scheduled = Message.select_owned(owner.id).where(Message.send_at > utcnow())
        message = db.session.scalar(scheduled)
        if message is None:
            content = Content("+12025550123", "+15005550006", "Your glasses are ready.")
            send_at = utcnow() + timedelta(days=2)
            message = message_drafts.create_queued(owner.id, uuid.uuid4(), content, send_at=send_at)
        return f"/messages/{message.public_id}"


def _open_scheduled(page: Page, served_app: ServedApp) -> None:
    page.goto(_scheduled_path(served_app))
    expect(page.get_by_role("link", name="Cancel this message")).to_be_visible()


def _open_edit(page: Page, served_app: ServedApp) -> None:
    page.goto(f"{_scheduled_path(served_app)}/edit")
    expect(page.get_by_label("Day")).to_be_visible()


def _open_cancel(page: Page, served_app: ServedApp) -> None:
    page.goto(f"{_scheduled_path(served_app)}/cancel")
    expect(page.get_by_role("button", name="Cancel this message")).to_be_visible()


def _send_at_past_time(page: Page, served_app: ServedApp) -> None:
    _fill_form(page, "+1 202 555 0123", "Hello")
    page.get_by_text("Send later").click()
    page.get_by_label("Day").fill("2026-01-01")
    page.get_by_label("Time", exact=True).fill("14:30")
    page.get_by_role("button", name="Schedule").click()
    expect(page.get_by_text("That time has passed").first).to_be_visible()


def _send_signed_out(page: Page, served_app: ServedApp) -> None:
    _fill_form(page, "+1 202 555 0123", "A long story that must not be lost.\n" * 3)
    page.context.clear_cookies()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="signed out")).to_be_visible()


def _show_kept_form(page: Page, served_app: ServedApp) -> None:
    page.goto("/auth/link/x")  # the only form without a query
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
    def open(page: Page, served_app: ServedApp) -> None:
        page.goto(path.format_map(_Ids()))
        for summary in page.locator("main summary").all():
            summary.click()

    return open


def _open_shortcuts(page: Page, served_app: ServedApp) -> None:
    page.goto("/messages")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


def _focus_row(page: Page, served_app: ServedApp) -> None:
    page.goto("/messages")
    page.keyboard.press("j")
    page.keyboard.press("j")


def _show_exact_times(page: Page, served_app: ServedApp) -> None:
    page.goto("/messages")
    page.keyboard.press("t")


def _search_short_text(page: Page, served_app: ServedApp) -> None:
    page.goto("/messages")
    page.get_by_label("Text, whole number").fill("ab")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("alert")).to_be_visible()


def _focus_skip_link(page: Page, served_app: ServedApp) -> None:
    page.goto("/messages")
    page.keyboard.press("Tab")


def _replay_all(page: Page, served_app: ServedApp) -> None:
    add_replayable_callback(served_app.app)
    page.goto("/callbacks")
    page.get_by_role("button", name="Replay all").click()
    expect(page.get_by_role("status").first).to_contain_text("refused")


def _show_replayable(page: Page, served_app: ServedApp) -> None:
    add_replayable_callback(served_app.app)
    page.goto("/callbacks")
    expect(page.get_by_role("button", name="Replay all")).to_be_visible()


def _open_user_of(email: str) -> Callable[[Page, ServedApp], None]:
    def open(page: Page, served_app: ServedApp) -> None:
        page.goto("/users")
        page.get_by_role("link", name=email).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(email)

    return open


_open_user, _open_own_user = _open_user_of(ALICE), _open_user_of(ADMIN)


def _open_long_name(page: Page, served_app: ServedApp) -> None:
    page.goto("/users")
    page.get_by_role("link", name="xxxx").click()
    expect(page.get_by_role("heading", level=2, name="Change")).to_be_visible()


def _add_wrong_user(page: Page, served_app: ServedApp) -> None:
    page.goto("/users")
    page.get_by_label("E-mail address").fill("nonsense")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("does not look like")).to_be_visible()


def _delete_without_choice(page: Page, served_app: ServedApp) -> None:
    _open_user(page, served_app)
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_be_visible()


def _make_link(page: Page, served_app: ServedApp) -> None:
    _open_user(page, served_app)
    page.get_by_role("button", name="Make a sign-in link").click()
    expect(page.get_by_role("heading", name="Sign-in link")).to_be_visible()


def _fill_token_form(page: Page, served_app: ServedApp, name: str) -> None:
    page.goto("/settings/tokens/new")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Add", exact=True).click()


def _add_token(page: Page, served_app: ServedApp) -> None:
    _fill_token_form(page, served_app, f"Shop {secrets.token_hex(4)}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Token “Shop")


def _add_nameless_token(page: Page, served_app: ServedApp) -> None:
    _fill_token_form(page, served_app, " ")
    expect(page.get_by_text("Type a name")).to_be_visible()


def _show_tokens(page: Page, served_app: ServedApp) -> None:
    _add_token(page, served_app)
    page.goto("/settings")
    expect(page.get_by_role("button", name="Revoke").first).to_be_visible()


def _open_menus(page: Page, served_app: ServedApp) -> None:
    page.goto("/messages")
    page.locator(".menu > summary").first.click()
    expect(page.get_by_role("link", name="Audit log")).to_be_visible()


def _open_phone_menu(page: Page, served_app: ServedApp) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/messages")
    page.locator(".menu > summary:visible").click()
    expect(page.get_by_role("link", name="Audit log")).to_be_visible()


def _show_person(number: str) -> Callable[[Page, ServedApp], None]:
    def show(page: Page, served_app: ServedApp) -> None:
        page.goto("/privacy")
        page.get_by_label("Phone number").fill(number)
        page.get_by_role("button", name="Show what is held").click()
        page.wait_for_url("**/privacy/person")

    return show


def _erase_person(page: Page, served_app: ServedApp) -> None:
    """Erase a recipient of whom nothing is held, so that other pages keep their messages."""
    with served_app.app.app_context():
        receipt = erase("+15558670000", at_twilio=False, actor="ann@example.org").receipt
    page.goto(f"/privacy/receipts/{receipt}")


def _open_batch(key: str) -> Callable[[Page, ServedApp], None]:
    return _open_details(f"/batches/{batch_id(key)}")


def _send_empty_batch(page: Page, served_app: ServedApp) -> None:
    page.goto("/batches/new")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("Type a text.")).to_be_visible()


PAGE_VIEWS = (
    PageView("sign-in", "/auth/sign-in"),
    PageView("sign-in-error", _enter_wrong_address),
    PageView("sign-in-without-mail", "/auth/sign-in", installation="broken", is_variant=True),
    PageView("code", _ask_for_code, installation="demo"),
    PageView("code-mail-down", _ask_for_code, is_variant=True),
    PageView("code-error", _enter_wrong_code, installation="demo"),
    PageView("mailbox", _open_mailbox, installation="demo"),
    PageView("mailbox-signed-in", "/auth/mailbox", ALICE, "demo", is_variant=True),
    PageView("link", _open_link),
    PageView("link-dead", _open_dead_link),
    PageView("log", "/messages", ALICE),
    PageView("log-empty", "/messages", EMPTY),
    PageView("log-one", "/messages", ONE, is_variant=True),
    PageView("log-many", "/messages", MANY),
    PageView("log-nothing-of-this-state", "/messages?state=failed", ONE),
    PageView("log-long-name", "/messages", LONG_NAME, is_variant=True),
    PageView("log-broken", "/messages", ADMIN, "broken", is_variant=True),
    PageView("keys", _open_shortcuts, ALICE),
    PageView("message-delivered", "/messages/{delivered}", ALICE, is_variant=True),
    PageView("message-waiting", "/messages/{waiting}", ALICE, is_variant=True),
    PageView("message-failed", "/messages/{failed}", ALICE),
    PageView("message-refused", "/messages/{refused}", ALICE, is_variant=True),
    PageView("message-unknown", "/messages/{unknown}", ALICE, is_variant=True),
    PageView("message-no-receipt", "/messages/{no-receipt}", ALICE, is_variant=True),
    PageView("message-conflicting", _open_details("/messages/{conflicting}"), ALICE),
    PageView("message-deleted", "/messages/{deleted}", ALICE, is_variant=True),
    PageView("message-long-text", "/messages/{long-text}", ALICE, is_variant=True),
    PageView("message-long-word", "/messages/{long-word}", ALICE, is_variant=True),
    PageView("message-arabic", "/messages/{arabic}", ALICE, is_variant=True),
    PageView("message-emoji", "/messages/{emoji}", ALICE, is_variant=True),
    PageView("new", "/messages/new", ALICE),
    PageView("new-demo", "/messages/new", ALICE, "demo"),
    PageView("new-errors", _send_invalid_form, ALICE),
    PageView("new-long-text", _send_long_text, ALICE, is_variant=True),
    PageView("new-later", _send_at_past_time, ALICE),
    PageView("message-scheduled", _open_scheduled, ADMIN),
    PageView("edit", _open_edit, ADMIN),
    PageView("cancel", _open_cancel, ADMIN),
    PageView("signed-out", _send_signed_out, ALICE),
    PageView("log-filtered", "/messages?error=30006&source=callback&period=7d", ALICE),
    PageView("log-bad-filter", _search_short_text, ALICE),
    PageView("again", "/messages/{unreached}/again", ALICE),
    PageView("batches", "/batches", BATCHES),
    PageView("batches-empty", "/batches", EMPTY),
    PageView("batch-new", _open_details("/batches/new"), BATCHES),
    PageView("batch-new-errors", _send_empty_batch, BATCHES, is_variant=True),
    PageView("batch-checking", _open_batch("checking"), BATCHES, is_variant=True),
    PageView("batch-refused", _open_batch("refused"), BATCHES),
    PageView("batch-ready", _open_batch("ready"), BATCHES),
    PageView("batch-running", _open_batch("running"), BATCHES),
    PageView("batch-done", _open_batch("done"), BATCHES, is_variant=True),
    PageView("help-errors", "/help/errors", ALICE),
    PageView("help-unknown", "/help/errors/39999", ALICE, is_variant=True),
    PageView("insights", "/insights?period=7d&zone=UTC", ALICE),
    PageView("insights-many", "/insights?period=30d&zone=UTC", MANY, is_variant=True),
    PageView("insights-day", "/insights?period=24h&zone=UTC", MANY, is_variant=True),
    PageView("insights-empty", "/insights?zone=UTC", EMPTY, is_variant=True),
    PageView("insights-everyone", "/insights?everyone=1&period=30d&zone=UTC", ADMIN),
    PageView("callbacks", "/callbacks", ADMIN, is_variant=True),
    PageView("callbacks-broken", _open_details("/callbacks"), ADMIN, "broken"),
    PageView("callbacks-replayed", _replay_all, ADMIN, "broken", is_variant=True),
    PageView(
        "callbacks-nothing-older", "/callbacks?kind=strangers&before=1", ADMIN, is_variant=True
    ),
    PageView("users", "/users", ADMIN),
    PageView("users-error", _add_wrong_user, ADMIN, is_variant=True),
    PageView("user", _open_user, ADMIN),
    PageView("user-own", _open_own_user, ADMIN, is_variant=True),
    PageView("user-refused", _delete_without_choice, ADMIN, is_variant=True),
    PageView("user-long-name", _open_long_name, ADMIN, is_variant=True),
    PageView("user-link", _make_link, ADMIN),
    PageView("settings", "/settings", ALICE),
    PageView("settings-new", "/settings", EMPTY, is_variant=True),
    PageView("settings-long-name", "/settings", LONG_NAME, is_variant=True),
    PageView("settings-tokens", _show_tokens, MANY),
    PageView("token", _add_token, MANY),
    PageView("token-new", "/settings/tokens/new", ALICE),
    PageView("token-error", _add_nameless_token, ALICE, is_variant=True),
    PageView("menus", _open_menus, ADMIN),
    PageView("menu-phone", _open_phone_menu, ADMIN, is_variant=True),
    PageView("audit", "/audit", ADMIN),
    PageView("audit-empty", "/audit?before=1", ADMIN, is_variant=True),
    PageView("alerts", "/alerts", ADMIN, is_variant=True),
    PageView("alerts-open", "/alerts", ADMIN, "broken"),
    PageView("privacy", "/privacy", ADMIN),
    PageView("privacy-person", _show_person("+1 202 555 0123"), ADMIN),
    PageView("privacy-nothing-held", _show_person("+1 555 867 0000"), ADMIN, is_variant=True),
    PageView("privacy-number-refused", _show_person("12"), ADMIN, is_variant=True),
    PageView("privacy-receipt", _erase_person, ADMIN),
    PageView("error-404", "/no/such/page"),
    PageView("error-403", "/callbacks", ALICE, is_variant=True),
    PageView("error-503-kept", _show_kept_form, ALICE, "down"),
    PageView("error-503", "/messages", ALICE, "down", is_variant=True),
)

# States of these pages that only people can judge: for pictures alone.
PICTURE_ONLY_VIEWS = (
    PageView("log-focused", _focus_row, ALICE),
    PageView("log-exact-times", _show_exact_times, ALICE),
    PageView("log-skip-link", _focus_skip_link, ALICE),
    PageView("callbacks-replayable", _show_replayable, ADMIN, "broken"),
)


def open_page(browser: Browser, view: PageView, served_app: ServedApp, **options: object) -> Page:
    """A page in a new browser context of an installation, signed in as the reader of a view."""
    context = browser.new_context(base_url=served_app.url, **options)  # type: ignore[arg-type]
    context.set_default_timeout(10_000)
    if view.email:
        cookie = {
            "name": SESSION_COOKIE,
            "url": served_app.url,
            "value": served_app.cookie(view.email),
        }
        context.add_cookies([cookie])  # type: ignore[list-item]
    return context.new_page()
