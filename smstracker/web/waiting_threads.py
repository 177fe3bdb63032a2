"""Count of the threads that wait for an outside party: Twilio or a slow reader.

Each kind has its own limit, and all have one together: a quarter of the threads stays free for
callbacks and for requests that end at once. Refused callbacks are held back only on threads that
these waits leave, and are released as soon as one of the waits needs the thread.
"""

from threading import Condition

from flask import Flask, current_app


class WaitingThreads:
    """The counter of one app. Each successful `enter` needs one `leave`."""

    def __init__(self, threads: int) -> None:
        self._changed = Condition()
        self._max_waiting = max(threads - max(threads // 4, 1), 1)
        self._held_count = 0
        self.count = 0

    def enter(self) -> bool:
        """Enter while a quarter of the threads stays free; return whether that succeeded."""
        with self._changed:
            has_room = self.count < self._max_waiting
            self.count += has_room
            self._changed.notify(max(self.count + self._held_count - self._max_waiting, 0))
            return has_room

    def leave(self) -> None:
        with self._changed:
            self.count -= 1

    def hold_back(self, seconds: float) -> None:
        """Wait for `seconds`, or until a wait that counts needs the thread."""
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
