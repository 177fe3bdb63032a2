"""In Chromium: plain characters in one click, notes while typing, send again, the error guide."""

import random
import re
from datetime import timedelta

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect

from smstracker.clock import utcnow
from smstracker.sms.gsm_replacements import (
    BROWSER_TABLES,
    LOOK_ALIKE,
    SHAPING,
    SPELLING,
    cost_advice,
)
from smstracker.sms.segments import count_segments
from smstracker.web_templates import advice_line, offer_line, segment_line
from tests.browser.axe_rules import ALL_RULES, examine
from tests.browser.steps import NewPage, compose, sign_in
from tests.clients import Client, Person
from tests.page_list import PageView, open_page
from tests.sample_messages import ALICE
from tests.served_apps import ServedApp

pytestmark = pytest.mark.slow


def test_one_click_makes_it_plain_and_undo_brings_it_back(
    new_page: NewPage,
    live: Flask,
) -> None:
    page = new_page()
    sign_in(page, live)
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
    expect(page.locator("#warnings")).to_contain_text("You sent this text to this number")
    examine(page, "compose with a note", ALL_RULES)


def test_advice_is_shown_only_while_it_saves_a_segment(
    new_page: NewPage,
    live: Flask,
) -> None:
    page = new_page()
    sign_in(page, live)
    compose(page, "It’s short")
    advice, replace_all = page.locator("#costly"), page.locator("#replace-all")
    expect(page.locator("#segments")).to_contain_text("UCS-2 · 1 segment")
    expect(advice).to_be_hidden()
    expect(replace_all).to_be_hidden()
    page.get_by_label("Text").fill("cafe\u0301 ça " + "a" * 80)
    expect(advice).to_contain_text("(2 segments, 1 with all of them replaced)")
    expect(replace_all).to_be_hidden()
    page.get_by_role("button", name="ç ×1 → c (changes the spelling)").click()
    expect(replace_all).to_have_text("Replace all (2 → 1 segment)")
    page.get_by_role("button", name="é (U+0065 U+0301) ×1 → é").click()
    expect(page.get_by_label("Text")).to_have_value("café ca " + "a" * 80)
    expect(advice).to_be_hidden()
    page.get_by_label("Text").fill("It’s 🚀 " + "a" * 80)
    expect(advice).to_contain_text("1 with all of them replaced or left out")
    expect(replace_all).to_be_hidden()
    page.get_by_label("Pictures").fill("https://a.example/1.jpg")
    expect(page.locator("#segments")).to_have_text(
        re.compile(r"^MMS\s· charged by the message, not by segments\s· \d+ of 1,600 characters$")
    )
    expect(advice).to_be_hidden()


def test_text_that_is_too_long_is_told_while_it_is_typed(
    new_page: NewPage,
    live: Flask,
) -> None:
    page = new_page()
    sign_in(page, live)
    compose(page, "x" * 1600)
    problem = page.locator("#too-long")
    expect(page.locator("#segments")).to_have_text("GSM-7 · 11 segments · 1,600 of 1,683")
    expect(problem).to_be_hidden()
    page.get_by_label("Text").fill("🚀" * 1700)
    expect(problem).to_have_text("1,700 characters: 100 more than one message can hold.")
    forecast = segment_line(count_segments("🚀" * 1700), is_too_long=True)
    expect(page.locator("#segments")).to_have_text(forecast)
    page.get_by_label("Pictures").fill("https://a.example/1.jpg")
    expect(page.locator("#segments")).to_contain_text("1,700 of 1,600 characters")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#body-error")).to_have_text(
        "1,700 characters: 100 more than one message can hold."
    )
    expect(problem).to_be_hidden()
    page.get_by_label("Text").fill("x" * 1601)
    expect(problem).to_have_text("1,601 characters: 1 more than one message can hold.")


def test_advice_is_the_same_in_the_browser(new_page: NewPage) -> None:
    page = new_page()
    page.goto("/auth/sign-in")
    chance = random.Random(5)
    cheap = [*"abcdefgh €\n"]
    costly = [
        *LOOK_ALIKE,
        *SHAPING,
        *SPELLING,
        *"êếžﬁＡ𝐇ΩﬆⅣжé",
        "😀",
        "👩‍🚀",
        "❤\ufe0f",
        "e\u0301",
        "x\u0301",
    ]
    costly += ["\u1112\u1161\u11ab", "1\ufe0f\u20e3", "\u0301", "你"]
    texts = []
    for _ in range(3000):
        few = chance.sample(costly, chance.randrange(4))
        length = chance.choice((60, 75, 140, 165, 310))
        texts.append(
            "".join(
                chance.choice(few or cheap) if chance.random() < 0.2 else chance.choice(cheap)
                for _ in range(length)
            )
        )
    texts += ["".join(chance.choices(costly, k=chance.randrange(150))) for _ in range(500)]
    texts += ["’" + "a" * 9_999, "’" + "a" * 10_000]
    found = page.evaluate(
        """async ([texts, tables]) => {
            const { costAdvice, adviceLine, offerLine } = await import("/static/compose.js");
            return texts.map((text) => {
                const advice = costAdvice(text, tables);
                return advice && [adviceLine(advice), advice.plain,
                    ...advice.offers.map((offer) => offerLine(offer, tables))];
            });
        }""",
        [texts, BROWSER_TABLES],
    )
    assert found == [lines(text) for text in texts]
    assert sum(advice is not None for advice in found) > 300


