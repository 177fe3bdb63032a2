"""In Chromium: every page by the rules of axe, its width and the focus rings of the Tab key."""

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.axe_rules import ALL_RULES, RULES_OF_STYLE, examine
from tests.page_list import PAGE_VIEWS, PageView, open_page
from tests.served_apps import ServedApp

pytestmark = pytest.mark.slow


DESK, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
# Phones, and both sides of widths at which the layout changes.
WIDTHS = (320, 360, 480, 767, 768, 777, 960)
SIDEWAYS_SCROLL = "() => document.documentElement.scrollWidth - innerWidth"

# The texts of table cells that stand less than 7 px from the one before.
TOUCHING = """() => {
  const edges = (cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return range.getBoundingClientRect();
  };
  return [...document.querySelectorAll("main :is(td, th) + :is(td, th)")].filter((cell) => {
    const [before, text] = [edges(cell.previousElementSibling), edges(cell)];
    return before.width && text.width && text.left - before.right < 7;
  }).map((cell) => `${cell.previousElementSibling.textContent}|${cell.textContent}`);
}"""

# Every focusable element without a visible focus ring.
RINGS = """() => {
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(at).backgroundColor);
      if (a > 0.5) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const missing = [];
  const kinds = "a[href], button, input:not([type=hidden]), select, summary, textarea";
  for (const element of document.querySelectorAll(kinds)) {
    if (element.disabled || !element.checkVisibility({ visibilityProperty: true })) continue;
    element.focus({ preventScroll: true });
    const row = element.closest(".log > li");
    const style = getComputedStyle(element, row ? "::after" : null);
    const [light, dark] = [numbers(style.outlineColor), ground(element.parentElement)]
      .map((colour) => luminance(colour) + 0.05).sort((a, b) => b - a);
    const isSeen = style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2;
    if (document.activeElement !== element || !isSeen || light / dark < 3)
      missing.push(`${element.outerHTML.slice(0, 120)} ${style.outline} ${light / dark}`);
  }
  return missing;
}"""


@pytest.fixture
def complaints() -> list[str]:
    """The errors of the console, among them breaches of the content security policy."""
    return []


def open_window(
    browser: Browser,
    installations: dict[str, ServedApp],
    view: PageView,
    complaints: list[str],
    **options: object,
) -> Page:
    # Without motion, or axe would see colours in transition between the schemes.
    page = open_page(
        browser, view, installations[view.installation], reduced_motion="reduce", **options
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    # Pages of 4xx or 5xx appear in the console; some views are such pages.
    page.on(
        "console",
        lambda message: (
            message.type in ("error", "warning")
            and "the server responded with a status of" not in message.text
            and complaints.append(message.text)
        ),
    )
    return page


@pytest.mark.parametrize("view", PAGE_VIEWS, ids=lambda view: view.name)
def test_page_is_accessible_in_both_schemes_and_widths(
    browser: Browser, installations: dict[str, ServedApp], view: PageView, complaints: list[str]
) -> None:
    page = open_window(
        browser,
        installations,
        view,
        complaints,
        color_scheme="light",
        viewport=DESK,
        timezone_id="Asia/Kolkata",  # its name is long
    )
    view.show(page, installations[view.installation])
    if not view.is_variant:
        examine(page, "light, on a desk", ALL_RULES)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    examine(page, "dark, on a phone", RULES_OF_STYLE)
    assert page.locator("[tabindex]:not([tabindex='0'], [tabindex='-1'])").count() == 0
    if not page.locator("dialog[open]").count():
        page.keyboard.press("Shift+Tab")  # from here on the focus is a keyboard's
        assert page.evaluate(RINGS) == []
        page.emulate_media(color_scheme="light")
        assert page.evaluate(RINGS) == []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 740})
        assert page.evaluate(SIDEWAYS_SCROLL) <= 0, width
        assert page.evaluate(TOUCHING) == [], width
    page.context.close()
    assert complaints == []
