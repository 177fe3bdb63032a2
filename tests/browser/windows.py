"""A window of a browser under selenium: find by name, act by keyboard or pointer, wait."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from selenium.common.exceptions import (
    ElementNotInteractableException,
    JavascriptException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

if TYPE_CHECKING:
    from tests.browser.engines import Engine

T = TypeVar("T")
SECONDS = 15.0
MAX_TURNS = 30
# A page that goes away while it is asked, or that is drawn anew.
PASSING = (StaleElementReferenceException, JavascriptException, ElementNotInteractableException)
CONTROLS = "a, button, summary, input, select, textarea, [tabindex]"
# Shown elements by what a screen reader calls them: as it is, else by its beginning.
FIND = """
const [selector, name] = arguments;
if (document.readyState !== "complete") return null;
const words = (text) => (text ?? "").replace(/\\s+/g, " ").trim();
const nameOf = (element) => words(element.getAttribute("aria-label")
  ?? (element.labels?.length ? [...element.labels].map((label) => label.innerText).join(" ")
    : element.innerText || element.value));
const shown = [...document.querySelectorAll(selector)]
  .filter((element) => element.checkVisibility({ visibilityProperty: true }));
if (name === null) return shown[0];
return shown.find((element) => nameOf(element) === name)
  ?? shown.find((element) => nameOf(element).startsWith(name));
"""
# How many controls an element is behind the focus; below 0: before it.
DISTANCE = """
const [element, controls] = arguments, focus = document.activeElement;
const mayHaveFocus = (control) => control.tabIndex >= 0 && !control.disabled
  && control.checkVisibility();
const order = [...document.querySelectorAll(controls)].filter((control) =>
  control === focus || control === element || mayHaveFocus(control));
if (focus === document.body) return order.indexOf(element) + 1;
return order.indexOf(element) - order.indexOf(focus);
"""
TEXT = """
return [...document.querySelectorAll(arguments[0])].map((element) => element.innerText).join(" ")
  .replace(/\\s+/g, " ");
