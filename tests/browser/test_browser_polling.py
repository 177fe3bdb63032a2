"""In Chromium: without a stream, the page polls ever more slowly and then stops."""

import pytest
from flask import Flask
from playwright.sync_api import Page, Route, expect

from smstracker.live import event_stream
from smstracker.models.messages import Message
from tests.browser.steps import row
from tests.stream_readers import append_status

pytestmark = pytest.mark.slow


STREAM, ROWS = "**/messages/stream*", "**/messages/rows*"
CUT_STREAM = "retry: 10\n\n"  # and no more, like a proxy that does not support streams


def answer_nothing(route: Route) -> None:
    route.fulfill(status=204)


def set_visible(page: Page, is_visible: bool) -> None:
    """Act like the browser when the reader leaves the tab or comes back."""
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        not is_visible,
    )


def advance_clock(page: Page, seconds: int) -> None:
    for _ in range(0, seconds, 6):
        page.clock.run_for(6000)
        page.wait_for_load_state("networkidle")


class RequestCounter:
    """Counts the requests of a page for an address."""

    def __init__(self, page: Page, address: str) -> None:
        self.count = 0
        page.on("request", lambda request: self._add(address.strip("*") in request.url))

    def _add(self, is_match: bool) -> None:
        self.count += is_match


def test_page_stops_polling_although_something_waits(page: Page) -> None:
    page.route(STREAM, answer_nothing)
    page.clock.install()
    page.reload()
    polls = RequestCounter(page, ROWS)
    advance_clock(page, 120)
    assert 5 <= polls.count <= 30
    advance_clock(page, 540)
    before = polls.count
    advance_clock(page, 180)
    assert polls.count == before


def test_page_updates_when_its_reader_comes_back(
    page: Page,
    live: Flask,
    message: Message,
) -> None:
    append_status(live, message, "failed")
    page.route(STREAM, answer_nothing)
    page.clock.install()
    page.reload()
    advance_clock(page, 90)  # nothing waits, so it has stopped polling
    set_visible(page, False)
    append_status(live, message, "delivered")
    set_visible(page, True)
    advance_clock(page, 6)
    expect(row(page, message).locator(".status")).to_have_text("Delivered")


def test_page_keeps_a_stream_that_works_again(
    page: Page,
    live: Flask,
    message: Message,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "LIFETIME", 1.0)
    page.clock.install()
    page.route(
        STREAM, lambda route: route.fulfill(body=CUT_STREAM, content_type="text/event-stream")
    )
    with page.expect_request(ROWS):  # it polls
        page.reload()
        page.wait_for_timeout(500)
        page.clock.run_for(3000)
    page.unroute(STREAM)
    with page.expect_response(STREAM):
        page.clock.run_for(60_000)
    with page.expect_response(STREAM):  # the first has ended as planned
        pass
    append_status(live, message, "delivered")
    page.wait_for_timeout(700)
    page.clock.run_for(1000)
    expect(row(page, message).locator(".status")).to_have_text("Delivered")


def test_page_polls_while_a_stream_does_not_open(
    page: Page,
    live: Flask,
    message: Message,
) -> None:
    page.route(STREAM, lambda route: None)  # like a proxy that holds everything back
    page.clock.install()
    page.reload()
    append_status(live, message, "delivered")
    advance_clock(page, 18)
    expect(row(page, message).locator(".status")).to_have_text("Delivered")


def test_stream_older_than_its_lifetime_is_opened_again(
    page: Page,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "LIFETIME", 1000.0)
    page.clock.install()
    with page.expect_response(STREAM):
        page.reload()
    page.wait_for_timeout(200)
    with page.expect_response(STREAM):  # its connection has died unnoticed
        page.clock.run_for(76_000)


def test_failed_fetch_is_repeated_when_the_reader_comes_back(
    page: Page,
    live: Flask,
    message: Message,
) -> None:
    page.wait_for_timeout(600)
    page.evaluate(
        "() => { window.originalFetch = fetch; window.fetch = () => Promise.reject('away'); }"
    )
    append_status(live, message, "delivered")
    page.wait_for_timeout(1000)
    set_visible(page, False)
    page.evaluate("() => { window.fetch = originalFetch; }")
    set_visible(page, True)
    expect(row(page, message).locator(".status")).to_have_text("Delivered")


def test_pause_drops_a_fetch_under_way(
    page: Page,
    live: Flask,
    message: Message,
) -> None:
    stalled: list[Route] = []
    page.wait_for_timeout(600)
    page.route(ROWS, lambda route: stalled.append(route))
    with page.expect_request(ROWS):
        append_status(live, message, "delivered")
    page.get_by_role("button", name="Pause updates").click()
    stalled[0].continue_()
    page.wait_for_timeout(500)
    expect(row(page, message).locator(".status")).to_have_text("Waiting")
    page.unroute(ROWS)
    page.get_by_role("button", name="Resume updates").click()
    expect(row(page, message).locator(".status")).to_have_text("Delivered")


def test_response_that_never_comes_does_not_stop_the_page(
    page: Page,
    live: Flask,
    message: Message,
) -> None:
    page.clock.install()
    page.reload()
    page.wait_for_timeout(600)
    stalled: list[Route] = []
    page.route(ROWS, lambda route: route.continue_() if stalled else stalled.append(route))
    with page.expect_request(ROWS):
        append_status(live, message, "delivered")
        page.wait_for_timeout(600)
        page.clock.run_for(1000)
    for _ in range(6):
        page.clock.run_for(6000)
        page.wait_for_timeout(100)
    expect(row(page, message).locator(".status")).to_have_text("Delivered")


def test_page_whose_windows_cannot_share_polls_and_opens_no_stream(
    page: Page, live: Flask, message: Message
) -> None:
    """Over plain http, but for this machine's own address, a browser has no Web Locks."""
    page.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    page.clock.install()
    page.reload()
    streams = RequestCounter(page, STREAM)
    append_status(live, message, "delivered")
    advance_clock(page, 6)
    expect(row(page, message).locator(".status")).to_have_text("Delivered")
    assert streams.count == 0
