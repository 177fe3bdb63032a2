"""Count of the threads that wait for an outside party: Twilio or a slow reader.

Each kind has its own limit, and all have one together: a quarter of the threads stays free for
callbacks and for requests that end at once.
"""

from threading import Lock
from typing import cast

from flask import Flask, current_app


class WaitingThreads:
    """The counter of one app. Each successful `enter` needs one `leave`."""

    def __init__(self, threads: int) -> None:
        self._lock = Lock()
        self._max_waiting = max(threads - max(threads // 4, 1), 1)
        self.count = 0

    def enter(self) -> bool:
        """Enter while a quarter of the threads stays free; return whether that succeeded."""
        with self._lock:
            has_room = self.count < self._max_waiting
            self.count += has_room
            return has_room

    def leave(self) -> None:
        with self._lock:
            self.count -= 1


def init_app(app: Flask) -> None:
    app.extensions["waiting_threads"] = WaitingThreads(app.config["SETTINGS"].web_threads)


def waiting_threads() -> WaitingThreads:
    return cast(WaitingThreads, current_app.extensions["waiting_threads"])
