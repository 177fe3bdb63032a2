"""Streams whose readers have gone, and the position from which a page goes on."""

# Fixtures are imported.
# ruff: noqa: F811

import socket
from datetime import timedelta
from threading import Thread

import pytest
import time_machine
from flask import Flask, request
from sqlalchemy import insert

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import StatusEvent, event_feed
from tests.clients import Person
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


def test_stream_ends_when_its_reader_goes_to_another_page(make_app: MakeApp) -> None:
    port = free_port()
    app = make_app(PUBLIC_BASE_URL=f"http://127.0.0.1:{port}", WEB_THREADS="4")
    with served(app, port):
        person = Person.signed_in(app, "ann@example.org")
        cookie = person.client.get_cookie("smstracker_session", domain="127.0.0.1")
        assert cookie
        for _ in range(5):  # each takes the only place
            page = socket.create_connection(("127.0.0.1", port))
            head = "GET /messages/stream HTTP/1.1\r\nHost: x\r\n"
            page.sendall(f"{head}Cookie: smstracker_session={cookie.value}\r\n\r\n".encode())
            assert b" 200 OK" in page.recv(4096)
            page.close()
        wait_until(lambda: not app.extensions["broadcaster"]._streams)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_position_passes_an_event_that_was_rolled_back_long_ago(app: Flask, alice: Person) -> None:
    message, now = alice.has_message(), utcnow()
    row = {"message_id": message.id, "status": "sent", "source": "callback", "payload": {}}
    with app.app_context(), db.engine.begin() as connection:
        assert event_feed.settled_position() == 0
        # 4 was rolled back a minute ago; 7 may commit late.
        for number, age in ((3, 61), (5, 60), (6, 2), (8, 1), (9, 1)):
            times = {"id": number, "received_at": now - timedelta(seconds=age)}
            connection.execute(insert(StatusEvent).values(**row, **times))
    with app.app_context():
        assert event_feed.settled_position() == 6
        with time_machine.travel(now + timedelta(minutes=1), tick=False):
            assert event_feed.settled_position() == 9


def test_stream_sends_what_is_committed_while_it_opens(
    streaming_app: Flask,
    ann: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message, settled_position = ann.has_message(), event_feed.settled_position
    hub = streaming_app.extensions["broadcaster"]

    def read_slowly() -> int:
        position = settled_position()
        if request.args.get("is") == "slow":
            Thread(target=append_status, args=[streaming_app, message]).start()
            wait_until(lambda: hub._gaps.newest_id > position)
        return position

    with open_stream(ann):  # so that the broadcaster already runs
        monkeypatch.setattr(event_feed, "settled_position", read_slowly)
        with open_stream(ann, "/messages/stream?since=0&is=slow") as reader:
            assert reader.next() == [str(message.public_id)]
