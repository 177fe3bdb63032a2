"""In Chromium: plain characters in one click, notes while typing, send again, the error guide."""

import random
import re
from datetime import timedelta

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect

from smstracker.clock import utcnow
from smstracker.plain_text import LOOK_ALIKE, SPELLING, plain
from tests.houses import House
from tests.inbox import Inbox
from tests.people import Client, Person
from tests.scenes import Scene, look_in
from tests.stage import ALICE
from tests.test_before_sending import opt_out
from tests.test_browser import (  # noqa: F401
    NewPage,
    compose,
    new_page,
    sign_in,
)
from tests.test_seen import ALL_RULES, examine

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_one_click_makes_it_plain_and_undo_brings_it_back(
    new_page: NewPage,  # noqa: F811
    live: Flask,
    inbox: Inbox,
) -> None:
    page = new_page()
    sign_in(page, live, inbox)
    compose(page, "“Quotes” " + "a" * 80)
    expect(page.locator("#segments")).to_contain_text("2 segments")
    page.get_by_role("button", name="“ ×1").click()
    expect(page.get_by_label("Text")).to_have_value('"Quotes” ' + "a" * 80)
    page.get_by_role("button", name="Replace all (2 → 1 segment)").click()
    expect(page.locator("#segments")).to_have_text("GSM-7 · 1 segment · 89 of 160")
    page.get_by_label("Text").press("Control+z")
    expect(page.locator("#segments")).to_contain_text("2 segments")
    page.get_by_label("Text").fill("Same text")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Delivered to")
    compose(page, "Same text")
    expect(page.locator("#notes")).to_contain_text("You sent this text to this number")
    examine(page, "compose with a note", ALL_RULES)


def test_plain_text_is_the_same_in_the_browser(new_page: NewPage) -> None:  # noqa: F811
    page = new_page()
    page.goto("/auth/sign-in")
    chance = random.Random(5)
    letters = [*LOOK_ALIKE, *SPELLING, *"abc €\n", "😀", "👩‍🚀"]
    texts = ["".join(chance.choices(letters, k=chance.randrange(60))) for _ in range(3000)]
    found = page.evaluate(
        """async ([texts, table]) => {
            const { plain } = await import("/static/compose.js");
            return texts.map((text) => plain(text, table));
        }""",
        [texts, LOOK_ALIKE],
    )
    assert found == [plain(text) for text in texts]


def test_note_is_in_the_readers_zone_and_announced_once(
    new_page: NewPage,  # noqa: F811
    live: Flask,
    inbox: Inbox,
) -> None:
    live.test_client_class = Client
    opt_out(Person.signed_in(live, "alice@example.org"))
    page = new_page(timezone_id="Asia/Kolkata")
    sign_in(page, live, inbox)
    compose(page, "One")
    page.get_by_label("To").fill("+1 555 867 5310")
    note, said = page.locator("#notes"), page.locator("#notes-changed")
    expect(note).to_contain_text("GMT+5:30")
    expect(said).to_contain_text("Opted out of this sender")
    # Each would be read out by a screen reader.
    page.evaluate(
        """() => {
            window.changes = 0;
            const watch = new MutationObserver((all) => { window.changes += all.length; });
            for (const id of ["notes", "notes-changed"]) {
                watch.observe(document.getElementById(id), { childList: true, subtree: true });
            }
        }"""
    )
    with page.expect_response("**/messages/check"):
        page.get_by_label("Text").press_sequentially(" and two")
    expect(note).to_contain_text("GMT+5:30")
    assert page.evaluate("changes") == 0
    page.get_by_label("To").fill("+1 555 867 5311")
    expect(note).to_be_hidden()
    expect(said).to_be_empty()


def test_time_of_the_same_text_stays_true(
    new_page: NewPage,  # noqa: F811
    live: Flask,
    inbox: Inbox,
) -> None:
    live.test_client_class = Client
    alice = Person.signed_in(live, "alice@example.org")
    alice.has_message(created_at=utcnow() - timedelta(seconds=40))
    page = new_page()
    page.clock.install(time=utcnow() + timedelta(hours=1))  # a clock that is wrong
    sign_in(page, live, inbox)
    compose(page, "Hello")
    page.get_by_label("To").fill("+1 555 867 5310")
    page.clock.run_for(1_000)
    time = page.locator("#notes time[data-relative]:visible")
    expect(time).to_contain_text("4")
    expect(time).to_contain_text("seconds ago")
    page.clock.run_for(600_000)
    expect(time).to_have_text("10 minutes ago")
    expect(time).to_have_attribute("title", re.compile(r"\d\d:\d\d:\d\d"))


def test_enter_without_script_sends(
    new_page: NewPage,  # noqa: F811
    live: Flask,
    inbox: Inbox,
) -> None:
    page = new_page(java_script_enabled=False)
    sign_in(page, live, inbox)
    compose(page, "“Quoted”")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_role("button", name="Use plain characters")).to_be_visible()
    page.get_by_label("To").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("+1 500-555-0006")
    expect(page.get_by_text("“Quoted”")).to_be_visible()


def test_number_of_a_story_is_checked_too(
    street: dict[str, House],
    browser: Browser,
    database_url: str,
) -> None:
    scene = Scene("stories", "/messages/new", ALICE, "demo")
    page = look_in(browser, scene, street["demo"])
    scene.open(page, street["demo"])
    with page.expect_response("**/messages/check"):
        page.get_by_label("Text").fill("First the text, then the story")
    with page.expect_response("**/messages/check") as found:
        page.locator("[data-number] button").first.click()
    assert "recipient=%2B" in (found.value.request.post_data or "")
    page.context.close()


def test_form_shows_country_and_number_before_sending(
    new_page: NewPage,  # noqa: F811
    live: Flask,
    inbox: Inbox,
) -> None:
    page = new_page(viewport={"width": 360, "height": 800})
    sign_in(page, live, inbox)
    page.goto("/messages/new")
    recipient, understood = page.get_by_label("To", exact=True), page.locator("#understood")
    body = page.get_by_label("Text")
    place = body.bounding_box()
    recipient.fill("+44 (0)7911 123456")
    expect(understood).to_have_text("United Kingdom, Guernsey or Jersey: +44 7911 123456")
    examine(page, "understood", ALL_RULES)
    # What is typed on makes it another number, so the old one is gone at once.
    recipient.press("End")
    recipient.press("0")
    assert understood.inner_text() == ""
    recipient.fill("+491512345678.0")
    with page.expect_response("**/messages/check"):
        body.focus()
    expect(understood).to_contain_text("A spreadsheet has turned that number into a decimal")
    assert body.bounding_box() == place


@pytest.mark.parametrize("script", [True, False])
def test_failed_message_is_sent_again(
    new_page: NewPage,  # noqa: F811
    live: Flask,
    inbox: Inbox,
    script: bool,
) -> None:
    live.test_client_class = Client
    alice = Person.signed_in(live, "alice@example.org")
    message = alice.has_message(status="undelivered", error_code="30003")
    page = new_page(java_script_enabled=script, viewport={"width": 360, "height": 800})
    sign_in(page, live, inbox)
    page.goto(f"/messages/{message.public_id}")
    page.get_by_role("link", name="Send again").click()
    if script:
        examine(page, "send again?", ALL_RULES)
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("This is a second try of")).to_be_visible()
    page.goto("/help/errors")
    page.get_by_text("All codes").click()
    if script:
        examine(page, "/help/errors", ALL_RULES)
