"""HTTP server of the simulator, on the loopback interface only."""

import socket
import threading
from typing import Self

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from .delivery import Delivery

LOOPBACK = "127.0.0.1"


class _Handler(WSGIRequestHandler):
    """Logs nothing: request lines and tracebacks can hold numbers."""

    def log(self, type: str, message: str, *args: object) -> None:
        pass

    def connection_dropped(self, *_: object, **__: object) -> None:
        # Without this, a dropped HTTP/1.1 connection would stay open for the next request.
        self.close_connection = True


class SimulatorServer:
    """Listens from construction until `close()`, which also stops the carrier.

    Port 0 picks a free port. Raises OSError if the port is in use.
    """

    def __init__(self, app: Flask, port: int = 0) -> None:
        self._delivery: Delivery = app.extensions["delivery"]
        self.ledger = self._delivery.ledger
        self.fault_injector = self._delivery.fault_injector
        # Werkzeug ends the process when it cannot bind, so bind here.
        with socket.create_server((LOOPBACK, port)) as listener:
            self._server = make_server(
                LOOPBACK, port, app, threaded=True, request_handler=_Handler, fd=listener.fileno()
            )
        self.url = f"http://{LOOPBACK}:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._delivery.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
