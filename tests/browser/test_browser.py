"""In a real Chromium: the whole journey, with and without script."""

import random
from datetime import timedelta

import pytest
from flask import Flask
from playwright.sync_api import expect

from smstracker.clock import format_age, utcnow
from smstracker.sms.gsm_replacements import BROWSER_TABLES
from smstracker.sms.segments import GSM_BASIC, GSM_EXTENDED, count_segments
from tests.browser.axe_rules import ALL_RULES, examine
from tests.browser.steps import NewPage, compose, sign_in, sign_in_by_mail
from tests.serving import drain_mail
from tests.smtp_server import Inbox

pytestmark = pytest.mark.slow


@pytest.mark.smoke
def test_journey_from_mail_to_delivered(new_page: NewPage, live: Flask, inbox: Inbox) -> None:
    page = new_page()
    sign_in_by_mail(page, live, inbox)
    compose(page, "Your glasses are ready ✓")
    expect(page.locator("#segments")).to_have_text("UCS-2 · 1 segment · 24 of 70")
    expect(page.locator("#costly")).to_be_hidden()
    page.get_by_role("button", name="Send").click()
    # Nobody touches the page: it becomes true by itself.
    expect(page.get_by_role("heading", level=1)).to_contain_text("Delivered to +1 500-555-0006")
    timeline = page.get_by_role("list").filter(has_text="Saved here")
    for step in ("Queued", "Sent", "Delivered"):
        expect(timeline).to_contain_text(step)
    page.get_by_text("Technical details").last.click()
    expect(page.get_by_text("RawDlrDoneDate").first).to_be_visible()
    page.get_by_role("link", name="Messages", exact=True).click()
    expect(page.get_by_role("listitem").filter(has_text="Your glasses")).to_contain_text(
        "Delivered"
    )
    examine(page, "the log after a message", ALL_RULES)


def test_journey_without_script(
    new_page: NewPage,
    live: Flask,
    inbox: Inbox,
    simulator,  # type: ignore[no-untyped-def]
) -> None:
    page = new_page(java_script_enabled=False)
    sign_in_by_mail(page, live, inbox)
    compose(page, "Fenêtre")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#segments")).to_have_text("UCS-2 · 1 segment · 7 of 70")
    page.get_by_role("button", name="Send").click()
    assert simulator.ledger.wait_until_idle(30)
    page.get_by_role("link", name="Refresh").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Delivered to")
    page.get_by_text("Technical details").last.click()
    expect(page.get_by_text("RawDlrDoneDate").first).to_be_visible()
    page.locator(".account > summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto("/messages")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_code_signs_in(new_page: NewPage, live: Flask, inbox: Inbox) -> None:
    page = new_page()
    page.goto("/messages/new")
    page.get_by_label("E-mail address").fill("alice@example.org")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Six-digit code")).to_be_focused()
    drain_mail(live)
    page.keyboard.type(inbox.code)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="New message")).to_be_visible()


def test_double_click_sends_once(
    new_page: NewPage,
    live: Flask,
    simulator,  # type: ignore[no-untyped-def]
) -> None:
    page = new_page()
    sign_in(page, live)
    compose(page, "Twice?")
    page.get_by_role("button", name="Send").dblclick()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Delivered to")
    assert simulator.ledger.count_creates("+15005550006", "Twice?") == 1


def test_counting_is_the_same_in_the_browser(new_page: NewPage) -> None:
    page = new_page()
    page.goto("/auth/sign-in")
    chance = random.Random(11)
    cheap, costly = (
        sorted(GSM_BASIC) + sorted(GSM_EXTENDED),
        [*"çê’“✓窓", "😀", "👩‍🚀", "\u200b", "\t"],
    )
    texts = []
    for size in (*range(64, 74), *range(130, 138), *range(150, 164), *range(303, 309), 459, 460):
        for end in ("", "€", "😀", "ê", "\n", "\f", "e\u0301", "👩\u200d🚀"):
            texts += ["a" * size + end, "€" * (size // 2) + end, "😀" * (size // 2) + end + "a"]
    for size in (0, 1, *(chance.randrange(330) for _ in range(3000))):
        letters = cheap if chance.random() < 0.5 else cheap + costly * 3
        texts.append("".join(chance.choices(letters, k=size)))
    senders = ("+15005550006", "+18445550100")
    texts_and_senders = [(text, sender) for text in texts for sender in senders]
    counted = page.evaluate(
        """async ([texts, tables]) => {
            const { countSegments } = await import("/static/compose.js");
            const count = ([text, sender]) => countSegments(text, tables, sender);
            return texts.map((pair) => Object.values(count(pair)));
        }""",
        [texts_and_senders, BROWSER_TABLES],
    )
    for (text, sender), found in zip(texts_and_senders, counted, strict=True):
        expected = count_segments(text, sender)
        values = [expected.encoding, expected.count, expected.units, list(expected.costly)]
        assert found == [*values, expected.capacity]


def test_ages_are_the_same_in_the_browser(new_page: NewPage) -> None:
    page = new_page()
    page.goto("/auth/sign-in")
    chance = random.Random(12)
    edges = [size * count for size in (1, 60, 3600, 86_400) for count in (1, 2, 10)]
    ages = [edge * 1000 + shift for edge in edges for shift in (-1000, -1, 0, 1, 1000)]
    ages += [-5000, *(round(10 ** chance.uniform(0, 11)) for _ in range(1000))]
    script = """async (ages) => {
        const { formatAge } = await import("/static/times.js");
        return ages.map(formatAge);
    }"""
    now = utcnow()
    expected = [format_age(now - timedelta(milliseconds=age), now) for age in ages]
    assert page.evaluate(script, ages) == expected


def test_text_survives_a_sign_out_in_between(new_page: NewPage, live: Flask, inbox: Inbox) -> None:
    page = new_page()
    sign_in_by_mail(page, live, inbox)
    compose(page, "A long story")
    live.test_cli_runner().invoke(args=["users", "sign-out", "alice@example.org"])
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("signed out").first).to_be_visible()
    other = page.context.new_page()
    sign_in_by_mail(other, live, inbox)
    page.bring_to_front()
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_label("Text")).to_have_value("A long story")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Delivered to")
