"""Streams whose readers have gone, and those that open while something is committed."""

# Fixtures are imported.
# ruff: noqa: F811

import socket
from threading import Thread

import pytest
from flask import Flask, request
from sqlalchemy import Connection

from smstracker.models import event_feed
from tests.clients import SESSION_COOKIE, Person
from tests.serving import free_port, served
from tests.stream_readers import (  # noqa: F401
    MakeApp,
    ann,
    append_status,
    open_stream,
    streaming_app,
    wait_until,
)

pytestmark = pytest.mark.both_databases


@pytest.mark.slow
def test_stream_ends_when_its_reader_goes_to_another_page(make_app: MakeApp) -> None:
    port = free_port()
    app = make_app(PUBLIC_BASE_URL=f"http://127.0.0.1:{port}", WEB_THREADS="4")
    with served(app, port):
        person = Person.signed_in(app, "ann@example.org")
        cookie = f"{SESSION_COOKIE}={person.session_cookie}"
        for _ in range(5):  # each takes the only place
            page = socket.create_connection(("127.0.0.1", port))
            head = "GET /messages/stream HTTP/1.1\r\nHost: x\r\n"
            page.sendall(f"{head}Cookie: {cookie}\r\n\r\n".encode())
            assert b" 200 OK" in page.recv(4096)
            page.close()
        wait_until(lambda: not app.extensions["broadcaster"]._streams)


def test_stream_sends_what_is_committed_while_it_opens(
    streaming_app: Flask,
    ann: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message, settled_position = ann.has_message(), event_feed.settled_position
    hub = streaming_app.extensions["broadcaster"]

    def read_slowly(connection: Connection) -> int:
        position = settled_position(connection)
        if request.args.get("is") == "slow":
            Thread(target=append_status, args=[streaming_app, message]).start()
            wait_until(lambda: hub._tail.newest_id > position)
        return position

    with open_stream(ann):  # so that the broadcaster already runs
        monkeypatch.setattr(event_feed, "settled_position", read_slowly)
        with open_stream(ann, "/messages/stream?since=0&is=slow") as reader:
            assert reader.next() == [str(message.public_id)]
