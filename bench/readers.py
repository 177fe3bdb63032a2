"""Readers of event streams: people who are signed in, each with open pages.

As a program it holds streams open, for the process that is measured has no processor to spare.
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
from sqlalchemy import update

from config import load
from smstracker import create_app
from smstracker.extensions import db
from smstracker.models import Message, User

# Coprime to the number of rounds, so that each round's share of the messages is of all of them.
PEOPLE = 19


def people_of(on: rig.Setup) -> list[str]:
    """Give the messages to all the people; a cookie of each."""
    app = create_app(load(rig.environment(on.url)))
    cookies = []
    with app.app_context():
        for number in range(1, PEOPLE + 1):
            user = db.session.get(User, number) or User(id=number, email=f"{number}@example.org")
            db.session.add(user)
            db.session.flush()
            user.start_session()
            session = {"_user_id": user.session_key, "_fresh": True}
            signer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
            cookies.append(signer.dumps(session))
        db.session.execute(update(Message).values(owner_id=Message.id % PEOPLE + 1))
        db.session.commit()
        db.session.remove()
        db.engine.dispose()
    return cookies


class Streams:
    """Open streams, read by a process of its own: the measured one's processor is dear enough."""

    def __init__(self, cookies: list[str], number: int) -> None:
        command = [sys.executable, __file__, str(number), *cookies]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.opened = self._process.stdout.readline().strip()

    def close(self) -> int:
        """How many events they have been sent."""
        self._process.terminate()
        told, _ = self._process.communicate()
        return int(told)


def read_streams(number: int, cookies: list[str]) -> None:
    """Keep `number` streams open, and open again each that ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    waiting, told = selectors.DefaultSelector(), 0
    atexit.register(lambda: print(told))
    for at in range(number):
        _open(waiting, cookies[at % len(cookies)])
    print(f"{number} streams", flush=True)
    while True:
        for key, _ in waiting.select(1):
            data = key.fileobj.recv(65536)  # type: ignore[union-attr]
            told += data.count(b"event: ")
            if not data or data.endswith(b"\r\n0\r\n\r\n"):
                waiting.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
                _open(waiting, key.data)


def _open(waiting: selectors.BaseSelector, cookie: str) -> None:
    """Try until a process has room: a connection goes to whichever takes it first."""
    lines = "GET /messages/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    while True:
        stream = socket.create_connection(("127.0.0.1", rig.PORT))
        with suppress(ConnectionError):
            stream.sendall(f"{lines}Cookie: {rig.COOKIE}={cookie}\r\n\r\n".encode())
            if b" 200 " in stream.recv(65536).partition(b"\r\n")[0]:
                waiting.register(stream, selectors.EVENT_READ, cookie)
                return
        stream.close()
        time.sleep(0.05)


if __name__ == "__main__":
    read_streams(int(sys.argv[1]), sys.argv[2:])
