"""Readers of event streams: people who are signed in, each with open pages.

Run as a program, it holds streams open, so that the measured process need not.
"""

import atexit
import selectors
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import rig
from sqlalchemy import text, update

from config import load
from smstracker import create_app
from smstracker.extensions import db
from smstracker.models import Message, User

# Coprime to the number of rounds, so that each round has messages of every person.
PERSON_COUNT = 19


def assign_messages_to_people(shape: rig.Setup) -> list[str]:
    """Spread the messages over PERSON_COUNT people; the session cookie of each."""
    app = create_app(load(rig.environment(shape.url)))
    cookies = []
    with app.app_context():
        for number in range(1, PERSON_COUNT + 1):
            user = db.session.get(User, number) or User(id=number, email=f"{number}@example.org")
            db.session.add(user)
            db.session.flush()
            user.start_session()
            session = {"_user_id": user.session_key, "_fresh": True}
            signer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
            cookies.append(signer.dumps(session))
        if not app.config["SETTINGS"].is_sqlite:  # a request's limit is too short for all messages
            db.session.execute(text("SET LOCAL statement_timeout = 0"))
        db.session.execute(update(Message).values(owner_id=Message.id % PERSON_COUNT + 1))
        db.session.commit()
        db.session.remove()
        db.engine.dispose()
    return cookies


class Streams:
    """Open streams, read by a process of their own."""

    def __init__(self, cookies: list[str], number: int) -> None:
        command = [sys.executable, __file__, str(number), *cookies]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.opened = self._process.stdout.readline().strip()

    def close(self) -> int:
        """End the streams; the number of events that they were sent."""
        self._process.terminate()
        output, _ = self._process.communicate()
        return int(output)


def read_streams(number: int, cookies: list[str]) -> None:
    """Keep `number` streams open, opening again each that ends; print the events at exit."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    selector, event_count = selectors.DefaultSelector(), 0
    atexit.register(lambda: print(event_count))
    for index in range(number):
        _open(selector, cookies[index % len(cookies)])
    print(f"{number} streams", flush=True)
    while True:
        for key, _ in selector.select(1):
            data = key.fileobj.recv(65536)  # type: ignore[union-attr]
            event_count += data.count(b"event: ")
            if not data or data.endswith(b"\r\n0\r\n\r\n"):
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
                _open(selector, key.data)


def _open(selector: selectors.BaseSelector, cookie: str) -> None:
    """Try until a process with room takes the connection."""
    lines = "GET /messages/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    while True:
        stream = socket.create_connection(("127.0.0.1", rig.PORT))
        with suppress(ConnectionError):
            stream.sendall(f"{lines}Cookie: {rig.COOKIE}={cookie}\r\n\r\n".encode())
            if b" 200 " in stream.recv(65536).partition(b"\r\n")[0]:
                selector.register(stream, selectors.EVENT_READ, cookie)
                return
        stream.close()
        time.sleep(0.05)


if __name__ == "__main__":
    read_streams(int(sys.argv[1]), sys.argv[2:])
