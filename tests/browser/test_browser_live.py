"""In Chromium: the log and the page of a message update themselves, and nothing else moves."""

import re
from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from playwright.sync_api import Page, expect

from smstracker.clock import utcnow
from smstracker.live import event_stream
from smstracker.models.messages import Message
from smstracker.sms.status import PENDING_IS_UNKNOWN_AFTER
from tests.browser.steps import row
from tests.clients import Person
from tests.stream_readers import append_status

pytestmark = pytest.mark.slow

PAUSED = "Paused: this page does not change by itself."


def test_log_updates_by_itself_and_only_announces_new_messages(
    page: Page, live: Flask, alice: Person, message: Message
) -> None:
    expect(row(page, message).locator(".status")).to_have_text("Waiting")
    row(page, message).get_by_role("link").focus()
    page.wait_for_timeout(600)  # the stream is open and idle, as it is for a reader
    append_status(live, message, "delivered")
    expect(row(page, message).locator(".status")).to_have_text("Delivered")
    expect(page.get_by_role("link", name="Delivered 1")).to_be_visible()
    expect(page.locator("#live-status")).to_contain_text("Message to +1 555-867-5310: Delivered")
    expect(row(page, message).get_by_role("link")).to_be_focused()
    new = alice.has_message()
    append_status(live, new)
    expect(page.get_by_role("link", name="1 new message")).to_be_visible()
    expect(row(page, new)).to_have_count(0)
    assert page.evaluate("window.sameDocument") is True
    page.get_by_role("link", name="1 new message").click()
    expect(row(page, new)).to_be_visible()


def test_row_that_leaves_the_filter_stays_and_says_so(
    page: Page, live: Flask, message: Message
) -> None:
    page.goto("/messages?state=waiting")
    append_status(live, message, "delivered")
    expect(row(page, message)).to_contain_text("no longer in this list")
    expect(row(page, message)).to_contain_text("Delivered")


def test_pause_stops_updates_and_is_remembered(page: Page, live: Flask, message: Message) -> None:
    page.get_by_role("button", name="Pause updates").click()
    with page.expect_event("load"):
        page.reload()
    append_status(live, message, "delivered")
    page.wait_for_timeout(1000)
    expect(row(page, message).locator(".status")).to_have_text("Waiting")
    page.get_by_role("button", name="Resume updates").click()
    expect(row(page, message).locator(".status")).to_have_text("Delivered")


@pytest.mark.parametrize("path", ["/messages", "/messages/{0.public_id}"])
def test_paused_page_says_so_and_how_to_resume(page: Page, message: Message, path: str) -> None:
    page.goto(path.format(message))
    bar, announced = page.locator("#live-bar"), page.locator("#live-status")
    expect(bar.get_by_text("Paused")).to_be_hidden()
    page.get_by_role("button", name="Pause updates").focus()
    page.keyboard.press("Enter")
    expect(bar.get_by_text(PAUSED)).to_be_visible()
    expect(bar.get_by_text("Updated")).to_be_hidden()
    expect(announced).to_have_text(PAUSED)
    expect(page.get_by_role("button", name="Resume updates")).to_be_focused()
    with page.expect_event("load"):
        page.reload()
    expect(bar.get_by_text(PAUSED)).to_be_visible()
    expect(announced).to_be_empty()
    page.get_by_role("button", name="Resume updates").press("Space")
    expect(bar.get_by_text("Updated")).to_be_visible()
    expect(bar.get_by_text(PAUSED)).to_be_hidden()
    expect(announced).to_have_text("Updates resumed.")


def test_page_without_a_stream_polls_until_nothing_waits(
    page: Page, live: Flask, message: Message
) -> None:
    polls = 0

    def refuse(route) -> None:  # type: ignore[no-untyped-def]
        route.fulfill(status=204)

    def count(route) -> None:  # type: ignore[no-untyped-def]
        nonlocal polls
        polls += 1
        route.continue_()

    page.route("**/messages/stream*", refuse)
    page.route("**/messages/rows*", count)
    page.clock.install()
    page.reload()
    expect(row(page, message).locator(".status")).to_have_text("Waiting")
    append_status(live, message, "delivered")
    page.clock.run_for(3000)
    expect(row(page, message).locator(".status")).to_have_text("Delivered")
    for _ in range(10):
        page.clock.run_for(12_000)
        page.wait_for_load_state("networkidle")
    before = polls
    assert 2 <= before <= 12
    page.clock.run_for(120_000)
    assert polls - before <= 12


def test_page_of_a_message_updates_by_the_stream(page: Page, live: Flask, message: Message) -> None:
    page.goto(f"/messages/{message.public_id}")
    append_status(live, message, "sent")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Sent")
    page.get_by_text("Technical details").last.click()
    append_status(live, message, "delivered")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Delivered")
    expect(page.locator("main details").first).to_have_attribute("open", "")


