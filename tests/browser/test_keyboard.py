"""In Chromium: keyboard shortcuts, their list and switch; exact times."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.page_list import PageView, open_page
from tests.sample_messages import ALICE
from tests.served_apps import ServedApp

pytestmark = pytest.mark.slow


ROW_IS_IN_SIGHT = """row => {
  const { top, bottom } = row.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight;
}"""


@pytest.fixture
def page(browser: Browser, installations: dict[str, ServedApp]) -> Iterator[Page]:
    """Alice at her log of seventeen messages, in a low window."""
    window = {"width": 1000, "height": 400}
    page = open_page(
        browser, PageView("log", "/messages", ALICE), installations["live"], viewport=window
    )
    page.goto("/messages")
    yield page
    page.context.close()


def link(page: Page, number: int) -> Locator:
    """The link of the row with this number."""
    return page.locator("#log > li").nth(number).locator("a").first


def test_keys_walk_through_the_rows_and_open_one(page: Page) -> None:
    rows = page.locator("#log > li")
    resting = rows.nth(1).evaluate("row => getComputedStyle(row).backgroundColor")
    page.keyboard.press("j")
    expect(link(page, 0)).to_be_focused()
    page.keyboard.press("k")
    expect(link(page, 0)).to_be_focused()
    page.keyboard.press("j")
    expect(link(page, 1)).to_be_focused()
    expect(rows.nth(1)).not_to_have_css("background-color", resting)
    expect(rows.nth(1).locator(".exact")).to_be_visible()
    expect(rows.nth(2).locator(".exact")).to_be_hidden()
    for _ in range(30):
        page.keyboard.press("j")
    expect(link(page, rows.count() - 1)).to_be_focused()
    assert rows.last.evaluate(ROW_IS_IN_SIGHT)
    page.keyboard.press("k")
    address = link(page, rows.count() - 2).get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{address}")


def test_keys_find_their_place_in_rows_that_were_replaced(page: Page) -> None:
    for _ in range(3):
        page.keyboard.press("j")
    page.evaluate("""() => {
        for (const row of document.querySelectorAll("#log > li"))
            row.replaceWith(row.cloneNode(true));
        document.querySelector("#log > li").remove();
    }""")
    expect(page.locator("body")).to_be_focused()
    page.keyboard.press("j")
    expect(link(page, 2)).to_be_focused()  # the fourth, now that the first is gone


def test_slash_leads_to_the_search_field(page: Page) -> None:
    page.goto("/messages/new")
    page.get_by_role("heading", name="New message").click()
    page.keyboard.press("/")
    page.wait_for_url("**/messages#search")
    page.evaluate("""() => {
        document.getElementById("search")?.remove();
        document.querySelector("main").insertAdjacentHTML("afterbegin",
            '<input id="search" aria-label="Search" value="before">');
    }""")
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("j/?")
    expect(page.locator("#search")).to_have_value("j/?")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_keys_rest_while_somebody_types_or_holds_another_key(page: Page) -> None:
    page.keyboard.press("Control+j")
    page.keyboard.press("Alt+?")
    expect(page.locator("#log a:focus")).to_have_count(0)
    page.keyboard.press("n")
    page.wait_for_url("**/messages/new")
    page.get_by_label("Text").fill("")
    page.get_by_label("Text").focus()
    page.keyboard.type("jk n/t?")
    expect(page.get_by_label("Text")).to_have_value("jk n/t?")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_list_of_keys_has_a_name_and_gives_the_focus_back(page: Page) -> None:
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("Next message")
    page.keyboard.press("j")
    expect(dialog.locator(":focus")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(link(page, 1)).to_be_focused()


def test_keys_are_switched_off_for_good_and_on_again(page: Page) -> None:
    page.keyboard.press("?")
    page.get_by_role("switch", name="Use these shortcuts").press("Space")
    page.keyboard.press("Escape")
    for again in (False, True):
        if again:
            page.reload()
        page.keyboard.press("j")
        page.keyboard.press("?")
        expect(page.locator("#log a:focus")).to_have_count(0)
        expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Switch on the keyboard shortcuts").click()
    page.keyboard.press("j")
    expect(link(page, 0)).to_be_focused()
    page.get_by_role("button", name="Switch off the keyboard shortcuts").click()
    page.keyboard.press("j")
    expect(link(page, 1)).not_to_be_focused()


def test_exact_times_are_shown_on_demand_and_remembered(page: Page) -> None:
    age = page.locator("#log .when time").first
    expect(age).to_have_text(re.compile("ago$"))
    page.keyboard.press("t")
    expect(age).to_have_text(re.compile(r"^\d+ \w+, \d\d:\d\d:\d\d$"))
    page.reload()
    expect(age).to_have_text(re.compile(r"^\d+ \w+, \d\d:\d\d:\d\d$"))
    page.get_by_role("button", name="Exact times", pressed=True).click()
    expect(age).to_have_text(re.compile("ago$"))


def test_far_too_long_text_is_not_sent_and_stays(page: Page) -> None:
    text = "ü " * 25_000
    page.goto("/messages/new")
    page.get_by_label("To", exact=True).fill("+15005550006")
    page.get_by_label("Text").evaluate("(field, text) => field.value = text", text)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("far too long")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    assert page.get_by_label("Text").input_value() == text
    assert page.url.endswith("/messages/new")


def test_without_script_nothing_tells_of_keys(
    browser: Browser, installations: dict[str, ServedApp]
) -> None:
    view = PageView("log", "/messages", ALICE)
    page = open_page(browser, view, installations["live"], java_script_enabled=False)
    page.goto("/messages")
    page.keyboard.press("?")
    for gone in ("Keyboard shortcuts", "Exact times", "Switch off"):
        expect(page.get_by_text(gone).first).to_be_hidden()
    expect(page.locator("#log .exact").first).to_be_visible()
    expect(page.locator(".heading noscript")).to_be_visible()
    page.context.close()


@pytest.mark.parametrize("path", ["/messages", "/auth/sign-in", "/no/such/page"])
def test_skip_link_is_seen_on_focus_and_leads_to_the_content(page: Page, path: str) -> None:
    page.goto(path)
    page.evaluate("document.activeElement.blur()")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).not_to_be_in_viewport()
    skip.focus()
    expect(skip).to_be_in_viewport(ratio=1)
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    expect(skip).not_to_be_in_viewport()
