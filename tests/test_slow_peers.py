"""Peers that send or take nothing: they cost the real server a socket, and never a thread."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4 as new_id

import pytest
from flask import Flask
from sqlalchemy import insert

from smstracker.extensions import db
from smstracker.models import Message
from smstracker.web.peer_socket import PeerSocket
from tests.clients import SESSION_COOKIE, Person
from tests.real_server import THREADS, answers, connect, port_of, running
from tests.signing import STATUS_PATH, fields, sid, signature

pytestmark = pytest.mark.slow


GRACEFUL = 10  # seconds after which gunicorn waits for nobody
POST = b"POST /webhooks/twilio/status HTTP/1.1\r\nHost: x\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
FILE = b"GET /static/vendor/pico/pico.min.css HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = {
    "silent": b"",
    "half a head": POST,
    "body never sent": POST + FORM + b"Content-Length: 100\r\n\r\n",
    "half a chunk": POST + FORM + b"Transfer-Encoding: chunked\r\n\r\n64\r\na",
    "large body never sent": POST + FORM + b"Content-Length: 9000000\r\n\r\n",
    "idle after a request": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "takes nothing": FILE * 40,
}

BROKEN_CHUNKS = [
    b"zz\r\n",
    b"3\r\na=bXX0\r\n\r\n",
    b"3;=\r\na=b\r\n0\r\n\r\n",
    b"3;x=" + b"x" * 5_000,
    b"3\r\na=b\r\n0\r\nno trailer\r\n\r\n",
]


@pytest.fixture(scope="module")
def server(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The real server with two threads; the app is another one on the same database."""
    path = tmp_path_factory.mktemp("slow") / "test.sqlite"
    path.write_bytes(migrated_sqlite.read_bytes())
    with running(path) as (app, _process):
        yield app


@pytest.mark.parametrize("kind", SLOW)
def test_slow_peers_keep_nobody_else_waiting(server: Flask, kind: str) -> None:
    with ExitStack() as stack:
        for _ in range(4 * THREADS):
            stack.enter_context(connect(server, SLOW[kind]))
        # With two threads held for a second each, eight peers would hold them for four.
        assert all(answers(port_of(server), 3.5) for _ in range(4))


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "Script-Name"])
def test_no_header_changes_the_path_that_the_app_sees(server: Flask, name: str) -> None:
    head = f"GET /webhooks/healthz HTTP/1.1\r\nHost: x\r\n{name}: /webhooks\r\n\r\n"
    with connect(server, head.encode()) as peer:
        assert b" 404 " in peer.recv(100)


def test_request_that_never_ends_is_answered_with_408(server: Flask) -> None:
    with connect(server, POST) as peer:
        began = time.monotonic()
        peer.sendall(b"X-Slow: 1\r\n")
        assert peer.recv(4096).startswith(b"HTTP/1.1 408 ")
        assert peer.recv(4096) == b""
        assert time.monotonic() - began < 8


def test_request_that_begins_on_an_idle_connection_is_answered_with_408(server: Flask) -> None:
    with connect(server, b"") as peer:
        assert answers(port_of(server), 10), "so the connection before it is accepted and idle"
        peer.sendall(POST)
        assert peer.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_idle_connection_makes_room_and_holds_up_no_stop(
    migrated_sqlite: Path, tmp_path: Path
) -> None:
    path = tmp_path / "test.sqlite"
    path.write_bytes(migrated_sqlite.read_bytes())
    limits = ["--worker-connections", "4"]
    with running(path, *limits) as (app, process), ExitStack() as stack:
        peers = [stack.enter_context(connect(app, b"")) for _ in range(4)]
        assert peers[0].recv(1) == b"", "the longest idle one is ended for the fourth"
        assert answers(port_of(app), 10)
        began = time.monotonic()
        process.terminate()
        process.wait(60)
        assert time.monotonic() - began < GRACEFUL, "it does not wait for the others"


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="of Linux alone")
def test_kernel_gives_up_a_vanished_peer_in_seconds() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        PeerSocket(listener.accept()[0], lambda _: None) as accepted,
    ):
        limit = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert 5_000 <= limit <= 30_000


def signed_callback(server: Flask, number: int) -> bytes:
    form = fields(sid(number), "sent")
    body = urlencode(form).encode()
    signed = signature(STATUS_PATH, form, base=server.config["SETTINGS"].public_base_url)
    head = f"X-Twilio-Signature: {signed}\r\nContent-Length: {len(body)}\r\n\r\n"
    return POST + FORM + head.encode() + body


