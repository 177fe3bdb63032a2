"""In Chromium, Firefox and WebKit: what the product is for, from the same code.

A wide window is used by keyboard alone, the narrowest by pointer. Only dates are set by script,
because each engine draws their fields in its own way; no driver shows a file chooser, so all three
are given the file's path.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from smstracker.clock import utcnow
from smstracker.models import Alert
from smstracker.simulator import SimulatorServer
from tests.alert_scenes import MINUTE, add_messages, storing
from tests.batches import number
from tests.browser.engines import ZONE, Engine
from tests.browser.windows import Window
from tests.serving import drain_mail
from tests.smtp_server import Inbox

pytestmark = pytest.mark.slow

ALICE = "alice@example.org"
ZONE_NAMES = (ZONE, "Asia/Calcutta")
DARK = "rgb(20, 23, 27)"
PEOPLE = f"phone,name\n{number(1)},Ann\n{number(2)},Zoë\n12,Bad\n"


@pytest.fixture(params=["wide", "narrow"])
def window(
    request: pytest.FixtureRequest, engine: Engine, open_window: Callable[..., Window]
) -> Window:
    window = open_window(1280 if request.param == "wide" else engine.narrowest)
    window.by_keyboard = request.param == "wide"
    return window


def ask_for_mail(window: Window, live: Flask) -> None:
    window.open("/")
    window.type("E-mail address", ALICE)
    window.submit("Send the mail")
    window.sees("Check your mail", "h1")
    drain_mail(live)


def open_menu(window: Window, wide_name: str) -> None:
    """Open a menu of the bar; a narrow window has only one."""
    window.use(wide_name if window.by_keyboard else "Menu", "summary")


def go(window: Window, page: str) -> None:
    """Follow a link of the navigation."""
    if not window.by_keyboard:
        open_menu(window, "")
    window.use(page, "nav a")
    window.sees(page, "h1")


def compose(window: Window, recipient: str, text: str) -> None:
    window.use("New message", "header a")
    window.sees("New message", "h1")
    window.type("To", recipient)
    window.type("Text", text)
    window.sees("1 segment", "#segments")
    window.submit("Send")


def sign_out(window: Window) -> None:
    open_menu(window, "Account")
    window.submit("Sign out")
    window.sees("Sign in", "h1")
    window.open("/messages")
    window.sees("Sign in", "h1")


def test_message_from_sign_in_to_sign_out(window: Window, live: Flask, inbox: Inbox) -> None:
    ask_for_mail(window, live)
    window.open(inbox.link)
    window.submit("Sign in")
    window.sees("No messages yet")
    send_and_send_again(window)
    add_messages(live, 60, status="delivered", body="An older message")
    find_messages(window)
    turn_pages(window)
    lines = window.download("CSV").splitlines()
    assert len(lines) == 1 + 63
    read_insights(window)
    sign_out(window)


def send_and_send_again(window: Window) -> None:
    compose(window, "(500) 555-0006", "Your glasses are ready ✓")
    # Nobody touches the page: it becomes true by itself.
    window.sees("Delivered to +1 500-555-0006", "h1")
    window.use("Technical details")
    window.sees("Technical details Status")
    compose(window, "+15005553003", "Are you there?")
    window.sees("Not delivered", "h1")
    window.sees("30003", ".verdict")
    window.use("Send again…")
    window.sees("Send this message again?", "h1")
    window.submit("Send again")
    window.sees("This is the second try of")
    window.sees("Not delivered", "h1")


def find_messages(window: Window) -> None:
    go(window, "Messages")
    window.type("Text, whole number, id or SID", "glasses")
    window.submit("Search")
    window.sees("Clear all", ".chips")
    assert window.count("#log > li") == 1
    window.use("Clear all")
    window.until(lambda: window.count("#log > li") == 50, "50 rows")
    today = utcnow().astimezone(ZoneInfo(ZONE)).date()
    window.use("More filters")
    assert window.value("First day") == ""
    assert window.value("Time zone") in ZONE_NAMES
    window.fill("First day", (today - timedelta(days=1)).isoformat())
    window.fill("Last day", today.isoformat())
    window.submit("Apply filters")
    window.sees("Clear all", ".chips")
    assert f"from={today - timedelta(days=1)}&to={today}&zone=Asia" in window.path
    window.sees("Failed 2", "#pills")
    window.use("Failed 2")
    window.until(lambda: window.count("#log > li") == 2, "two rows")
    window.use("Clear all")
    window.until(lambda: window.count("#log > li") == 50, "50 rows")


def turn_pages(window: Window) -> None:
    newest = window.text("#log > li:first-child")
    window.use("Older messages")
    window.until(lambda: window.count("#log > li") == 13, "13 rows")
    window.driver.back()
    window.until(lambda: window.count("#log > li") == 50, "50 rows")
    window.driver.forward()
    window.until(lambda: window.count("#log > li") == 13, "13 rows")
    window.use("Newer messages")
    window.until(lambda: window.count("#log > li") == 50, "50 rows")
    assert window.text("#log > li:first-child .to") in newest


def read_insights(window: Window) -> None:
    go(window, "Insights")
    window.until(lambda: window.value("Time zone") in ZONE_NAMES, "zone of the browser")
    window.sees("delivered, ")
    window.use("Show as a table")
    window.sees("Delivered", ".numbers table")
    window.use("Last 24 hours", ".filters a")
    window.sees("Last 24 hours, your own messages")
    assert window.count(".chart .segment") > 0


def test_administration_from_code_to_sign_out(
    window: Window,
    live: Flask,
    inbox: Inbox,
    simulator: SimulatorServer,
    running_worker: None,
    tmp_path: Path,
) -> None:
    live.test_cli_runner().invoke(args=["users", "add", ALICE, "--admin"])
    ask_for_mail(window, live)
    window.type("Six-digit code", inbox.code)
    window.submit("Sign in")
    window.sees("Messages", "h1")
    send_batch(window, simulator, tmp_path)
    read_connection(window)
    mute_alert(window, live)
    change_settings(window)
    add_and_revoke_token(window)
    sign_out(window)


def send_batch(window: Window, simulator: SimulatorServer, folder: Path) -> None:
    file = folder / "people.csv"
    file.write_text(PEOPLE)
    go(window, "Batches")
    window.use("New batch")
    window.sees("New batch", "h1")
    window.type("Text", "Dear ((name)), we are closed.")
    window.choose_file("File", file)
    window.submit("Check")
    window.sees("Dear Ann, we are closed.")
    window.sees("1 row cannot be sent")
    window.use("Next: row 3")
    window.sees("Dear Zoë, we are closed.")
    window.type("Type the number of messages", "2")
    window.submit("Send to 2 people")
    window.sees("Handed over", ".batch-state")
    assert simulator.ledger.wait_until_idle(30)
    window.follow("Refresh")
    window.sees("Delivered 2")
    lines = window.download("Your file with the outcomes").splitlines()
    assert [line.split(",")[4] for line in lines[1:3]] == ['"Delivered"', '"Delivered"']


def read_connection(window: Window) -> None:
    if window.by_keyboard:
        open_menu(window, "Admin")
    go(window, "Connection")
    window.sees("Callbacks accepted")
    window.sees("Last callback", ".verdict-line")


def mute_alert(window: Window, live: Flask) -> None:
    began_at = utcnow() - 42 * MINUTE
    times = {"began_at": began_at, "opened_at": began_at, "last_true_at": utcnow()}
    with storing(live) as session:
        session.add(Alert(rule="twilio-unreachable", subject="", counts={"workers": 1}, **times))
    if window.by_keyboard:
        open_menu(window, "Admin")
    go(window, "Alerts")
    window.use("Mute Twilio", "button")
    window.sees("Muted until", ".causes")
    window.use("Unmute Twilio", "button")
    window.sees("Mute for", ".causes")


def change_settings(window: Window) -> None:
    open_menu(window, "Account")
    window.use("Settings")
    window.sees("Settings", "h1")
    window.type("Time zone", "tokyo")
    window.find("Dark", "input").click()  # the arrow keys choose among radio buttons
    window.submit("Save")
    window.sees("Your settings are saved.")
    window.sees("of your settings: Asia/Tokyo (GMT+9)", "#zone")
    assert (
        window.script("return getComputedStyle(document.documentElement).backgroundColor") == DARK
    )


def add_and_revoke_token(window: Window) -> None:
    window.use("Add a token")
    window.sees("New token", "h1")
    window.type("Name", "Shop")
    window.submit("Add")
    window.sees("Token “Shop”", "h1")
    assert window.text("#secret").startswith("smst_")
    window.use("Settings", ".back a")
    window.sees("never used")
    window.use("Revoke the token Shop", "button")
    window.sees("None yet.")