"""


class Window:
    """Every call first turns to this window; what waits does so for up to SECONDS.

    With `by_keyboard`, controls are reached by Tab and used by keys, else by the pointer.
    """

    def __init__(self, engine: Engine, handle: str, base_url: str) -> None:
        self.engine = engine
        self.handle = handle
        self.base_url = base_url
        self.by_keyboard = False

    @property
    def driver(self) -> Any:
        if self.engine.current != self.handle:
            self.engine.turn_to(self.handle)
        return self.engine.driver

    @property
    def path(self) -> str:
        """The path and query of the page."""
        return str(self.driver.current_url).removeprefix(self.base_url)

    def resize(self, width: int, height: int = 900) -> None:
        assert self.driver
        self.engine.resize(width, height)

    def open(self, path: str) -> None:
        self.driver.get(self.base_url + path)

    def script(self, script: str, *arguments: Any) -> Any:
        """What the body of a function returns in the page; a promise is awaited."""
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: Callable[[], T | None], what: str) -> T:
        """Wait until a condition is true, and return what it returns.

        Raises AssertionError, with the text of the page.
        """
        waiting = WebDriverWait(
            self.driver, SECONDS, poll_frequency=0.05, ignored_exceptions=PASSING
        )
        try:
            return waiting.until(lambda _driver: condition())  # type: ignore[return-value]
        except TimeoutException:
            text = self.text("main")
            raise AssertionError(f"{self.engine.name}: no {what} at {self.path}\n{text}") from None

    def find(self, name: str | None, selector: str = CONTROLS) -> Any:
        """The first shown element of that accessible name, once the page has loaded."""
        what = f"{selector} “{name}”"
        return self.until(lambda: self.script(FIND, selector, name), what)

    def text(self, selector: str = "body") -> str:
        """What is shown of all elements of a selector."""
        return str(self.script(TEXT, selector))

    def sees(self, words: str, selector: str = "body") -> None:
        self.until(lambda: words in self.text(selector), f"“{words}” in {selector}")

    def sees_no(self, words: str, selector: str = "body") -> None:
        self.until(lambda: words not in self.text(selector), f"{selector} without “{words}”")

    def count(self, selector: str) -> int:
        return int(
            self.script("return document.querySelectorAll(arguments[0]).length", selector) or 0
        )

    def press(self, *keys: str) -> None:
        """Press keys one after another, wherever the focus is."""
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def press_with(self, modifier: str, keys: str) -> None:
        actions = ActionChains(self.driver, duration=0)
        actions.key_down(modifier).send_keys(keys).key_up(modifier).perform()

    def reach(self, name: str, selector: str = CONTROLS) -> Any:
        """Move the focus by Tab alone to a control."""
        for _ in range(MAX_TURNS):
            element, distance = self.until(lambda: self._locate(name, selector), f"“{name}”")
            if not distance:
                return element
            # Half of the way, because not all that may have the focus gets it.
            tabs = Keys.TAB * ((abs(distance) + 1) // 2)
            if distance > 0:
                self.press(tabs)
            else:
                self.press_with(Keys.SHIFT, tabs)
        raise AssertionError(f"{self.engine.name}: Tab does not lead to “{name}” at {self.path}")

    def _locate(self, name: str, selector: str) -> tuple[Any, int]:
        element = self.find(name, selector)
        return element, self.script(DISTANCE, element, CONTROLS)

    def use(self, name: str, selector: str = CONTROLS) -> None:
        """Press a link, a button or a summary, or tick a box."""
        if self.by_keyboard:
            [is_box] = self.until(lambda: [self._is_box(name, selector)], f"“{name}”")
            self.press(Keys.SPACE if is_box else Keys.ENTER)
        else:
            self.until(lambda: self._click(name, selector), f"“{name}” to click")

    def _is_box(self, name: str, selector: str) -> bool:
        return self.reach(name, selector).get_attribute("type") in ("checkbox", "radio")

    def follow(self, name: str, selector: str = CONTROLS) -> None:
        """Use a control, and wait for the page that follows, also where it looks the same."""
        self.script("window.isLeft = true")
        self.use(name, selector)
        self.until(lambda: not self.script("return window.isLeft"), f"page behind “{name}”")

    def submit(self, name: str) -> None:
        """Press a button; a link of the same name is left alone."""
        self.use(name, "button")

    def _click(self, name: str, selector: str) -> bool:
        self.find(name, selector).click()
        return True

    def type(self, name: str, text: str) -> None:
        """Replace what a field holds."""
        selector = "input, textarea"
        if self.by_keyboard:
            field = self.reach(name, selector)
        else:
            field = self.find(name, selector)
            field.click()
        if field.get_property("value"):
            self.press_with(Keys.CONTROL, "a")
        self.press(*([text] if text else [Keys.DELETE]))

    def fill(self, name: str, value: str, selector: str = "input, select, textarea") -> None:
        """Set a field that each engine draws in its own way, such as a date, as a choice does."""
        self.script(
            """
            const [field, value] = arguments;
            field.value = value;
            for (const kind of ["input", "change"])
              field.dispatchEvent(new Event(kind, { bubbles: true }));
            """,
            self.find(name, selector),
            value,
        )

    def choose_file(self, name: str, file: Path) -> None:
        """Have the file chooser of a field return a file; no engine shows it under its driver."""
        self.find(name, "input[type=file]").send_keys(str(file))

    def download(self, name: str) -> str:
        """Use a link, and return the text of the file that it leads to."""
        self.use(name)
        file = self.until(self.engine.downloaded, "downloaded file")
        content = file.read_text("utf-8-sig")
        file.unlink()
        return content

    def value(self, name: str) -> str:
        """What a field holds."""
        return str(self.find(name, "input, select, textarea").get_property("value"))
