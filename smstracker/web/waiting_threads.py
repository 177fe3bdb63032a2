"""Counts the threads that wait for somebody outside: for Twilio, for a reader, for a flood to pass.

Each kind has its own limit; together they could take every thread, and callbacks would wait.
"""

from threading import Lock

from flask import Flask, current_app


class WaitingThreads:
    """One for an app; whoever enters leaves again."""

    def __init__(self) -> None:
        self._guard = Lock()
        self.count = 0

    def enter(self) -> None:
        with self._guard:
            self.count += 1

    def enter_below(self, most: int) -> bool:
        """Enter if fewer than `most` wait; whether that was so."""
        with self._guard:
            has_room = self.count < most
            self.count += has_room
            return has_room

    def leave(self) -> None:
        with self._guard:
            self.count -= 1


def init_app(app: Flask) -> None:
    app.extensions["waiting_threads"] = WaitingThreads()


def waiting_threads() -> WaitingThreads:
    waiting: WaitingThreads = current_app.extensions["waiting_threads"]
    return waiting
