"""Pictures of every page, light and dark, for desktop and phone: `make screenshots`.

`make screenshots ONLY=log` takes those whose names begin with "log". `tests.page_list` lists the
pages.
"""

import logging
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import time_machine
from playwright.sync_api import Browser, Page, sync_playwright

from tests.databases import migrate
from tests.page_list import PAGE_VIEWS, PICTURE_ONLY_VIEWS, PageView, open_page
from tests.served_apps import ServedApp, serve_installations

FOLDER = Path(__file__).parent / "screenshots"
# A fixed time, so that a picture changes only with its page.
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
WIDTHS = (1280, 360)
SCHEMES = ("light", "dark")
MAX_HEIGHT = 4000  # px; the rest of a long page looks alike
# The name of the picture in the README, and its height in px.
README_PICTURES = {
    "message-delivered": ("message", 640),
    "log": ("log", 640),
    "insights-many": ("insights", 804),
}


def take_pictures(browser: Browser, view: PageView, served_app: ServedApp) -> None:
    page = open_page(browser, view, served_app, timezone_id="UTC", reduced_motion="reduce")
    view.show(page, served_app)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 760})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            _take_picture(page, FOLDER / f"{view.name}-{scheme}-{width}.png", width)
    if view.name in README_PICTURES:
        name, height = README_PICTURES[view.name]
        page.set_viewport_size({"width": 1000, "height": height})
        page.emulate_media(color_scheme="light")
        page.screenshot(path=FOLDER / f"{name}-light.png")
    page.context.close()


def _take_picture(page: Page, path: Path, width: int) -> None:
    # A dialog covers the window, not the whole page.
    script = "document.querySelector('dialog[open]') ? 0 : document.documentElement.scrollHeight"
    height = min(page.evaluate(script), MAX_HEIGHT)
    clip = {"x": 0, "y": 0, "width": width, "height": max(height, 760)}
    page.screenshot(path=path, full_page=True, clip=clip)  # type: ignore[arg-type]


def main(prefix: str = "") -> None:
    FOLDER.mkdir(exist_ok=True)
    logging.disable(logging.CRITICAL)
    with (
        tempfile.TemporaryDirectory() as name,
        time_machine.travel(NOON, tick=True) as clock,
        sync_playwright() as playwright,
    ):
        migrated = Path(name) / "empty.sqlite"
        migrate(f"sqlite:///{migrated}")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        with serve_installations(migrated, Path(name), NOON) as served_apps:
            for view in (*PAGE_VIEWS, *PICTURE_ONLY_VIEWS):
                if view.name.startswith(prefix):
                    clock.move_to(NOON)
                    take_pictures(browser, view, served_apps[view.installation])
        browser.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
