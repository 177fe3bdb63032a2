"""Event streams that the server's loop writes: an open one costs a socket and no thread."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPResponse
from threading import Thread

import pytest
from flask import Flask
from gunicorn.workers.gthread import TConn
from sqlalchemy import delete

from smstracker.extensions import db
from smstracker.live import event_stream
from smstracker.models.users import UserSession
from smstracker.web import gunicorn_worker
from tests.clients import Person
from tests.stream_readers import append_status
from tests.turned_worker import MAX_CONNECTIONS, REQUEST, TurnedWorker, answered

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
LAST_CHUNK = b"0\r\n\r\n"


class LoopedServer:
    """Our worker with an app; the test turns its loop."""

    def __init__(self, turned_worker: TurnedWorker, app: Flask) -> None:
        turned_worker.worker.wsgi = app
        self.turned = turned_worker
        self.streams = app.extensions["broadcaster"]._streams

    def open_stream(self, person: Person, version: str = "1.1") -> socket.socket:
        """A peer that has asked for a stream, and whose request has ended."""
        name = person.app.config["SESSION_COOKIE_NAME"]
        cookie = person.client.get_cookie(name, domain="sms.example.org")
        assert cookie
        head = f"GET /messages/stream HTTP/{version}\r\nHost: x\r\nCookie: "
        sent = f"{head}{cookie.key}={cookie.value}\r\n\r\n".encode()
        peer = self.turned.connect_and_accept(sent)
        self.answer(self.turned.queued.pop())
        return peer

    def answer(self, conn: TConn) -> None:
        worker, stays = self.turned.worker, []
        thread = Thread(target=lambda: stays.append(worker.handle(conn)), daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive(), "the stream keeps the thread"
        worker.finish_request(conn, answered(stays=stays[0]))

    def read_until(self, peer: socket.socket, ending: bytes) -> bytes:
        """Turn the loop until the peer has received `ending`, b"" for the end of the connection."""
        received, is_ended = b"", False
        peer.setblocking(False)
        for _ in range(300):
            with suppress(BlockingIOError):
                piece = peer.recv(65536)
                received, is_ended = received + piece, not piece
            if is_ended or (ending and received.endswith(ending)):
                assert is_ended is not bool(ending), received
                return received
            self.turned.worker.wait_for_and_dispatch_events(timeout=0.1)
            self.turned.worker.murder_pending()
        raise AssertionError(received)


@pytest.fixture
def server(turned_worker: TurnedWorker, app: Flask) -> Iterator[LoopedServer]:
    yield LoopedServer(turned_worker, app)
    app.extensions["broadcaster"].stop()


def test_open_stream_keeps_no_thread_and_sends_changes(
    server: LoopedServer, app: Flask, alice: Person
) -> None:
    message = alice.has_message()
    peer = server.open_stream(alice)
    assert app.extensions["waiting_threads"].count == 0
    opening = server.read_until(peer, b"\n\n\r\n")
    assert b"Content-Type: text/event-stream" in opening
    assert b"\r\nretry: 2000\n" in opening
    append_status(app, message)
    assert f'data: ["{message.public_id}"]\n'.encode() in server.read_until(peer, b"\n\n\r\n")


def test_stream_that_ends_as_planned_leaves_its_connection_to_the_next_request(
    server: LoopedServer, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "LIFETIME", 0.2)
    peer = server.open_stream(alice)
    assert b"\r\nretry: 100\n" in server.read_until(peer, LAST_CHUNK)
    assert not server.streams
    peer.sendall(REQUEST)
    server.turned.turn()
    server.answer(server.turned.queued.pop())
    peer.setblocking(True)
    response = HTTPResponse(peer)
    response.begin()
    assert (response.status, response.read()) == (200, b'{"status":"ok"}\n')


def test_stream_of_an_old_proxy_has_no_chunks_and_ends_with_its_connection(
    server: LoopedServer, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "LIFETIME", 0.2)
    head, _, body = server.read_until(server.open_stream(alice, "1.0"), b"").partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert body.startswith(b"retry: 2000\n")
    assert body.endswith(b"\n\n")
    assert b"\r" not in body


def test_silent_stream_sends_heartbeats(
    server: LoopedServer, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.1)
    peer = server.open_stream(alice)
    for _ in range(3):
        assert b": still here\n" in server.read_until(peer, b"\n\n\r\n")


def test_sign_out_ends_the_stream(server: LoopedServer, app: Flask, alice: Person) -> None:
    peer = server.open_stream(alice)
    with app.app_context():
        db.session.execute(delete(UserSession))
        db.session.commit()
    server.read_until(peer, LAST_CHUNK)


def test_stop_ends_the_stream(server: LoopedServer, app: Flask, alice: Person) -> None:
    peer = server.open_stream(alice)
    app.extensions["broadcaster"].stop()
    server.read_until(peer, LAST_CHUNK)


def test_reader_who_goes_leaves_the_place_at_once(server: LoopedServer, alice: Person) -> None:
    peer = server.open_stream(alice)
    assert len(server.streams) == 1
    peer.close()
    server.turned.turn()
    assert not server.streams
    assert server.turned.worker.nr_conns == 0
    assert not server.turned.worker._held


def test_full_server_never_ends_a_stream(server: LoopedServer, alice: Person) -> None:
    server.open_stream(alice)
    for _ in range(MAX_CONNECTIONS):
        server.turned.connect_and_accept(b"GET")
    assert len(server.streams) == 1


def stall(server: LoopedServer, stream: event_stream.Stream, conn: TConn) -> None:
    """Have the stream write until its peer, who takes nothing, has no room."""
    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for _ in range(10_000):
        stream.add_changes([f"message {number}" for number in range(event_stream.MAX_IDS)])
        stream.wake()
        server.turned.turn()
        if conn.sock._unsent:
            return
    raise AssertionError("the peer took all")


def test_reader_who_takes_nothing_is_sent_nothing_more_and_loses_the_stream(
    server: LoopedServer, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.open_stream(alice)
    [stream], [(conn, _)] = server.streams, server.turned.worker._held.values()
    stall(server, stream, conn)
    unsent = bytes(conn.sock._unsent)
    stream.add_changes(["another"])
    stream.wake()
    server.turned.turn()
    assert conn.sock._unsent == unsent
    later = time.monotonic() + gunicorn_worker.WRITE_SECONDS
    monkeypatch.setattr(gunicorn_worker.time, "monotonic", lambda: later)
    server.turned.worker.murder_pending()
    assert not server.streams
    assert server.turned.worker.nr_conns == 0


def test_slow_reader_gets_what_changed_meanwhile(server: LoopedServer, alice: Person) -> None:
    peer = server.open_stream(alice)
    [stream], [(conn, _)] = server.streams, server.turned.worker._held.values()
    stall(server, stream, conn)
    stream.add_changes(["another"])
    stream.wake()
    server.read_until(peer, b'data: ["another"]\nid: 0\n\n\r\n')


def test_slow_reader_gets_the_end(server: LoopedServer, alice: Person) -> None:
    peer = server.open_stream(alice)
    [stream], [(conn, _)] = server.streams, server.turned.worker._held.values()
    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with suppress(BlockingIOError):
        while True:
            conn.sock.send(b" ", socket.MSG_DONTWAIT)
    stream.end()
    server.turned.turn()
    server.read_until(peer, LAST_CHUNK)
