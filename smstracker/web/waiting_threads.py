"""Counts the threads that wait for somebody outside: for Twilio or for a reader.

Each kind has its own limit, and all have one together: a quarter of the threads stays for callbacks
and for requests that end at once. Refused callbacks are held back on what those leave, and go on
as soon as one of those needs the thread.
"""

from threading import Condition

from flask import Flask, current_app


class WaitingThreads:
    """One for an app; whoever enters leaves again."""

    def __init__(self, threads: int) -> None:
        self._changed = Condition()
        self._max_waiting = max(threads - max(threads // 4, 1), 1)
        self._held_count = 0
        self.count = 0

    def enter(self) -> bool:
        """Enter if a quarter of the threads does not wait; whether that was so."""
        with self._changed:
            has_room = self.count < self._max_waiting
            self.count += has_room
            self._changed.notify(max(self.count + self._held_count - self._max_waiting, 0))
            return has_room

    def leave(self) -> None:
        with self._changed:
            self.count -= 1

    def hold_back(self, seconds: float) -> None:
        """Wait so long, or until somebody who has more to wait for needs the thread."""
        with self._changed:
            if self.count + self._held_count >= self._max_waiting:
                return
            self._held_count += 1
            try:
                self._changed.wait(seconds)
            finally:
                self._held_count -= 1


def init_app(app: Flask) -> None:
    app.extensions["waiting_threads"] = WaitingThreads(app.config["SETTINGS"].web_threads)


def waiting_threads() -> WaitingThreads:
    counter: WaitingThreads = current_app.extensions["waiting_threads"]
    return counter
