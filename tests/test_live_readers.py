"""Streams whose readers have gone, and from where a page goes on."""

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
from tests.conftest import free_port, served
from tests.test_live import MakeApp, ann, house, learn, reading, wait_until  # noqa: F401


def test_reader_who_goes_to_another_page_leaves_no_stream_behind(make_app: MakeApp) -> None:
    port = free_port()
    app = make_app(PUBLIC_BASE_URL=f"http://127.0.0.1:{port}", WEB_THREADS="4")
    with served(app, port):
        person = Person.signed_in(app, "ann@example.org")
        cookie = person.client.get_cookie("smstracker_session", domain="127.0.0.1")
        assert cookie
        for _ in range(5):  # each takes the only place that there is
            page = socket.create_connection(("127.0.0.1", port))
            head = "GET /messages/stream HTTP/1.1\r\nHost: x\r\n"
            page.sendall(f"{head}Cookie: smstracker_session={cookie.value}\r\n\r\n".encode())
            assert b" 200 OK" in page.recv(4096)
            page.close()
        wait_until(lambda: not app.extensions["broadcaster"]._streams)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_event_that_was_rolled_back_long_ago_holds_no_page_back(app: Flask, alice: Person) -> None:
    message, now = alice.has_message(), utcnow()
    row = {"message_id": message.id, "status": "sent", "source": "callback", "payload": {}}
    with app.app_context(), db.engine.begin() as connection:
        assert event_feed.settled_position() == 0
        # 4 was rolled back a minute ago; 7 may be on its way.
        for number, age in ((3, 61), (5, 60), (6, 2), (8, 1), (9, 1)):
            received = {"id": number, "received_at": now - timedelta(seconds=age)}
            connection.execute(insert(StatusEvent).values(**row, **received))
    with app.app_context():
        assert event_feed.settled_position() == 6
        with time_machine.travel(now + timedelta(minutes=1), tick=False):
            assert event_feed.settled_position() == 9


def test_what_is_committed_while_a_stream_opens_is_told_by_it(
    house: Flask,  # noqa: F811
    ann: Person,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message, settled_position = ann.has_message(), event_feed.settled_position
    feed_of_others = house.extensions["broadcaster"]

    def slowly() -> int:
        position = settled_position()
        if request.args.get("is") == "slow":
            Thread(target=learn, args=[house, message]).start()
            wait_until(lambda: feed_of_others._top > position)
        return position

    with reading(ann):  # so that events are followed already
        monkeypatch.setattr(event_feed, "settled_position", slowly)
        with reading(ann, "/messages/stream?since=0&is=slow") as reader:
            assert reader.next() == [str(message.public_id)]
