"""What a reader does in a browser, in several tests."""

from collections.abc import Callable

from flask import Flask
from playwright.sync_api import Locator, Page, expect

from smstracker.models.messages import Message
from tests.clients import SESSION_COOKIE, Person
from tests.serving import drain_mail
from tests.smtp_server import Inbox

NewPage = Callable[..., Page]


def sign_in(page: Page, live: Flask, email: str = "alice@example.org") -> None:
    """Open the log as one who has signed in before."""
    value = Person.signed_in(live, email).session_cookie
    url = live.config["SETTINGS"].public_base_url
    page.context.add_cookies([{"name": SESSION_COOKIE, "value": value, "url": url}])
    page.goto("/messages")
    page.wait_for_load_state()  # the scripts listen


def sign_in_by_mail(
    page: Page, live: Flask, inbox: Inbox, email: str = "alice@example.org"
) -> None:
    page.goto("/")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_role("button", name="Send the mail").click()
    expect(page.get_by_label("Six-digit code")).to_be_visible()
    drain_mail(live)
    page.goto(inbox.link)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Messages", exact=True)).to_be_visible()
    page.wait_for_load_state()  # the scripts listen


def compose(page: Page, text: str) -> None:
    page.get_by_role("link", name="New message").first.click()
    page.wait_for_load_state()
    page.get_by_label("To").fill("(500) 555-0006")
    page.get_by_label("Text").fill(text)


def row(page: Page, message: Message) -> Locator:
    """The row of a message in the log."""
    return page.locator(f'[data-id="{message.public_id}"]')
