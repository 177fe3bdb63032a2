"""In each engine: pages look as meant where an engine draws in a way of its own."""

from collections.abc import Callable

import pytest
from flask import Flask

from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.models import User
from tests.browser.engines import Engine
from tests.browser.windows import Window
from tests.clients import SESSION_COOKIE, Person

pytestmark = pytest.mark.slow

ZONES = ("Pacific/Chatham", "America/Argentina/ComodRivadavia")
WIDTHS = (768, 800, 960, 1024, 1100, 1280)
# What of a page is beyond the window, or of a row of the log beyond its row.
OUTSIDE = """
const texts = (elements) => elements.map((element) => element.textContent.trim());
const beyond = (element, left, right) => {
  const box = element.getBoundingClientRect();
  return box.width > 1 && (box.left < left - 0.5 || box.right > right + 0.5);
};
const rowOf = (element) => element.closest("#log > li").getBoundingClientRect();
const isOutside = (time) => beyond(time, rowOf(time).left, rowOf(time).right);
return [
  ...texts([...document.querySelectorAll("#log time")].filter(isOutside)),
  ...texts([...document.querySelectorAll("#zone, main h1, .log > li")]
    .filter((element) => beyond(element, 0, innerWidth))),
  ...document.documentElement.scrollWidth > innerWidth ? ["the page scrolls sideways"] : [],
];
"""
# The texts of which a line begins with a dot, at any width.
LEADING_DOTS = """
const main = document.querySelector("main"), range = document.createRange(), found = new Set();
function look() {
  const walker = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
  let before = null;
  while (walker.nextNode()) {
    const { data } = walker.currentNode;
    for (let index = 0; index < data.length; index += 1) {
      range.setStart(walker.currentNode, index);
      range.setEnd(walker.currentNode, index + 1);
      const box = range.getBoundingClientRect();
      if (!box.width || data[index].trim() === "") continue;
      if (data[index] === "·" && before && box.top > before.bottom - 2) found.add(data.trim());
      before = box;
    }
  }
}
for (let width = 200; width < 640; width += 8) {
  main.style.width = `${width}px`;
  look();
}
return [...found];
"""
# How many pixels of a field in a picture of the page are neither its background, border nor button.
INK = """
return (async () => {
  const { x, y, width, height } = document.querySelector(arguments[1]).getBoundingClientRect();
  const image = new Image();
  image.src = `data:image/png;base64,${arguments[0]}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(x + 8, y + 8, width - 60, height - 16);
  let ink = 0;
  for (let index = 0; index < data.length; index += 4) {
    if (Math.abs(data[index] - data[0]) > 40) ink += 1;
  }
  return ink;
})();
"""


@pytest.fixture
def window(open_window: Callable[..., Window], alice: Person) -> Window:
    window = open_window()
    window.open("/auth/sign-in")
    cookie = {"name": SESSION_COOKIE, "value": alice.session_cookie, "path": "/"}
    window.driver.add_cookie(cookie)
    return window


def set_preferences(app: Flask, **values: object) -> None:
    with app.app_context(), writing():
        for user in db.session.query(User):
            for name, value in values.items():
                setattr(user, name, value)


@pytest.mark.parametrize("zone", ZONES)
def test_log_fits_with_every_zone(
    window: Window, engine: Engine, live: Flask, alice: Person, zone: str
) -> None:
    for recipient in ("+15558675310", "+442079460018"):
        alice.has_message(recipient=recipient, status_source="send", status_at=utcnow())
    set_preferences(live, time_zone=zone)
    window.open("/messages")
    window.sees(zone, "#zone")
    for is_exact in (False, True):
        if is_exact:
            window.use("Exact times", "button")
        for width in (engine.narrowest, *WIDTHS):
            window.resize(width, 300)  # with a scroll bar, where the engine draws one
            assert window.script(OUTSIDE) == [], width


def test_no_line_begins_with_a_dot(window: Window, alice: Person) -> None:
    message = alice.has_message(status="sent", status_source="callback", status_at=utcnow())
    for path in (f"/messages/{message.public_id}", "/messages", "/settings"):
        window.open(path)
        window.find(None, "h1")
        assert window.script(LEADING_DOTS) == []


def test_dates_of_insights_stay_in_one_line(window: Window, engine: Engine, alice: Person) -> None:
    alice.has_message(status="delivered", status_source="callback")
    window.resize(engine.narrowest)
    window.open("/insights")
    window.use("Show as a table", "summary")
    heights = "return [...document.querySelectorAll('tbody th')].map((cell) => cell.offsetHeight)"
    assert 0 < max(window.script(heights)) < 40


def test_current_page_is_underlined_in_its_colour(window: Window) -> None:
    window.open("/messages")
    window.find("Messages", "h1")
    colours = """
    const style = getComputedStyle(document.querySelector(".bar nav a[aria-current]"));
    return [style.textDecorationColor, style.color];
    """
    underline, text = window.script(colours)
    assert underline == text


@pytest.mark.parametrize("appearance", ["light", "dark"])
def test_empty_day_looks_empty(
    window: Window, engine: Engine, live: Flask, appearance: str
) -> None:
    set_preferences(live, appearance=appearance)
    window.open("/insights?from=2026-11-28&to=")
    window.find("Insights", "h1")
    picture = window.driver.get_screenshot_as_base64()
    filled, empty = (window.script(INK, picture, f"[name={name}]") for name in ("from", "to"))
    assert filled > 100
    if engine.name == "webkit":  # the others show a pattern, such as dd.mm.yyyy
        assert empty < filled / 4