@pytest.mark.smoke
def test_callback_that_cannot_be_stored_is_answered_as_the_app_would(server: Flask) -> None:
    with connect(server, b"") as peer, server.app_context():
        broken = "CREATE TRIGGER broken BEFORE INSERT ON status_event"
        with db.engine.begin() as connection:
            connection.exec_driver_sql(f"{broken} BEGIN SELECT RAISE(ABORT, 'broken'); END")
        peer.sendall(signed_callback(server, 101))
        refusal = HTTPResponse(peer)
        refusal.begin()
        assert (refusal.status, refusal.read()) == (503, b"Not stored\n")
        headers = {name: refusal.headers[name] for name in ("Retry-After", "Content-Type")}
        assert headers == {"Retry-After": "5", "Content-Type": "text/plain; charset=utf-8"}
        with db.engine.begin() as connection:
            connection.exec_driver_sql("DROP TRIGGER broken")
        peer.sendall(signed_callback(server, 101))
        assert peer.recv(13) == b"HTTP/1.1 204 ", "over the same connection"


@pytest.mark.smoke
def test_callbacks_that_wait_for_the_database_keep_no_thread(server: Flask) -> None:
    requests = [signed_callback(server, number) for number in range(4 * THREADS)]
    with ExitStack() as stack, server.app_context():
        with db.engine.begin():
            peers = [stack.enter_context(connect(server, request)) for request in requests]
            assert answers(port_of(server), 3)
            peers[0].settimeout(0.2)
            with pytest.raises(TimeoutError):
                peers[0].recv(4096)
            peers[0].settimeout(10)
        assert {peer.recv(13) for peer in peers} == {b"HTTP/1.1 204 "}


def test_request_that_comes_in_pieces_is_answered(server: Flask) -> None:
    request = POST + FORM + b"Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n"
    with connect(server, request[:20]) as peer:
        for at in range(20, len(request), 40):
            peer.sendall(request[at : at + 40])
            time.sleep(0.01)
        assert peer.recv(4096).startswith(b"HTTP/1.1 403 ")
        peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        got = b""
        while got.count(b'{"status":"ok"}') < 2:
            got += peer.recv(4096)


@pytest.mark.parametrize("path", [b"/webhooks/twilio/status", b"/sign-in"])
@pytest.mark.parametrize("chunks", BROKEN_CHUNKS)
def test_broken_chunks_are_answered_with_400(server: Flask, chunks: bytes, path: bytes) -> None:
    head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + FORM
    with connect(server, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks) as peer:
        assert peer.recv(13) == b"HTTP/1.1 400 "


def read_until(peer: socket.socket, ending: bytes) -> bytes:
    answer = b""
    while ending not in answer:
        piece = peer.recv(4096)
        assert piece, answer
        answer += piece
    return answer


TOO_LARGE = {
    "announced": b"Content-Length: 97000000\r\n\r\n",
    "in one chunk": b"Transfer-Encoding: chunked\r\n\r\nFFFFFF\r\n" + b"x" * 165_000,
    "in tiny chunks": b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 35_000,
}


@pytest.mark.parametrize("kind", TOO_LARGE)
@pytest.mark.parametrize(
    ("path", "said"),
    [
        (b"/auth/sign-in", b"That is too large"),
        (b"/webhooks/twilio/status", b"Request Entity Too Large"),
    ],
)
def test_too_large_body_is_answered_with_413_before_it_has_come(
    server: Flask, kind: str, path: bytes, said: bytes
) -> None:
    head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + FORM
    head += b"X-Twilio-Signature: " + b"A" * 27 + b"=\r\n"
    with connect(server, head + b"Expect: 100-continue\r\n" + TOO_LARGE[kind]) as peer:
        answer = read_until(peer, said)
    assert b"HTTP/1.1 413 " in answer
    assert b"\r\nConnection: close\r\n" in answer


def test_peer_that_waits_for_leave_to_send_its_body_gets_it(server: Flask) -> None:
    with connect(
        server, POST + FORM + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    ) as peer:
        assert peer.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.sendall(b"a=b")
        answer = read_until(peer, b"Forbidden")
    assert b"100 Continue" not in answer, "it is given once"


def test_reader_who_takes_nothing_of_an_export_loses_the_place(server: Flask) -> None:
    person = Person.signed_in(server, "alice@example.org")
    message = person.has_message(body="x" * 1600, status="delivered")
    with server.app_context(), db.engine.begin() as connection:
        columns = Message.__table__.columns.keys()
        row = {name: getattr(message, name) for name in columns if name != "id"}
        rows = [row | {"public_id": new_id(), "idempotency_key": new_id()} for _ in range(4000)]
        connection.execute(insert(Message), rows)
    cookie = f"{SESSION_COOKIE}={person.session_cookie}"
    head = f"HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n"
    export = f"GET /messages/export.csv {head}".encode()
    with connect(server, export) as paused:
        assert paused.recv(15) == b"HTTP/1.1 200 OK"
        with connect(server, export) as second:
            assert second.recv(12) == b"HTTP/1.1 503", "one export for each user"
        for _ in range(300):
            with connect(server, export) as third:
                if third.recv(12) == b"HTTP/1.1 200":
                    return
            time.sleep(0.1)
    raise AssertionError("it was never cut off")