def test_page_opens_a_stream_again_when_the_server_is_back(
    page: Page, live: Flask, message: Message
) -> None:
    append_status(live, message, "delivered")
    page.route("**/messages/stream*", lambda route: route.fulfill(status=204))
    page.clock.install()
    page.reload()
    expect(row(page, message).locator(".status")).to_have_text("Delivered")
    are_polls: list[bool] = []
    page.on("request", lambda request: are_polls.append("/rows" in request.url))
    for _ in range(10):
        page.clock.run_for(4000)
        page.wait_for_timeout(100)
    assert 1 <= sum(are_polls) <= 4  # nothing waits, so that is all
    page.unroute("**/messages/stream*")
    with page.expect_response("**/messages/stream*") as response:
        page.clock.run_for(21_000)  # a minute since there was no stream, and no more
    assert response.value.status == 200
    page.wait_for_timeout(300)
    append_status(live, message, "read")
    page.clock.run_for(1000)
    expect(row(page, message).locator(".status")).to_have_text("Read")


def test_page_of_a_message_shows_a_change_by_time_alone(
    page: Page, live: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "LIFETIME", 1.5)
    message = alice.has_message(status="pending", status_at=utcnow())
    page.goto(f"/messages/{message.public_id}")
    expect(page.locator("#live .status").first).to_have_text("Waiting")
    with time_machine.travel(utcnow() + PENDING_IS_UNKNOWN_AFTER):
        expect(page.locator("#live .status").first).to_contain_text("Outcome unknown")


def test_log_shows_a_change_by_time_alone(
    page: Page, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "LIFETIME", 1.5)
    paths: list[str] = []
    page.on("request", lambda request: paths.append(request.url.partition("?")[0][-14:]))
    long_ago = utcnow() - timedelta(hours=71)
    silent = alice.has_message(status="sent", status_at=long_ago)
    page.reload()
    expect(row(page, silent).locator(".status")).to_have_text("Sent, awaiting receipt")
    with time_machine.travel(utcnow() + timedelta(hours=1, seconds=1)):
        expect(row(page, silent).locator(".status")).to_have_text("Sent, no receipt")
        expect(page.get_by_role("link", name="No receipt 1")).to_be_visible()
    assert paths.count("/messages/rows") == 1


@pytest.mark.parametrize("width", [360, 1280])
def test_announcement_moves_no_row(page: Page, live: Flask, alice: Person, width: int) -> None:
    message = alice.messages()[0]
    page.set_viewport_size({"width": width, "height": 760})
    before = row(page, message).bounding_box()
    append_status(live, alice.has_message(), "sent")
    announcement = page.get_by_role("link", name="1 new message")
    expect(announcement).to_be_visible()
    assert row(page, message).bounding_box() == before
    for neighbour in (row(page, message).locator("p").first, page.get_by_role("link", name="All")):
        boxes = [announcement.bounding_box(), neighbour.bounding_box()]
        above, below = sorted(boxes, key=lambda box: box["y"])
        assert above["y"] + above["height"] <= below["y"]


@pytest.mark.parametrize("seconds", [12, 59 * 60])
def test_age_of_the_page_moves_no_row_of_a_phone(
    page: Page, message: Message, seconds: int
) -> None:
    page.set_viewport_size({"width": 360, "height": 760})
    page.clock.install()
    page.reload()
    before = row(page, message).bounding_box()
    page.clock.fast_forward(seconds * 1000)
    expect(page.locator(".updated")).to_have_text(re.compile(r"Updated \d+ (seconds|minutes) ago"))
    assert row(page, message).bounding_box() == before


def test_selected_text_stays(page: Page, live: Flask, message: Message) -> None:
    append_status(live, message, "undelivered")
    page.goto(f"/messages/{message.public_id}")
    page.get_by_text("Technical details").first.click()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('details dl'))")
    selected = page.evaluate("String(getSelection())")
    append_status(live, message, "delivered")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Delivered")
    assert page.evaluate("String(getSelection())") == selected
    expect(page.get_by_text("conflicting")).to_have_count(0)
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator(".timeline")).to_contain_text("conflicting")


def test_focus_stays_on_its_pill_when_another_pill_goes(
    page: Page, live: Flask, alice: Person
) -> None:
    alice.has_message(status="canceled")
    unknown = alice.has_message(status="unknown")
    page.reload()
    page.get_by_role("link", name="Cancelled 1").focus()
    append_status(live, unknown, "delivered")
    expect(page.get_by_role("link", name="Unknown 1")).to_have_count(0)
    expect(page.get_by_role("link", name="Cancelled 1")).to_be_focused()
