"""In Chromium: where no stream is to be had, the page asks, in the end less and less, and stops."""

import pytest
from flask import Flask
from playwright.sync_api import Page, Route, expect

from smstracker.live import event_stream
from smstracker.models.messages import Message
from tests.test_browser import new_page  # noqa: F401
from tests.test_browser_live import alice, message, page, row  # noqa: F401
from tests.test_live import learn

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

STREAM, ROWS = "**/messages/stream*", "**/messages/rows*"
CUT = "retry: 10\n\n"  # and nothing more, as a proxy does that wants no streams


def none(route: Route) -> None:
    route.fulfill(status=204)


def show(page: Page, is_shown: bool) -> None:  # noqa: F811
    """What the browser does when the reader goes to another tab, or comes back."""
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        not is_shown,
    )


def let_pass(page: Page, seconds: int) -> None:  # noqa: F811
    for _ in range(0, seconds, 6):
        page.clock.run_for(6000)
        page.wait_for_load_state("networkidle")


class Asked:
    """Counts what the page asks for."""

    def __init__(self, page: Page, address: str) -> None:  # noqa: F811
        self.count = 0
        page.on("request", lambda request: self._note(address.strip("*") in request.url))

    def _note(self, is_it: bool) -> None:
        self.count += is_it


def test_page_gives_up_although_something_waits(page: Page) -> None:  # noqa: F811
    page.route(STREAM, none)
    page.clock.install()
    page.reload()
    asked = Asked(page, ROWS)
    let_pass(page, 120)
    assert 5 <= asked.count <= 30
    let_pass(page, 540)
    seen = asked.count
    let_pass(page, 180)
    assert asked.count == seen


def test_reader_who_comes_back_sees_what_has_changed(
    page: Page,  # noqa: F811
    live: Flask,
    message: Message,  # noqa: F811
) -> None:
    learn(live, message, "failed")
    page.route(STREAM, none)
    page.clock.install()
    page.reload()
    let_pass(page, 90)  # nothing waits, so it has stopped to ask
    show(page, False)
    learn(live, message, "delivered")
    show(page, True)
    let_pass(page, 6)
    expect(row(page, message).locator(".status")).to_have_text("Delivered")


def test_stream_that_is_there_again_is_kept(
    page: Page,  # noqa: F811
    live: Flask,
    message: Message,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "LIFETIME", 1.0)
    page.clock.install()
    page.route(STREAM, lambda route: route.fulfill(body=CUT, content_type="text/event-stream"))
    with page.expect_request(ROWS):  # it has turned to asking
        page.reload()
        page.wait_for_timeout(500)
        page.clock.run_for(3000)
    page.unroute(STREAM)
    with page.expect_response(STREAM):
        page.clock.run_for(60_000)
    with page.expect_response(STREAM):  # the first has ended as it should
        pass
    learn(live, message, "delivered")
    page.wait_for_timeout(700)
    page.clock.run_for(1000)
    expect(row(page, message).locator(".status")).to_have_text("Delivered")


def test_page_asks_while_a_stream_does_not_even_begin(
    page: Page,  # noqa: F811
    live: Flask,
    message: Message,  # noqa: F811
) -> None:
    page.route(STREAM, lambda route: None)  # a proxy keeps all of it back
    page.clock.install()
    page.reload()
    learn(live, message, "delivered")
    let_pass(page, 18)
    expect(row(page, message).locator(".status")).to_have_text("Delivered")


def test_stream_that_outlives_itself_is_opened_again(
    page: Page,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "LIFETIME", 1000.0)
    page.clock.install()
    with page.expect_response(STREAM):
        page.reload()
    page.wait_for_timeout(200)
    with page.expect_response(STREAM):  # its connection is dead, and nobody has told
        page.clock.run_for(76_000)


def test_what_could_not_be_fetched_is_fetched_when_the_reader_comes_back(
    page: Page,  # noqa: F811
    live: Flask,
    message: Message,  # noqa: F811
) -> None:
    page.wait_for_timeout(600)
    page.evaluate("() => { window.real = fetch; window.fetch = () => Promise.reject('away'); }")
    learn(live, message, "delivered")
    page.wait_for_timeout(1000)
    show(page, False)
    page.evaluate("() => { window.fetch = real; }")
    show(page, True)
    expect(row(page, message).locator(".status")).to_have_text("Delivered")


def test_nothing_changes_after_the_pause_although_it_was_under_way(
    page: Page,  # noqa: F811
    live: Flask,
    message: Message,  # noqa: F811
) -> None:
    held: list[Route] = []
    page.wait_for_timeout(600)
    page.route(ROWS, lambda route: held.append(route))
    with page.expect_request(ROWS):
        learn(live, message, "delivered")
    switch = page.get_by_role("button", name="Pause updates")
    switch.click()
    held[0].continue_()
    page.wait_for_timeout(500)
    expect(row(page, message).locator(".status")).to_have_text("Waiting")
    page.unroute(ROWS)
    switch.click()
    expect(row(page, message).locator(".status")).to_have_text("Delivered")


def test_answer_that_never_comes_does_not_stop_the_page(
    page: Page,  # noqa: F811
    live: Flask,
    message: Message,  # noqa: F811
) -> None:
    page.clock.install()
    page.reload()
    page.wait_for_timeout(600)
    held: list[Route] = []
    page.route(ROWS, lambda route: route.continue_() if held else held.append(route))
    with page.expect_request(ROWS):
        learn(live, message, "delivered")
        page.wait_for_timeout(600)
        page.clock.run_for(1000)
    for _ in range(6):
        page.clock.run_for(6000)
        page.wait_for_timeout(100)
    expect(row(page, message).locator(".status")).to_have_text("Delivered")
