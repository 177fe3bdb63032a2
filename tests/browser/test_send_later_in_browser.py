"""In Chromium: the time of a message for later, and the zone beside it, are one moment."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from playwright.sync_api import Page, expect
from sqlalchemy import update

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import User
from tests.browser.steps import NewPage, compose, sign_in
from tests.clients import Person

pytestmark = pytest.mark.slow

BERLIN = "Europe/Berlin"
SCRIPT = {"timezone_id": BERLIN}
NO_SCRIPT = SCRIPT | {"java_script_enabled": False}
TOMORROW = (utcnow() + timedelta(days=1)).date()


def in_zone(zone: str, hour: int, minute: int) -> datetime:
    return datetime.combine(TOMORROW, time(hour, minute), ZoneInfo(zone)).astimezone(UTC)


def plan(page: Page, clock: str) -> None:
    compose(page, "The shop opens later today.")
    page.get_by_text("Send later").click()
    page.get_by_label("Day").fill(TOMORROW.isoformat())
    page.get_by_label("Time", exact=True).fill(clock)


def expect_moment(page: Page, clock: str, zone: str) -> None:
    expect(page.get_by_label("Day")).to_have_value(TOMORROW.isoformat())
    expect(page.get_by_label("Time", exact=True)).to_have_value(clock)
    expect(page.get_by_label("Time zone")).to_have_value(zone)


@pytest.mark.parametrize(
    ("options", "own_zone", "zone"),
    [
        (SCRIPT, None, BERLIN),
        (SCRIPT, "Asia/Tokyo", "Asia/Tokyo"),
        (NO_SCRIPT, None, "UTC"),
        (NO_SCRIPT, "Asia/Tokyo", "Asia/Tokyo"),
    ],
)
def test_planned_time_is_edited_in_the_zone_in_which_it_was_typed(
    new_page: NewPage,
    live: Flask,
    alice: Person,
    options: dict[str, object],
    own_zone: str | None,
    zone: str,
) -> None:
    with live.app_context(), db.engine.begin() as connection:
        connection.execute(update(User).values(time_zone=own_zone))
    page = new_page(**options)
    sign_in(page, live)
    plan(page, "19:30")
    expect_moment(page, "19:30", zone)
    page.locator("#compose .actions button").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Scheduled to be sent")
    assert alice.message().send_at == in_zone(zone, 19, 30)
    page.get_by_role("link", name="Edit…").click()
    expect_moment(page, "19:30", zone)
    page.get_by_label("Text").fill("Closed today.")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Scheduled to be sent")
    assert alice.message().send_at == in_zone(zone, 19, 30)
    page.get_by_role("link", name="Edit…").click()
    page.get_by_label("Time", exact=True).fill("20:45")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".verdict")).to_contain_text("20:45")
    assert alice.message().send_at == in_zone(zone, 20, 45)


@pytest.mark.parametrize("options", [SCRIPT, NO_SCRIPT])
def test_refused_time_stays_as_it_was_typed(
    new_page: NewPage, live: Flask, alice: Person, options: dict[str, object]
) -> None:
    page = new_page(**options)
    sign_in(page, live)
    plan(page, "19:30")
    page.get_by_label("Time zone").fill("UTC")
    page.get_by_label("To").fill("12")
    page.locator("#compose .actions button").first.click()
    expect(page.locator("#recipient-error")).to_be_visible()
    expect_moment(page, "19:30", "UTC")


def test_time_typed_in_another_zone_is_the_same_moment_after_going_back(
    new_page: NewPage, live: Flask, alice: Person
) -> None:
    page = new_page(**SCRIPT)
    sign_in(page, live)
    plan(page, "19:30")
    page.get_by_label("Time zone").fill("UTC")
    page.get_by_role("button", name="Schedule").click()
    expect(page.get_by_role("link", name="Edit…")).to_be_visible()
    page.go_back()
    expect_moment(page, "19:30", "UTC")
    page.go_forward()
    page.get_by_role("link", name="Edit…").click()
    expect_moment(page, "20:30", BERLIN)
    page.get_by_label("Time zone").fill("Asia/Tokyo")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="Edit…")).to_be_visible()
    assert alice.message().send_at == in_zone("Asia/Tokyo", 20, 30)
    page.go_back()
    expect_moment(page, "12:30", BERLIN)


def test_button_says_that_a_message_is_scheduled(new_page: NewPage, live: Flask) -> None:
    page = new_page(**SCRIPT)
    sign_in(page, live)
    compose(page, "Hello")
    button = page.locator("#compose .actions button").first
    expect(button).to_have_text("Send")
    page.get_by_text("Send later").click()
    page.get_by_label("Day").fill(TOMORROW.isoformat())
    expect(button).to_have_text("Schedule")
    page.get_by_label("Day").fill("")
    expect(button).to_have_text("Send")
