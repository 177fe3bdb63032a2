"""One open event stream: what a reader still has to be told, written as server-sent events."""

import json
import random
import select
import time
from collections.abc import Iterable, Iterator
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smstracker.live.broadcaster import Broadcaster

RETRY_AFTER = 2000  # ms that a browser waits before it opens a broken stream again
# A stream that ends by plan is opened again at once, or every reader were late by seconds.
RESUME_AFTER = 100  # ms
HEARTBEAT = 15.0  # seconds; shorter than the patience of any proxy
LIFETIME = 45.0  # seconds, give or take a fifth, so that not all come back at once
# Between two writes; the page would not fetch more often. While much is stored, what is written
# would take from that.
PAUSE, PAUSE_WHEN_BUSY = 0.5, 2.0  # seconds
# With more than this many changes a page does better to look at all of its rows.
MOST_IDS = 500
# Linux tells at once that the other side has closed; elsewhere a write that fails does, later.
HUNG_UP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class Stream:
    """Iterated by the thread of its request; told of changes by the broadcaster's."""

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
        self.caught_up_to = 0  # told of by whoever opened the stream
        self._broadcaster = broadcaster
        self._ids: set[str] = set()
        self._is_all = False
        self._rests_until = 0.0
        self._news = Condition()
        self._ended = False
        self._until = time.monotonic() + LIFETIME * random.uniform(0.8, 1.2)

    def tell(self, ids: Iterable[str]) -> None:
        """These messages have changed; said once it is woken, or is not asleep yet."""
        with self._news:
            self._ids.update(ids)
            if len(self._ids) > MOST_IDS:
                self.tell_all()

    def tell_all(self) -> None:
        """Any message may have changed."""
        self._ids, self._is_all = set(), True

    def rests(self, now: float) -> bool:
        """Whether it has written so short a time ago that it is not to be woken yet."""
        return now < self._rests_until

    def wake(self) -> None:
        """Write what was told."""
        with self._news:
            self._news.notify()

    def end(self) -> None:
        with self._news:
            self._ended = True
            self._news.notify()

    def close(self) -> None:
        """The reader is gone, or the stream was never begun: called by the WSGI server."""
        self._broadcaster.leave(self)

    def __iter__(self) -> Iterator[bytes]:
        yield f"retry: {RETRY_AFTER}\n\n".encode()
        while not self._ended:
            rest = self._until - time.monotonic()
            if rest <= 0:
                yield f"retry: {RESUME_AFTER}\n".encode() + self._event()
                return
            with self._news:
                self._news.wait_for(self._is_due, min(HEARTBEAT, rest))
            if not self._ended:
                yield self._event()

    def _is_due(self) -> bool:
        has_news = bool(self._ids) or self._is_all
        return self._ended or (has_news and not self.rests(time.monotonic()))

    def _event(self) -> bytes:
        # The position first: whatever came up to it has been told before, and so goes with it.
        position = max(self._broadcaster.position, self.caught_up_to)
        with self._news:
            ids, self._ids = self._ids, set()
            is_all, self._is_all = self._is_all, False
        # Before it is written: what comes meanwhile is said after the pause.
        pause = PAUSE_WHEN_BUSY if self._broadcaster.is_busy else PAUSE
        self._rests_until = time.monotonic() + pause
        words = ": still here\n"
        if is_all:
            words = "event: all\ndata: all\n"
        elif ids:
            words = f"event: changed\ndata: {json.dumps(sorted(ids))}\n"
        return f"{words}id: {position}\n\n".encode()


def abandoned(streams: Iterable[Stream]) -> list[Stream]:
    """Those whose readers have closed the connection; else only the next heartbeat would tell."""
    poll = select.poll()
    by_socket = {one.socket_number: one for one in streams if one.socket_number is not None}
    for number in by_socket:
        poll.register(number, HUNG_UP)
    return [by_socket[number] for number, _ in poll.poll(0)]
