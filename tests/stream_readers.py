"""An app whose event streams are read over real HTTP, as a browser reads them."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests
from flask import Flask

from smstracker.extensions import db
from smstracker.models import Message
from smstracker.models.event_store import append_event
from smstracker.models.events import StatusUpdate
from smstracker.sms.status import Source
from tests.clients import SESSION_COOKIE, Person
from tests.serving import free_port, served

MakeApp = Callable[..., Flask]


@pytest.fixture
def streaming_app(make_app: MakeApp) -> Iterator[Flask]:
    port = free_port()
    app = make_app(PUBLIC_BASE_URL=f"http://127.0.0.1:{port}")
    with served(app, port):
        yield app


@pytest.fixture
def ann(streaming_app: Flask) -> Person:
    return Person.signed_in(streaming_app, "ann@example.org")


def append_status(app: Flask, message: Message, word: str = "sent") -> None:
    with app.app_context(), db.engine.begin() as connection:
        append_event(connection, message.id, StatusUpdate(word, Source.LOOKUP, {}))


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("the condition did not become true")


def request_stream(
    person: Person, path: str = "/messages/stream", **headers: str
) -> requests.Response:
    base = person.app.config["SETTINGS"].public_base_url
    headers |= {"Cookie": f"{SESSION_COOKIE}={person.session_cookie}"}
    return requests.get(base + path, headers=headers, stream=True, timeout=30)


class StreamReader:
    """A browser's EventSource."""

    def __init__(self, response: requests.Response) -> None:
        assert response.status_code == 200, response.status_code
        self.response = response
        self.lines = response.iter_lines(chunk_size=1, decode_unicode=True)
        self.id = ""
        assert next(self.lines).startswith("retry: ")

    def next(self) -> list[str]:
        """The ids of the next event; ["*"] for all, [] when the stream has ended."""
        kind, data = "", ""
        for line in self.lines:
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data = value
            elif name == "id":
                self.id = value
            elif not line and data:
                return ["*"] if kind == "all" else json.loads(data)
        return []


@contextmanager
def open_stream(
    person: Person, path: str = "/messages/stream", **headers: str
) -> Iterator[StreamReader]:
    response = request_stream(person, path, **headers)
    try:
        reader = StreamReader(response)  # keep it, or its connection is closed as garbage
        yield reader
    finally:
        response.close()
