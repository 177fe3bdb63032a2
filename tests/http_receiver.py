"""An HTTP server that records what it receives, as the receiver of alerts does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from tests.serving import QuietRequestHandler


@dataclass(frozen=True, slots=True)
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: str


class HttpReceiver:
    """Answers with `answers` in turn, then 204, and `text`; every redirect leads to /elsewhere."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[int] = []
        self.text = ""
        self.server = make_server(
            "127.0.0.1", 0, self.answer, threaded=True, request_handler=QuietRequestHandler
        )
        self.url = f"http://127.0.0.1:{self.server.port}"

    @Request.application
    def answer(self, request: Request) -> Response:
        target = request.environ["REQUEST_URI"]
        headers = {name.lower(): value for name, value in request.headers}
        body = request.get_data(as_text=True)
        self.received.append(Received(request.method, target, headers, body))
        status = self.answers.pop(0) if self.answers else 204
        headers = {"Location": "/elsewhere"} if status < 400 else {}
        return Response(self.text, status=status, headers=headers)

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.received]


@contextmanager
def receiving() -> Iterator[HttpReceiver]:
    receiver = HttpReceiver()
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()
