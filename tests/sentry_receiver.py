"""A server that speaks Sentry's envelope protocol, and keeps what arrives."""

import gzip
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any


class SentryReceiver:
    """Listens on a free port of this machine; while `stalls` is set, it answers nothing."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, bytes]] = []  # headers, body
        self.stalled = Event()
        self.may_answer = Event()
        self.may_answer.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.requests.append((f"{self.path}\n{self.headers}", body))
                receiver.stalled.set()
                receiver.may_answer.wait(60)
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.dsn = f"http://0123456789abcdef@127.0.0.1:{self._server.server_port}/1"
        self._thread = Thread(target=self._server.serve_forever, args=[0.05])
        self._thread.start()

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The reports that have arrived."""
        found = []
        for _headers, body in list(self.requests):
            lines = body.split(b"\n")
            for header, payload in zip(lines[1::2], lines[2::2], strict=False):
                if header and json.loads(header)["type"] == "event":
                    found.append(json.loads(payload))
        return found

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        """Return the reports once there are so many."""
        deadline = time.monotonic() + 20
        while len(self.events) < count:
            assert time.monotonic() < deadline, f"{len(self.events)} of {count} reports came"
            time.sleep(0.01)
        return self.events

    @property
    def everything(self) -> str:
        return "\n".join(f"{headers}\n{body.decode()}" for headers, body in self.requests)
