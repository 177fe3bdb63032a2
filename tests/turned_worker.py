"""The server's worker with a loop that a test turns."""

import os
import socket
from concurrent.futures import Future
from contextlib import ExitStack
from selectors import EVENT_READ, DefaultSelector
from typing import cast

from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import TConn

from smstracker.web.gunicorn_worker import DeadlineWorker

MAX_CONNECTIONS = 4
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class TurnedWorker:
    """A worker whose loop the test turns; requests are `queued` and no thread answers them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._listener.setblocking(False)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as gunicorn does
        config = Config()
        config.set("worker_connections", MAX_CONNECTIONS)
        self.worker = DeadlineWorker(
            0, os.getpid(), [self._listener], None, 30, config, Logger(config)
        )
        self.worker.poller = stack.enter_context(DefaultSelector())
        self.queued: list[TConn] = []
        self.worker.enqueue_req = self.queued.append
        queue = self.worker.method_queue  # what other threads ask of the loop
        queue.init()
        self.worker.poller.register(queue.fileno(), EVENT_READ, queue.run_callbacks)
        stack.callback(self.worker.tmp.close)
        stack.callback(queue.close)
        stack.callback(self._close)

    def _close(self) -> None:
        waiting = [key.fileobj for key in self.worker.poller.get_map().values()]
        queued = [conn.sock for conn in self.queued]
        for accepted in [*waiting, *queued, *self.worker._held]:
            if isinstance(accepted, socket.socket):
                accepted.close()

    def connect_and_accept(self, sent: bytes) -> socket.socket:
        """A peer whose bytes have arrived when it is accepted."""
        peer = self.connect(sent)
        self.accept()
        return peer

    def connect(self, sent: bytes) -> socket.socket:
        """A peer that is not accepted yet."""
        peer = socket.create_connection(self._listener.getsockname())
        self._stack.enter_context(peer).settimeout(30)
        peer.sendall(sent)
        return peer

    def accept(self) -> None:
        self.worker.accept(self._listener)

    def turn(self) -> None:
        self.worker.wait_for_and_dispatch_events(timeout=30)

    @property
    def has_room(self) -> bool:
        return cast(int, self.worker.nr_conns) < MAX_CONNECTIONS


def answered(stays: bool = True) -> "Future[bool]":
    future: Future[bool] = Future()
    future.set_result(stays)
    return future
