"""In Chromium: the chart of /insights, on screen and on paper."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page_list import PageView, open_page
from tests.sample_messages import ALICE, MANY
from tests.served_apps import ServedApp

pytestmark = pytest.mark.slow


# The height of each part of each bar, in pixels of the screen.
HEIGHTS = """() => [...document.querySelectorAll(".chart .segment")]
  .map((part) => part.getBoundingClientRect().height)"""
# Whether the table is visible, and the colour of the page.
PRINTED = """() => [
  document.querySelector(".numbers table").getBoundingClientRect().height > 0
    && document.querySelector(".numbers td").checkVisibility({ contentVisibilityAuto: true }),
  getComputedStyle(document.documentElement).backgroundColor,
]"""


def open_insights(
    browser: Browser, installations: dict[str, ServedApp], email: str, **options: object
) -> Page:
    view = PageView("figures", "/insights?period=30d&zone=UTC", email)
    page = open_page(browser, view, installations["live"], **options)
    view.show(page, installations["live"])
    return page


def test_single_message_among_many_is_visible_in_the_chart(
    browser: Browser, installations: dict[str, ServedApp]
) -> None:
    page = open_insights(browser, installations, MANY)
    heights = page.evaluate(HEIGHTS)
    assert min(heights) >= 2.5
    page.context.close()


def test_a_phone_shows_the_newest_bar_first(
    browser: Browser, installations: dict[str, ServedApp]
) -> None:
    page = open_insights(browser, installations, MANY, viewport={"width": 360, "height": 740})
    newest = page.locator(".chart .segment").last.bounding_box()
    axis = page.locator(".chart .axis").first.bounding_box()
    assert newest
    assert axis
    assert 0 <= newest["x"] < newest["x"] + newest["width"] < axis["x"] < 360
    page.context.close()


def test_tables_fit_a_phone(browser: Browser, installations: dict[str, ServedApp]) -> None:
    page = open_insights(browser, installations, MANY, viewport={"width": 360, "height": 740})
    tables = page.locator("section > .chart:has(table)")
    expect(tables).to_have_count(3)
    overflows = tables.evaluate_all("parts => parts.map((part) => part.scrollWidth - 328)")
    assert overflows == [0, 0, 0]
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_print_is_light_and_has_the_table(
    browser: Browser, installations: dict[str, ServedApp], scheme: str
) -> None:
    page = open_insights(browser, installations, ALICE, color_scheme=scheme)
    assert page.evaluate(PRINTED)[0] is False
    page.emulate_media(media="print")
    assert page.evaluate(PRINTED) == [True, "rgb(251, 251, 250)"]
    page.context.close()


def test_browser_that_does_not_know_its_zone_shows_utc_and_says_so(
    browser: Browser, installations: dict[str, ServedApp]
) -> None:
    view = PageView("log", "/messages", ALICE)
    page = open_page(browser, view, installations["live"], timezone_id="Etc/Unknown")
    view.show(page, installations["live"])
    footer = "Times are in UTC, because your browser does not know your time zone."
    expect(page.locator("#zone")).to_contain_text(footer)
    expect(page.locator("#log time").first).to_have_attribute("title", re.compile(r"\(UTC\)$"))
    page.get_by_text("More filters").click()
    page.get_by_label("First day").fill("2026-05-03")
    page.get_by_role("button", name="Apply filters").click()
    expect(page.get_by_text("is not known here, so the days are UTC days")).to_be_visible()
    page.goto("/insights")
    expect(page.get_by_text("Days and hours are in the time zone UTC")).to_be_visible()
    page.context.close()
