"""Pictures of the pages, taken in the running demo: `make screenshots`."""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.process import Process

FOLDER = Path(__file__).parent / "screenshots"
MESSAGES = (
    ("+1 500 555 0004", "Your order has been sent."),
    ("+1 500 555 3006", "Please call us back about your appointment."),
    ("+1 500 555 0100", "The workshop is closed on Friday."),
    ("+1 500 555 0110", "Your parcel is at the door."),
    ("+1 500 555 0103", "Hi Anna, your glasses are ready. See you soon!"),
)


def sign_in(page: Page) -> None:
    page.goto("/")
    page.get_by_label("E-mail address").fill("me@home.example")
    page.get_by_role("button", name="Send the mail").click()
    page.get_by_role("link", name="mailbox").click()
    page.locator('a[href*="/auth/link/"]').first.click()
    page.get_by_role("button", name="Sign in").click()


def send(page: Page, number: str, text: str) -> None:
    page.goto("/messages/new")
    page.get_by_label("To", exact=True).fill(number)
    page.get_by_label("Text").fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def take(page: Page, scheme: str) -> None:
    sign_in(page)
    for number, text in MESSAGES:
        send(page, number, text)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Delivered to", timeout=20_000)
    page.screenshot(path=FOLDER / f"message-{scheme}.png")
    page.goto("/messages")
    page.screenshot(path=FOLDER / f"log-{scheme}.png")
    page.goto("/callbacks")
    page.screenshot(path=FOLDER / f"connection-{scheme}.png")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        process = Process(Path(folder))
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        try:
            process.wait_for("smstracker is running")
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    base_url=process.url,
                    color_scheme=scheme,
                    viewport={"width": 1000, "height": 640},
                )
                take(context.new_page(), scheme)
                context.close()
        finally:
            browser.close()
            process.kill()


if __name__ == "__main__":
    sys.exit(main())
