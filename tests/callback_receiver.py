"""An HTTP server that records the status callbacks it receives."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from twilio.request_validator import RequestValidator
from werkzeug.datastructures import Headers
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

BROKEN = 0  # in place of an HTTP status: the connection is closed without an answer


class ReceivedCallback:
    """One callback as it came over the wire."""

    def __init__(self, request: Request) -> None:
        self.target = request.environ["REQUEST_URI"]
        self.url = f"http://{request.host}{self.target}"
        self.headers = Headers(request.headers)
        self.form = request.form
        self.status = request.form["MessageStatus"]
        self.token = request.headers["I-Twilio-Idempotency-Token"]

    def is_signed_with(self, token: str) -> bool:
        signature = self.headers["X-Twilio-Signature"]
        return RequestValidator(token).validate(self.url, self.form, signature)


class CallbackReceiver:
    """Records every callback; answers with `answers` in turn, then 204. Hangs on the path /hang."""

    def __init__(self) -> None:
        self.received: list[ReceivedCallback] = []
        self.answers: list[int] = []
        self.changed = threading.Condition()
        self.released = threading.Event()
        self.server = make_server("127.0.0.1", 0, self.answer, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @Request.application
    def answer(self, request: Request) -> Response:
        with self.changed:
            self.received.append(ReceivedCallback(request))
            status = self.answers.pop(0) if self.answers else 204
            self.changed.notify_all()
        if request.path == "/hang":
            self.released.wait(30)
        if status == BROKEN:
            raise ConnectionAbortedError
        return Response(status=status, headers={"Location": "/elsewhere"} if status < 400 else {})

    def wait_for(self, count: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.received) >= count, 30)

    def statuses(self, sid: str) -> list[str]:
        return [callback.status for callback in self.received if callback.form["MessageSid"] == sid]


@contextmanager
def running_receiver() -> Iterator[CallbackReceiver]:
    receiver = CallbackReceiver()
    yield receiver
    receiver.released.set()
    receiver.server.shutdown()
