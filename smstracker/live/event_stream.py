"""One open event stream: changes that its reader has not been sent, as server-sent events."""

import json
import random
import select
import time
from collections.abc import Callable, Iterable, Iterator
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smstracker.live.broadcaster import Broadcaster

RETRY_MS = 2000  # before the browser opens a broken stream again
# A stream that ends as planned is opened again at once, or its reader would miss seconds.
RESUME_MS = 100
# By then the page has learned that nobody is signed in, and opens none.
SIGNED_OUT_MS = 10_000
HEARTBEAT = 15.0  # seconds; shorter than the timeout of any proxy
LIFETIME = 150.0  # seconds, plus or minus a fifth, so that not all come back at once
# A page with more changes than this reloads all its rows.
MAX_IDS = 500
# Linux reports at once that the reader has closed; elsewhere only a failing write does.
HANG_UP_EVENTS = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class Stream:
    """Changes for one reader: the broadcaster adds them, the server takes and writes them.

    A server that can, as our gunicorn worker, does so in its loop: no thread waits for changes. In
    any other, the thread of the request iterates the stream.
    """

    def __init__(
        self,
        broadcaster: "Broadcaster",
        owner_id: int,
        session_hash: str,
        socket_number: int | None = None,
        hand_over: "Callable[[Stream], None] | None" = None,
    ) -> None:
        self.owner_id = owner_id
        self.session_hash = session_hash
        self.socket_number = socket_number
        self.start_position = 0  # whoever opens the stream adds the changes up to here
        self.written_at = 0.0  # the last changes
        self.is_over = False
        self.on_due: Callable[[], None] = self._notify
        self._broadcaster = broadcaster
        self._hand_over = hand_over
        self._is_handed_over = False
        self._ids: set[str] = set()
        self._all_changed = False
        self._is_awake = False
        self._condition = Condition()
        self._due_at = 0.0  # without changes: opening, heartbeat or end
        self._ends_at = time.monotonic() + LIFETIME * random.uniform(0.8, 1.2)
        self._reopens_after = RESUME_MS

    def add_changes(self, ids: Iterable[str]) -> None:
        """Note changed messages; written at the next `wake`."""
        with self._condition:
            self._ids.update(ids)
            if len(self._ids) > MAX_IDS:
                self.mark_all_changed()

    def mark_all_changed(self) -> None:
        """Note that any message may have changed."""
        self._ids, self._all_changed = set(), True

    def wake(self) -> None:
        """Have the stream write its changes."""
        with self._condition:
            self._is_awake = bool(self._ids) or self._all_changed
        self.on_due()

    def end_session(self) -> None:
        """End after one more event, at which the page fetches and learns that it is signed out."""
        with self._condition:
            self.mark_all_changed()
        self._ends_at, self._reopens_after = time.monotonic(), SIGNED_OUT_MS
        self.wake()

    def end(self) -> None:
        self.is_over = True
        self.on_due()

    def _notify(self) -> None:
        with self._condition:
            self._condition.notify()

    def close(self) -> None:
        """Leave the broadcaster, unless the stream outlives its request. Called by WSGI servers."""
        if not self._is_handed_over:
            self.leave()

    def leave(self) -> None:
        """Leave the broadcaster: nobody takes anything any more."""
        self._broadcaster.leave(self)

    def __iter__(self) -> Iterator[bytes]:
        if self._hand_over:
            self._is_handed_over = True
            self._hand_over(self)
            return
        while not self.is_over:
            yield self.take()
            with self._condition:
                self._condition.wait_for(self.is_due, max(self._due_at - time.monotonic(), 0))

    def is_due(self) -> bool:
        """Whether something is to be written now, or the stream is over."""
        return self.is_over or self._is_awake or time.monotonic() >= self._due_at

    def take(self) -> bytes:
        """Return what is to be written now; b"" if that is nothing."""
        if self.is_over or not self.is_due():
            return b""
        now = time.monotonic()
        retry = "" if self._due_at else f"retry: {RETRY_MS}\n"
        if now >= self._ends_at:
            self.is_over, retry = True, f"retry: {self._reopens_after}\n"
        self._due_at = min(now + HEARTBEAT, self._ends_at)
        return f"{retry}{self._event(now)}".encode()

    def _event(self, now: float) -> str:
        # Read the position before the changes: those up to it are then among them.
        position = max(self._broadcaster.position, self.start_position)
        with self._condition:
            ids, self._ids = self._ids, set()
            all_changed, self._all_changed = self._all_changed, False
            self._is_awake = False
        lines = ": still here\n"
        if all_changed:
            lines = "event: all\ndata: null\n"
        elif ids:
            lines = f"event: changed\ndata: {json.dumps(sorted(ids))}\n"
        if all_changed or ids:
            # Set before the write: what changes during it is written after the interval.
            self.written_at = now
        return f"{lines}id: {position}\n\n"


def abandoned_streams(streams: Iterable[Stream]) -> list[Stream]:
    """Streams whose readers have closed the connection, before the next heartbeat fails."""
    poll = select.poll()
    by_socket = {
        stream.socket_number: stream for stream in streams if stream.socket_number is not None
    }
    for number in by_socket:
        poll.register(number, HANG_UP_EVENTS)
    return [by_socket[number] for number, _ in poll.poll(0)]
