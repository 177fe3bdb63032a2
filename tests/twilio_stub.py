"""An HTTP server that sends the prepared answers of a test, byte for byte."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def answer(status: int, body: Any, kind: str = "application/json") -> bytes:
    """An HTTP answer; a body that is not text becomes JSON."""
    payload = (body if isinstance(body, str) else json.dumps(body)).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(payload)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + payload


def created(sid: str, **changed: Any) -> bytes:
    """Twilio's answer to a create call."""
    resource = {"sid": sid, "status": "queued", "num_segments": "1", "from": "+15005550006"}
    return answer(201, resource | {"error_code": None, "error_message": None} | changed)


def listing(*messages: dict[str, object]) -> bytes:
    """Twilio's list of messages."""
    page = {"messages": list(messages), "next_page_uri": None, "page_size": 1000, "page": 0}
    return answer(200, page)


SILENCE = b""  # read the request, then send nothing until the client gives up
DRIP = b"drip "  # before an answer: send it a byte at a time, for ever
HANG_UP = b"hang up"  # read the request, then close the connection


class TwilioStub:
    """Gives each connection the next of `answers`; records the bodies in `requests`.

    `targets` are the paths and queries of the requests.
    """

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[str] = []
        self.targets: list[str] = []
        self.on_request = lambda: None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            piece = connection.recv(65536)
            if not piece:
                return
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        while len(body) < length:
            body += connection.recv(65536)
        self.targets.append(head.split(b" ")[1].decode())
        self.requests.append(body.decode())
        self.on_request()
        reply = self.answers.pop(0)
        if reply == SILENCE:
            self._closing.wait(20)
        elif reply.startswith(DRIP):
            self._drip(connection, reply.removeprefix(DRIP))
        elif reply != HANG_UP:
            connection.sendall(reply)

    def _drip(self, connection: socket.socket, reply: bytes) -> None:
        for position in range(len(reply)):
            try:
                connection.sendall(reply[position : position + 1])
            except OSError:
                return
            if self._closing.wait(0.02):
                return

    def close(self) -> None:
        if self._closing.is_set():
            return
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@contextmanager
def wire(*answers: bytes) -> Iterator[TwilioStub]:
    stub = TwilioStub(*answers)
    try:
        yield stub
    finally:
        stub.close()
