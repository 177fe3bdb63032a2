"""In Chromium: what administrators do on their pages."""

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from smstracker.clock import utcnow
from smstracker.models import Alert
from tests.alert_scenes import MINUTE, storing
from tests.browser.steps import NewPage, sign_in

pytestmark = pytest.mark.slow

ALICE = "alice@example.org"


def open_as_administrator(page: Page, live: Flask, path: str) -> None:
    live.test_cli_runner().invoke(args=["users", "add", ALICE, "--admin"])
    sign_in(page, live)
    page.goto(path)


def make_link(page: Page) -> str:
    page.get_by_role("link", name=ALICE).click()
    page.get_by_role("button", name="Make a sign-in link").click()
    expect(page.get_by_role("heading", name="Sign-in link")).to_be_visible()
    return page.locator("#link").inner_text()


def test_sign_in_link_is_copied_and_survives_a_reload(new_page: NewPage, live: Flask) -> None:
    page = new_page(permissions=["clipboard-read", "clipboard-write"])
    open_as_administrator(page, live, "/users")
    link = make_link(page)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == link
    page.reload()
    expect(page.locator("#link")).to_have_text(link)


def test_sign_in_link_is_selected_where_the_browser_refuses_to_copy(
    new_page: NewPage, live: Flask
) -> None:
    page = new_page()
    page.add_init_script("navigator.clipboard.writeText = () => Promise.reject(new Error())")
    open_as_administrator(page, live, "/users")
    link = make_link(page)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("status")).to_contain_text("copy it by hand")
    assert page.evaluate("getSelection().toString().trim()") == link


def test_sign_in_link_without_script_has_no_dead_button(new_page: NewPage, live: Flask) -> None:
    page = new_page(java_script_enabled=False)
    open_as_administrator(page, live, "/users")
    assert make_link(page).startswith(live.config["SETTINGS"].public_base_url)
    expect(page.get_by_role("button", name="Copy")).to_be_hidden()


@pytest.mark.parametrize("has_script", [True, False])
def test_focus_stays_in_the_row_of_a_muted_alert(
    new_page: NewPage, live: Flask, has_script: bool
) -> None:
    began_at = utcnow() - 42 * MINUTE
    times = {"began_at": began_at, "opened_at": began_at, "last_true_at": utcnow()}
    with storing(live) as session:
        for rule in ("worker-gone", "twilio-unreachable", "outcome-unknown"):
            session.add(Alert(rule=rule, subject="", counts={"workers": 1, "messages": 3}, **times))
    page = new_page(java_script_enabled=has_script, viewport={"width": 360, "height": 400})
    open_as_administrator(page, live, "/alerts")
    for button in ("Mute A worker is gone for 8 hours", "Unmute A worker is gone"):
        page.get_by_role("button", name=button).focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/alerts#alert-*")
        row = page.get_by_role("listitem").filter(has_text="A worker is gone")
        expect(row).to_be_focused()
        expect(row).to_be_in_viewport()
        page.keyboard.press("Tab")
        assert row.locator(":focus").count() == 1
