"""One open event stream: changes that its reader has not been sent, as server-sent events."""

import json
import random
import select
import time
from collections.abc import Iterable, Iterator
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smstracker.live.broadcaster import Broadcaster

RETRY_MS = 2000  # before the browser opens a broken stream again
# A stream that ends as planned is opened again at once, or its reader would miss seconds.
RESUME_MS = 100
HEARTBEAT = 15.0  # seconds; shorter than the timeout of any proxy
LIFETIME = 150.0  # seconds, plus or minus a fifth, so that not all come back at once
# A page with more changes than this reloads all its rows.
MAX_IDS = 500
# Linux reports at once that the reader has closed; elsewhere only a failing write does.
HANG_UP_EVENTS = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class Stream:
    """Iterated by the thread of its request; the broadcaster's thread adds changes."""

    def __init__(
        self,
        broadcaster: "Broadcaster",
        owner_id: int,
        session_hash: str,
        socket_number: int | None = None,
    ) -> None:
        self.owner_id = owner_id
        self.session_hash = session_hash
        self.socket_number = socket_number
        self.written_at = 0.0
        self.start_position = 0  # whoever opens the stream adds the changes up to here
        self._broadcaster = broadcaster
        self._ids: set[str] = set()
        self._all_changed = False
        self._condition = Condition()
        self._ended = False
        self._ends_at = time.monotonic() + LIFETIME * random.uniform(0.8, 1.2)

    def add_changes(self, ids: Iterable[str]) -> None:
        """Note changed messages; written at the next `wake`, or at once if the stream is awake."""
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
            self._condition.notify()

    def end(self) -> None:
        with self._condition:
            self._ended = True
            self._condition.notify()

    def close(self) -> None:
        """Leave the broadcaster; called by the WSGI server when the response is over."""
        self._broadcaster.leave(self)

    def __iter__(self) -> Iterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        while not self._ended:
            remaining = self._ends_at - time.monotonic()
            if remaining <= 0:
                yield f"retry: {RESUME_MS}\n".encode() + self._event()
                return
            with self._condition:
                self._condition.wait_for(self._is_due, min(HEARTBEAT, remaining))
            if not self._ended:
                yield self._event()

    def _is_due(self) -> bool:
        has_changes = bool(self._ids) or self._all_changed
        due_at = self.written_at + self._broadcaster.write_interval
        return self._ended or (has_changes and time.monotonic() >= due_at)

    def _event(self) -> bytes:
        # Read the position before the changes: those up to it are then among them.
        position = max(self._broadcaster.position, self.start_position)
        with self._condition:
            ids, self._ids = self._ids, set()
            all_changed, self._all_changed = self._all_changed, False
        # Set before the write: what changes during it is written after the interval.
        self.written_at = time.monotonic()
        lines = ": still here\n"
        if all_changed:
            lines = "event: all\ndata: all\n"
        elif ids:
            lines = f"event: changed\ndata: {json.dumps(sorted(ids))}\n"
        return f"{lines}id: {position}\n\n".encode()


def abandoned_streams(streams: Iterable[Stream]) -> list[Stream]:
    """Streams whose readers have closed the connection, before the next heartbeat fails."""
    poll = select.poll()
    by_socket = {
        stream.socket_number: stream for stream in streams if stream.socket_number is not None
    }
    for number in by_socket:
        poll.register(number, HANG_UP_EVENTS)
    return [by_socket[number] for number, _ in poll.poll(0)]
