"""What a reader does in a window of any engine, in several tests."""

from flask import Flask

from tests.browser.windows import Window
from tests.clients import SESSION_COOKIE, Person
from tests.stream_readers import wait_until


def open_signed_in(window: Window, person: Person, path: str) -> None:
    """Open a page as one who has signed in before."""
    if not window.path.startswith("/"):
        window.open("/static/icon.svg")  # cookies are set from a page of the app
    window.driver.add_cookie({"name": SESSION_COOKIE, "value": person.session_cookie, "path": "/"})
    window.open(path)


def await_streams(app: Flask, count: int) -> None:
    """Wait until the server has so many open; Firefox complains of one that is left opening."""
    streams = app.extensions["broadcaster"]._streams
    wait_until(lambda: len(streams) == count)
