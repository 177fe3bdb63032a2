"""Pictures of every page, light and dark, on a desk and on a phone: `make screenshots`.

`make screenshots ONLY=log` takes those alone whose names begin so. What is to be seen is a line
in `tests.page_list`.
"""

import logging
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import time_machine
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import migrate
from tests.page_list import MOMENTS, SCENES, Scene, look_in
from tests.served_apps import ServedApp, houses

FOLDER = Path(__file__).parent / "screenshots"
# The same moment every time, so that a picture changes only when its page does.
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
WIDTHS = (1280, 360)
SCHEMES = ("light", "dark")
HIGHEST = 4000  # px; the rest of a very long page looks like what is above it
# The name there, and how much of the page.
README = {
    "message-delivered": ("message", 640),
    "log": ("log", 640),
    "insights-many": ("insights", 780),
}


def take(browser: Browser, scene: Scene, house: ServedApp) -> None:
    page = look_in(browser, scene, house, timezone_id="UTC", reduced_motion="reduce")
    scene.open(page, house)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 760})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            _shoot(page, FOLDER / f"{scene.name}-{scheme}-{width}.png", width)
    if scene.name in README:
        name, height = README[scene.name]
        page.set_viewport_size({"width": 1000, "height": height})
        page.emulate_media(color_scheme="light")
        page.screenshot(path=FOLDER / f"{name}-light.png")
    page.context.close()


def _shoot(page: Page, path: Path, width: int) -> None:
    # What lies over the page lies over the window alone.
    script = "document.querySelector('dialog[open]') ? 0 : document.documentElement.scrollHeight"
    height = min(page.evaluate(script), HIGHEST)
    clip = {"x": 0, "y": 0, "width": width, "height": max(height, 760)}
    page.screenshot(path=path, full_page=True, clip=clip)  # type: ignore[arg-type]


def main(beginning: str = "") -> None:
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
        with houses(migrated, Path(name), NOON) as open_houses:
            for scene in (*SCENES, *MOMENTS):
                if scene.name.startswith(beginning):
                    clock.move_to(NOON)
                    take(browser, scene, open_houses[scene.house])
        browser.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
