"""Counts the threads that wait for somebody outside: for Twilio or for a reader.

Each kind has its own limit, and all have one together: a quarter of the threads stays for callbacks
and for requests that end at once.
"""

from threading import Lock

from flask import Flask, current_app


class WaitingThreads:
    """One for an app; whoever enters leaves again."""

    def __init__(self, threads: int) -> None:
        self._guard = Lock()
        self._most = max(threads - max(threads // 4, 1), 1)
        self.count = 0

    def enter(self) -> bool:
        """Enter if a quarter of the threads does not wait; whether that was so."""
        with self._guard:
            has_room = self.count < self._most
            self.count += has_room
            return has_room

    def leave(self) -> None:
        with self._guard:
            self.count -= 1


def init_app(app: Flask) -> None:
    app.extensions["waiting_threads"] = WaitingThreads(app.config["SETTINGS"].web_threads)


def waiting_threads() -> WaitingThreads:
    waiting: WaitingThreads = current_app.extensions["waiting_threads"]
    return waiting
