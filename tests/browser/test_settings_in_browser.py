"""In Chromium: what the settings of a reader change on pages, and the menus of the bar."""

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from smstracker.clock import utcnow
from smstracker.models import Alert
from tests.alert_scenes import MINUTE, storing
from tests.browser.steps import NewPage, sign_in

pytestmark = pytest.mark.slow

DARK, LIGHT = "rgb(20, 23, 27)", "rgb(251, 251, 250)"
KOLKATA = {"timezone_id": "Asia/Kolkata"}
BAR_WIDTH = 768  # px; below it, one menu holds what stands in the bar


def open_settings(page: Page) -> None:
    page.locator(".account > summary").click()
    page.get_by_role("link", name="Settings").click()
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()


def save(page: Page) -> None:
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Your settings are saved.")).to_be_visible()


@pytest.mark.parametrize("has_script", [True, False])
def test_appearance_wins_over_the_system(new_page: NewPage, live: Flask, has_script: bool) -> None:
    page = new_page(color_scheme="light", java_script_enabled=has_script)
    sign_in(page, live)
    body = page.locator("html")
    expect(body).to_have_css("background-color", LIGHT)
    open_settings(page)
    page.get_by_label("Dark").check()
    save(page)
    expect(body).to_have_css("background-color", DARK)
    page.emulate_media(color_scheme="dark")
    page.get_by_label("Light").check()
    save(page)
    expect(body).to_have_css("background-color", LIGHT)
    page.emulate_media(color_scheme="dark", media="print")
    expect(body).to_have_css("color-scheme", "light")


def test_time_zone_wins_over_the_browser(new_page: NewPage, live: Flask) -> None:
    page = new_page(**KOLKATA)
    sign_in(page, live)
    expect(page.locator("#zone")).to_contain_text("Asia/Calcutta")
    open_settings(page)
    page.get_by_label("Time zone").fill("tokyo")
    save(page)
    expect(page.locator("#zone")).to_contain_text("of your settings: Asia/Tokyo (GMT+9)")
    page.goto("/insights")
    expect(page.get_by_label("Time zone")).to_have_value("Asia/Tokyo")
    assert "zone" not in page.url
    page.goto("/messages?state=failed")
    page.get_by_text("More filters").click()
    expect(page.get_by_label("Time zone")).to_have_value("Asia/Tokyo")


def test_exact_times_of_the_account_can_be_switched_on_one_page(
    new_page: NewPage, live: Flask
) -> None:
    page = new_page()
    sign_in(page, live)
    open_settings(page)
    page.get_by_label("Exact times").check()
    save(page)
    used = page.locator(".sessions time[data-relative]")
    expect(used).not_to_contain_text("just now")
    page.get_by_role("button", name="Exact times").click()
    expect(used).to_contain_text("ago")
    page.reload()
    expect(used).not_to_contain_text("ago")


def test_shortcuts_are_off_for_speech_users(new_page: NewPage, live: Flask) -> None:
    page = new_page()
    sign_in(page, live)
    open_settings(page)
    page.get_by_label("Single-key shortcuts").uncheck()
    save(page)
    page.goto("/messages")
    page.keyboard.press("n")
    page.keyboard.press("?")
    expect(page).to_have_url(f"{live.config['SETTINGS'].public_base_url}/messages")
    expect(page.locator("#keys")).to_have_count(0)


def test_menu_opens_and_closes_by_keyboard_and_by_clicks(new_page: NewPage, live: Flask) -> None:
    page = new_page()
    sign_in(page, live)
    summary, entry = page.locator(".account > summary"), page.get_by_role("link", name="Settings")
    summary.focus()
    page.keyboard.press("Enter")
    expect(entry).to_be_visible()
    page.keyboard.press("Tab")
    expect(entry).to_be_focused()
    page.keyboard.press("Escape")
    expect(entry).to_be_hidden()
    expect(summary).to_be_focused()
    summary.click()
    expect(entry).to_be_visible()
    page.get_by_role("heading", name="Messages", exact=True).click()
    expect(entry).to_be_hidden()


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_open_menus_stay_within_the_window(new_page: NewPage, live: Flask, width: int) -> None:
    live.test_cli_runner().invoke(args=["users", "add", "alice@example.org", "--admin"])
    page = new_page(viewport={"width": width, "height": 740}, java_script_enabled=False)
    sign_in(page, live)
    menus = {"Menu": ("Insights", "Audit log", "Settings")}
    if width >= BAR_WIDTH:
        menus = {"Admin": ("Audit log",), "Account": ("Settings",)}
    for label, names in menus.items():
        page.locator(".menu > summary:visible", has_text=label).click()
        for name in names:
            box = page.get_by_role("link", name=name).bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize("width", [360, BAR_WIDTH - 1, BAR_WIDTH, 1280])
def test_header_is_one_row(new_page: NewPage, live: Flask, width: int) -> None:
    live.test_cli_runner().invoke(args=["users", "add", "alice@example.org", "--admin"])
    began_at = utcnow() - 42 * MINUTE
    times = {"began_at": began_at, "opened_at": began_at, "last_true_at": utcnow()}
    with storing(live) as session:
        session.add(Alert(rule="worker-gone", subject="", counts={"workers": 1}, **times))
    page = new_page(viewport={"width": width, "height": 740})
    sign_in(page, live)
    expect(page.locator(".alarm:visible")).to_have_text("1 open alert")
    height = page.locator(".bar").bounding_box()["height"]  # type: ignore[index]
    assert height == 56


def test_menu_of_a_phone_leads_everywhere_by_keyboard(new_page: NewPage, live: Flask) -> None:
    page = new_page(viewport={"width": 360, "height": 740})
    sign_in(page, live)
    summary = page.locator(".menu > summary:visible")
    summary.focus()
    page.keyboard.press("Enter")
    names = ["Messages", "Batches", "Insights", "Settings", "Sign out"]
    for name in names:
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        expect(focused).to_have_text(name)
    page.keyboard.press("Escape")
    expect(summary).to_be_focused()
    expect(page.get_by_role("link", name="Settings")).to_be_hidden()


def test_sign_out_needs_no_script(new_page: NewPage, live: Flask) -> None:
    page = new_page(java_script_enabled=False)
    sign_in(page, live)
    page.locator(".account > summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
