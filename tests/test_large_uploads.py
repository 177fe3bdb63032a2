"""Files that are larger than any other form, sent to the real server."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from flask import Flask

from smstracker.extensions import db
from smstracker.models import Batch
from smstracker.web.request_framing import MAX_UPLOAD_BYTES
from tests.batches import SENDER, check, people, read_batch
from tests.clients import SESSION_COOKIE, Person, hidden
from tests.real_server import THREADS, answers, connect, port_of, running

BOUNDARY = "boundary"


@pytest.fixture(scope="module")
def server(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    path = tmp_path_factory.mktemp("uploads") / "test.sqlite"
    path.write_bytes(migrated_sqlite.read_bytes())
    with running(path) as (app, _process):
        yield app


def head(cookie: str, length: int) -> bytes:
    lines = ["POST /batches HTTP/1.1", "Host: x", f"Content-Length: {length}"]
    lines.append(f"Content-Type: multipart/form-data; boundary={BOUNDARY}")
    lines += [f"Cookie: {cookie}"] if cookie else []
    return "\r\n".join([*lines, "", ""]).encode()


def body(person: Person, content: str) -> bytes:
    page = person.client.get("/batches/new").text
    fields = {name: hidden(page, name) for name in ("csrf_token", "form_id")}
    fields |= {"body": "Hi ((name))", "sender": SENDER}
    parts = [f'name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    parts.append(f'name="file"; filename="people.csv"\r\n\r\n{content}')
    start = f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
    return ("".join(f"{start}{part}\r\n" for part in parts) + f"--{BOUNDARY}--\r\n").encode()


def signed_in(app: Flask) -> tuple[Person, str]:
    person = Person.signed_in(app, "alice@example.org")
    person.client.get("/batches")
    return person, f"{SESSION_COOKIE}={person.session_cookie}"


def receive(peer: socket.socket) -> str:
    answer = b""
    while piece := peer.recv(65536):
        answer += piece
    return answer.decode()


@pytest.mark.slow
def test_large_file_of_a_signed_in_person_is_taken(server: Flask) -> None:
    person, cookie = signed_in(server)
    content = people(20_000)
    data = body(person, content)
    assert len(data) > 400_000
    with connect(server, head(cookie, len(data))) as peer:
        for at in range(0, len(data), 100_000):
            peer.sendall(data[at : at + 100_000])
        answer = receive(peer)
    assert answer.startswith("HTTP/1.1 303 "), answer[:200]
    public_id = re.search(r"/batches/(\S+)", answer)
    check(server)
    with server.app_context():
        batch = db.session.query(Batch).order_by(Batch.id.desc()).first()
        assert batch
        assert public_id
        assert str(batch.public_id) == public_id[1]
    assert read_batch(server, batch.id).row_count == 20_000


@pytest.mark.slow
@pytest.mark.parametrize("length", [9_000_000, MAX_UPLOAD_BYTES + 1])
def test_large_body_of_a_stranger_is_refused_unread(server: Flask, length: int) -> None:
    began = time.monotonic()
    with connect(server, head("", length)) as peer:
        answer = peer.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 302 "), answer[:200]
    assert time.monotonic() - began < 5


@pytest.mark.slow
def test_too_large_file_loses_no_text(server: Flask) -> None:
    person, cookie = signed_in(server)
    data = body(person, "x" * (2 * MAX_UPLOAD_BYTES))
    with connect(server, head(cookie, len(data))) as peer:
        peer.sendall(data)
        answer = receive(peer)
    assert answer.startswith("HTTP/1.1 413 "), answer[:200]
    assert "Hi ((name))</textarea>" in answer


@pytest.mark.slow
def test_slow_uploads_leave_threads_to_others(server: Flask) -> None:
    _person, cookie = signed_in(server)
    with ExitStack() as stack:
        for _ in range(4 * THREADS):
            stack.enter_context(connect(server, head(cookie, 9_000_000)))
        assert all(answers(port_of(server), 10) for _ in range(4))


@pytest.mark.slow
def test_upload_that_ends_early_saves_nothing(server: Flask) -> None:
    person, cookie = signed_in(server)
    data = body(person, people(20_000))
    with connect(server, head(cookie, len(data))) as peer:
        peer.sendall(data[:300_000])
        peer.shutdown(socket.SHUT_WR)
        answer = receive(peer)
    assert answer.startswith("HTTP/1.1 400 "), answer[:200]


@pytest.mark.slow
def test_upload_without_a_length_is_refused_in_words(server: Flask) -> None:
    """Browsers send one; a proxy that does not know it yet may not."""
    person, cookie = signed_in(server)
    data = body(person, people(20_000))
    lines = head(cookie, len(data)).replace(
        b"Content-Length: %d" % len(data), b"Transfer-Encoding: chunked"
    )
    with connect(server, lines) as peer:
        peer.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
        answer = receive(peer)
    assert answer.startswith("HTTP/1.1 413 "), answer[:200]