def lines(text: str) -> list[str | None] | None:
    advice = cost_advice(text)
    return advice and [advice_line(advice), advice.plain, *map(offer_line, advice.offers)]


def test_note_is_in_the_readers_zone_and_announced_once(
    new_page: NewPage,
    live: Flask,
) -> None:
    live.test_client_class = Client
    Person.signed_in(live, "alice@example.org").has_opt_out()
    page = new_page(timezone_id="Asia/Kolkata")
    sign_in(page, live)
    compose(page, "One")
    page.get_by_label("To").fill("+1 555 867 5310")
    warnings, announcement = page.locator("#warnings"), page.locator("#warnings-changed")
    expect(warnings).to_contain_text("GMT+5:30")
    expect(announcement).to_contain_text("Opted out of this sender")
    # Each would be read out by a screen reader.
    page.evaluate(
        """() => {
            window.changes = 0;
            const watch = new MutationObserver((all) => { window.changes += all.length; });
            for (const id of ["warnings", "warnings-changed"]) {
                watch.observe(document.getElementById(id), { childList: true, subtree: true });
            }
        }"""
    )
    with page.expect_response("**/messages/check"):
        page.get_by_label("Text").press_sequentially(" and two")
    expect(warnings).to_contain_text("GMT+5:30")
    assert page.evaluate("changes") == 0
    page.get_by_label("To").fill("+1 555 867 5311")
    expect(warnings).to_be_hidden()
    expect(announcement).to_be_empty()


def test_time_of_the_same_text_stays_true(
    new_page: NewPage,
    live: Flask,
) -> None:
    live.test_client_class = Client
    alice = Person.signed_in(live, "alice@example.org")
    alice.has_message(created_at=utcnow() - timedelta(seconds=40))
    page = new_page()
    page.clock.install(time=utcnow() + timedelta(hours=1))  # a clock that is wrong
    sign_in(page, live)
    compose(page, "Hello")
    page.get_by_label("To").fill("+1 555 867 5310")
    page.clock.run_for(1_000)
    time = page.locator("#warnings time[data-relative]:visible")
    expect(time).to_contain_text("4")
    expect(time).to_contain_text("seconds ago")
    page.clock.run_for(600_000)
    expect(time).to_have_text("10 minutes ago")
    expect(time).to_have_attribute("title", re.compile(r"\d\d:\d\d:\d\d"))


def test_enter_without_script_sends(
    new_page: NewPage,
    live: Flask,
) -> None:
    page = new_page(java_script_enabled=False)
    sign_in(page, live)
    compose(page, "“Quoted” " + "a" * 70)
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_role("button", name="Use plain characters")).to_be_visible()
    page.get_by_label("To").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("+1 500-555-0006")
    expect(page.get_by_text("“Quoted” aaa")).to_be_visible()


def test_number_of_a_scenario_is_checked_too(
    installations: dict[str, ServedApp],
    browser: Browser,
) -> None:
    view = PageView("scenarios", "/messages/new", ALICE, "demo")
    page = open_page(browser, view, installations["demo"])
    view.show(page, installations["demo"])
    with page.expect_response("**/messages/check"):
        page.get_by_label("Text").fill("First the text, then the scenario")
    expect(page.get_by_text("Press one to fill it in.")).to_be_visible()
    with page.expect_response("**/messages/check") as response:
        page.locator("[data-number] button").first.click()
    assert "recipient=%2B" in (response.value.request.post_data or "")
    page.context.close()


def test_form_shows_country_and_number_before_sending(
    new_page: NewPage,
    live: Flask,
) -> None:
    page = new_page(viewport={"width": 360, "height": 800})
    sign_in(page, live)
    page.goto("/messages/new")
    recipient, summary = page.get_by_label("To", exact=True), page.locator("#recipient-summary")
    body = page.get_by_label("Text")
    place = body.bounding_box()
    recipient.fill("+44 (0)7911 123456")
    expect(summary).to_have_text("United Kingdom, Guernsey or Jersey: +44 7911 123456")
    examine(page, "recipient-summary", ALL_RULES)
    # What is typed on makes it another number, so the old one is gone at once.
    recipient.press("End")
    recipient.press("0")
    assert summary.inner_text() == ""
    recipient.fill("+491512345678.0")
    with page.expect_response("**/messages/check"):
        body.focus()
    expect(summary).to_contain_text("A spreadsheet has turned that number into a decimal")
    assert body.bounding_box() == place


@pytest.mark.parametrize("script", [True, False])
def test_failed_message_is_sent_again(
    new_page: NewPage,
    live: Flask,
    script: bool,
) -> None:
    live.test_client_class = Client
    alice = Person.signed_in(live, "alice@example.org")
    message = alice.has_message(status="undelivered", error_code="30003")
    page = new_page(java_script_enabled=script, viewport={"width": 360, "height": 800})
    sign_in(page, live)
    page.goto(f"/messages/{message.public_id}")
    page.get_by_role("link", name="Send again").click()
    if script:
        examine(page, "send again?", ALL_RULES)
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("This is the second try of")).to_be_visible()
    page.goto("/help/errors")
    page.get_by_text("Pictures (").click()
    if script:
        examine(page, "/help/errors", ALL_RULES, "details[open]")
