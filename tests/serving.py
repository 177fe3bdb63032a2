"""Apps over HTTP in this process, and closing them without an open connection.

A thread that still reads the database when the engine is disposed of returns its connection to a
pool that nobody closes any more.
"""

import random
import socket
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from typing import Any

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from smstracker.extensions import db
from smstracker.mail_threads import MailThreads

RESPONSE_KEY = "smstracker.tests.response"
MAX_REQUEST_SECONDS = 30.0  # for running requests, also on a busy machine


_given_ports: set[int] = set()


def free_port() -> int:
    """A port that no connection takes meanwhile: those of outgoing ones begin at 32768.

    Another one each time.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        if port in _given_ports:
            continue
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            _given_ports.add(port)
            return port


class RunningRequests:
    """Counts the requests that an app is answering; after `end` it gets no more."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._changed = threading.Condition()
        self._count = 0
        self._is_ended = False

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self._changed:
            if self._is_ended:
                start_response("503 Service Unavailable", [])
                return []
            self._count += 1
        try:
            response = environ[RESPONSE_KEY] = self._app(environ, start_response)
            return response
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._is_ended = True
            assert self._changed.wait_for(lambda: self._count == 0, MAX_REQUEST_SECONDS)


@contextmanager
def served(app: Flask, port: int) -> Iterator[None]:
    """Serve the app over HTTP on this machine."""
    requests = RunningRequests(app)
    server = make_server(
        "127.0.0.1", port, requests, threaded=True, request_handler=QuietRequestHandler
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        requests.end()


def await_writer(app: Flask) -> None:
    """Return when the thread that stores callbacks has written all and ended."""
    if thread := app.extensions["callback_writer"]._thread:
        thread.join()


def await_mails(threads: MailThreads) -> None:
    """Return when both threads that send mails have nothing left to do."""
    both_are_free = threading.Barrier(2)
    wait([threads._senders.submit(both_are_free.wait) for _ in range(2)])


def drain_mail(app: Flask) -> None:
    """Return when all look-ups of addresses, checks of the mail server and mails are done."""
    threads = app.extensions["mailer"].threads
    threads._lookups.submit(bool).result()
    threads._checks.submit(bool).result()
    await_mails(threads)


def close_mail_threads(threads: MailThreads) -> None:
    """Finish the tasks, of which a look-up can add a mail, and end the threads.

    Mails that are not due yet are dropped.
    """
    for executor in (threads._lookups, threads._checks, threads._senders):
        executor.shutdown()
    if threads._timer:
        threads._timer.cancel()


def close(app: Flask) -> None:
    """End the threads of an app, then its database connections."""
    app.extensions["broadcaster"].close()
    close_mail_threads(app.extensions["mailer"].threads)
    await_writer(app)
    with app.app_context():
        db.engine.dispose()


class QuietRequestHandler(WSGIRequestHandler):
    """The app logs its requests itself."""

    def log(self, type: str, message: str, *args: object) -> None:
        pass

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
        """Close the response and its file, which Werkzeug leaves open if the browser is gone."""
        close = getattr((environ or {}).get(RESPONSE_KEY), "close", None)
        if close:
            close()
