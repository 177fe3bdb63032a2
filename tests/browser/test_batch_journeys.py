"""In a real Chromium: a file of people becomes messages, with script and without."""

from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from smstracker.batches.table import MAX_FILE_BYTES
from smstracker.simulator import SimulatorServer
from tests.batches import number
from tests.browser.axe_rules import ALL_RULES, examine
from tests.browser.steps import NewPage, sign_in

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("running_worker")]

PEOPLE = f"phone,name\n{number(1)},Ann\n{number(2)},Zoë\n12,Bad\n"


def upload(page: Page) -> None:
    page.get_by_role("link", name="Batches").first.click()
    page.get_by_role("link", name="New batch").click()
    page.get_by_label("Text", exact=True).fill("Dear ((name)), we are closed.")
    file = {"name": "people.csv", "mimeType": "text/csv", "buffer": PEOPLE.encode()}
    page.get_by_label("File").set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name="Check").click()


def send(page: Page) -> None:
    expect(page.get_by_text("Dear Ann, we are closed.")).to_be_visible()
    expect(page.get_by_role("heading", name="1 row cannot be sent")).to_be_visible()
    page.get_by_label("Type the number of messages").fill("2")
    page.get_by_role("button", name="Send to 2 people").click()


def test_journey_from_a_file_to_its_outcomes(
    new_page: NewPage, live: Flask, simulator: SimulatorServer
) -> None:
    page = new_page(accept_downloads=True)
    sign_in(page, live)
    upload(page)
    # Nobody touches the page while the file is checked and while it is sent.
    expect(page.get_by_text("Dear Ann, we are closed.")).to_be_visible()
    expect(page.locator(".batch-state")).to_be_focused()
    send(page)
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.locator(".batch-state")).to_have_text("Handed over", timeout=30_000)
    assert simulator.ledger.wait_until_idle(30)
    page.get_by_role("link", name="Refresh").click()
    expect(page.locator("dt", has_text="Delivered").locator("+ dd")).to_have_text("2")
    examine(page, "a batch that is handed over", ALL_RULES)
    with page.expect_download() as download:
        page.get_by_role("link", name="Your file with the outcomes").click()
    lines = download.value.path().read_text("utf-8-sig").splitlines()
    assert [line.split(",")[4] for line in lines[1:3]] == ['"Delivered"', '"Delivered"']
    page.get_by_role("link", name="Its messages in the log").click()
    expect(page.locator(".log > li")).to_have_count(2)


def test_journey_of_a_file_without_script(
    new_page: NewPage, live: Flask, simulator: SimulatorServer
) -> None:
    page = new_page(java_script_enabled=False)
    sign_in(page, live)
    upload(page)
    # The page asks for itself again by its header.
    expect(page.get_by_text("Ready, not sent")).to_be_visible(timeout=30_000)
    send(page)
    expect(page.get_by_text("2 of 2").first).to_be_visible(timeout=30_000)
    assert simulator.ledger.wait_until_idle(30)
    page.get_by_role("link", name="Refresh").click()
    expect(page.locator("dt", has_text="Delivered").locator("+ dd")).to_have_text("2")


def test_file_that_has_to_be_corrected_says_so_in_the_form(new_page: NewPage, live: Flask) -> None:
    page = new_page()
    sign_in(page, live)
    page.goto("/batches/new")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("Choose a file, or paste numbers below.")).to_be_visible()
    expect(page.get_by_label("Text", exact=True)).to_be_focused()
    page.get_by_label("Text", exact=True).fill("Hi ((nmae))")
    page.get_by_label("Or paste numbers").fill(PEOPLE)
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("Did you mean ((name))?")).to_be_visible(timeout=20_000)


def test_quiet_hours_are_in_the_zone_of_the_browser(new_page: NewPage, live: Flask) -> None:
    page = new_page(timezone_id="Europe/Berlin")
    sign_in(page, live)
    page.goto("/batches/new")
    expect(page.locator("[name=quiet_zone]")).to_have_value("Europe/Berlin")


def test_too_large_file_is_told_before_it_is_uploaded(
    new_page: NewPage, live: Flask, tmp_path: Path
) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    page = new_page()
    sign_in(page, live)
    page.get_by_role("link", name="Batches").first.click()
    page.get_by_role("link", name="New batch").click()
    page.get_by_label("Text", exact=True).fill("Dear ((name)), we are closed.")
    page.get_by_label("File").set_input_files(file)
    notice = page.get_by_text("The file has 26 MB; at most 25 MB can be read.")
    expect(notice).to_be_visible()
    page.get_by_role("button", name="Check").click()
    expect(notice).to_be_visible()
    expect(page.get_by_label("Text", exact=True)).to_have_value("Dear ((name)), we are closed.")


@pytest.mark.parametrize("width", [360, 1280])
def test_links_to_other_rows_stand_under_the_text(
    new_page: NewPage, live: Flask, width: int
) -> None:
    page = new_page()
    sign_in(page, live)
    upload(page)
    following = page.get_by_role("link", name="Next: row 3")
    expect(following).to_be_visible()
    page.set_viewport_size({"width": width, "height": 760})
    text, link, field, show = (
        place.bounding_box()
        for place in (
            page.get_by_text("Dear Ann, we are closed."),
            following,
            page.get_by_label("Row of the file"),
            page.get_by_role("button", name="Show", exact=True),
        )
    )
    assert text and link and field and show  # noqa: PT018
    assert link["x"] == text["x"]
    assert link["y"] + link["height"] <= field["y"]
    assert show["y"] < field["y"] + field["height"], "beside the field"
