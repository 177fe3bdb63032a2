"""In Chromium: plain characters in one click, notes while typing, send again, the error guide."""

import random

import pytest
from flask import Flask
from playwright.sync_api import expect

from smstracker.plain_text import LOOK_ALIKE, SPELLING, plain
from tests.inbox import Inbox
from tests.people import Client, Person
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
