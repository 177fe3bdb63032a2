"""In each engine: the windows of a browser share one event stream, and none misses a change."""

import time
from collections.abc import Callable

import pytest
from flask import Flask

from smstracker.models.messages import Message
from tests.browser.engines import Engine
from tests.browser.window_steps import await_streams, open_signed_in
from tests.browser.windows import Window
from tests.clients import Person
from tests.stream_readers import append_status

pytestmark = pytest.mark.slow

OpenWindow = Callable[..., Window]

# More than an engine opens connections to one host over HTTP/1.1; WebKit opens windows slowly.
WINDOWS = {"chromium": 12, "firefox": 12, "webkit": 8}
NOTE_CHANGES = """
document.addEventListener("page-changed", () => { window.changedAt = Date.now(); });
"""
# Pauses or resumes updates: WebKit loses a click now and then while the machine is busy.
SWITCH = "document.getElementById('live-switch').click()"
BLOCK = """
const end = Date.now() + arguments[0];
setTimeout(() => { while (Date.now() < end); }, 20);
"""


def open_logs(open_window: OpenWindow, person: Person, count: int) -> list[Window]:
    """The log in several windows; the first one holds the stream."""
    windows = [open_window() for _ in range(count)]
    for window in windows:
        open_signed_in(window, person, "/messages")
        window.script(NOTE_CHANGES)
    await_streams(person.app, 1)
    return windows


def change(app: Flask, message: Message, word: str) -> float:
    """Give a message a status; return the time in ms."""
    append_status(app, message, word)
    return time.time() * 1000


def delay(window: Window, label: str, changed_at: float) -> float:
    """How many ms after a change the window showed it."""
    window.sees(label, ".log .status")
    return float(window.script("return window.changedAt")) - changed_at


def test_every_window_is_current_over_one_stream(
    engine: Engine, open_window: OpenWindow, live: Flask, alice: Person, message: Message
) -> None:
    windows = open_logs(open_window, alice, WINDOWS[engine.name])
    delays = []
    for word in ("sent", "delivered", "read"):  # on a busy machine, one of them may be late
        changed_at = change(live, message, word)
        delays.append(max(delay(window, word.capitalize(), changed_at) for window in windows))
    assert min(delays) < 2000
    await_streams(live, 1)
    window = windows[-1]
    window.use("New message")
    window.type("To", "(500) 555-0006")
    window.type("Text", "Hello")
    started = time.monotonic()
    window.use("Send", "button")
    window.sees("Timeline")
    assert time.monotonic() - started < 5


def test_another_window_takes_over_from_a_silent_and_a_closed_one(
    open_window: OpenWindow, live: Flask, alice: Person, message: Message
) -> None:
    open_window()  # the one that stays when all others are closed
    holder, *others = open_logs(open_window, alice, 3)
    holder.script(BLOCK, 5000)
    changed_at = change(live, message, "sent")
    assert max(delay(window, "Sent", changed_at) for window in others) < 5000
    holder.sees("Sent", ".log .status")  # it has woken, and follows
    await_streams(live, 1)
    changed_at = change(live, message, "delivered")
    assert max(delay(window, "Delivered", changed_at) for window in [holder, *others]) < 5000
    for window in (holder, others[0]):  # one of them holds the stream, or the last one does
        window.driver.close()
    changed_at = change(live, message, "read")
    assert delay(others[1], "Read", changed_at) < 5000


def test_paused_window_stops_no_other_and_then_misses_nothing(
    open_window: OpenWindow, live: Flask, alice: Person, message: Message
) -> None:
    first, second = open_logs(open_window, alice, 2)
    first.script(SWITCH)
    change(live, message, "sent")
    second.sees("Sent", ".log .status")
    assert "Waiting" in first.text(".log .status")
    first.script(SWITCH)
    first.sees("Sent", ".log .status")
    second.script(SWITCH)
    change(live, message, "delivered")
    first.sees("Delivered", ".log .status")
    await_streams(live, 1)
    first.script("localStorage.clear()")
    first.open("/messages")  # its stream begins behind the change
    second.script(SWITCH)
    second.sees("Delivered", ".log .status")
    await_streams(live, 1)
