"""Follows the status events for all open streams of this process, in one thread.

It polls the events instead of having the database announce them: PostgreSQL's NOTIFY takes a lock
of the whole instance at every commit and does not pass PgBouncer, and SQLite has no such thing. So
callbacks pay nothing, any number of processes can follow, and the same code reads both databases.
It holds no connection and no transaction between two polls.

Streams get an event as soon as it is visible, although one with a lower id may follow: a page reads
the messages anew, so the order does not matter, and a transaction that hangs delays only its own
events. The position that a page goes on from is a settled one.
"""

import logging
import time
from collections import Counter, defaultdict, deque
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from flask import Flask
from sqlalchemy import Engine

from smstracker.database.engine import reading_connection
from smstracker.live.commit_watcher import CommitWatcher
from smstracker.live.event_stream import Stream, abandoned_streams
from smstracker.models.event_feed import EventTail, select_changes
from smstracker.models.users import live_key_hashes

if TYPE_CHECKING:
    from config import Config

log = logging.getLogger(__name__)

POLLS_PER_WRITE = 5  # of a stream, at the least interval between two of its writes
SESSION_CHECK_INTERVAL = 1.0  # seconds
MAX_RETRY_INTERVAL = 5.0  # seconds, while the database is away
BATCH_SIZE = 1_000  # events
# Streams that write take the interpreter from what stores callbacks: the server's loop, or in other
# servers a thread each. So a few are woken at a time, and fewer if the broadcaster itself is late,
# because then other threads already wait for the interpreter.
WAKE_INTERVAL = 0.02  # seconds
WAKE_TOLERANCE = 0.005  # seconds
MAX_WAKES = 8
MAX_WAKES_LATE = 2
# Seconds between two writes of a stream; a page would not fetch more often. Writing takes time from
# storing callbacks, so pages wait longer while many callbacks come and many pages are open.
MIN_WRITE_INTERVAL, MAX_WRITE_INTERVAL = 0.5, 15.0
LOAD_FOR_ONE_SECOND = 10_000  # streams times events a second at which a stream writes each second
RATE_WINDOW = 2.0  # seconds


class TooManyStreamsError(Exception):
    """Another stream might leave no thread, in servers that need one, for requests that end."""


class Broadcaster:
    """Hands events to the streams of an app; its thread lives while a stream is open.

    Every event up to `position` has been handed to the streams.
    """

    def __init__(self, config: "Config") -> None:
        self.position = 0
        self._config = config
        self._max_streams = max(config.web_threads - 2, 0) // 2
        self._streams: set[Stream] = set()
        self._lock = Lock()
        self._is_running = False
        self._thread: Thread | None = None
        self._stopped = Event()
        self._tail = EventTail(0)
        self._to_wake: set[Stream] = set()
        self._checked_at = 0.0
        self._rate = 0.0  # events a second
        self._rated_at = 0.0

    @property
    def write_interval(self) -> float:
        """Seconds between two writes of a stream, at the current load."""
        seconds = len(self._streams) * self._rate / LOAD_FOR_ONE_SECOND
        return min(max(seconds, MIN_WRITE_INTERVAL), MAX_WRITE_INTERVAL)

    def join(self, stream: Stream, engine: Engine, position: int) -> None:
        """Hand `stream` every event after `position`, which was read a moment ago.

        Raises TooManyStreamsError.
        """
        with self._lock:
            if self._stopped.is_set():
                raise TooManyStreamsError
            if len(self._streams) >= self._max_streams:
                self._end_abandoned()
            if len(self._streams) >= self._max_streams:
                self._make_room(stream.owner_id)
            self._streams.add(stream)
            if not self._is_running:
                self._start(engine, position)

    def _make_room(self, owner_id: int) -> None:
        """End a stream of the owner with most, so that nobody can take all.

        Raises TooManyStreamsError if `owner_id` would then have the most.
        """
        counts = Counter(stream.owner_id for stream in self._streams)
        [(greediest_owner, count)] = counts.most_common(1) or [(owner_id, 0)]
        if count <= counts[owner_id] + 1:
            raise TooManyStreamsError
        stream = next(stream for stream in self._streams if stream.owner_id == greediest_owner)
        self._streams.discard(stream)
        stream.end()

    def _end_abandoned(self) -> None:
        """End the streams that readers leave behind when they go to another page."""
        for stream in abandoned_streams(self._streams):
            self._streams.discard(stream)
            stream.end()

    def leave(self, stream: Stream) -> None:
        with self._lock:
            self._streams.discard(stream)

    def stop(self) -> None:
        """End every stream and admit no more: this process is about to end."""
        self._stopped.set()
        for stream in self._open_streams():
            stream.end()

    def close(self) -> None:
        """Stop, and wait until the thread no longer reads the database."""
        self.stop()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _open_streams(self) -> list[Stream]:
        with self._lock:
            return list(self._streams)

    def _start(self, engine: Engine, position: int) -> None:
        self.position, self._tail, self._to_wake = position, EventTail(position), set()
        self._thread = Thread(target=self._run, args=[engine], name="broadcaster", daemon=True)
        self._thread.start()
        self._is_running = True

    def _run(self, engine: Engine) -> None:
        interval = MIN_WRITE_INTERVAL / POLLS_PER_WRITE
        watcher = CommitWatcher(engine)
        while self._should_run():
            try:
                self._update_rate(self._poll(engine) if watcher.has_changed() else 0)
                self._check_sessions(engine)
                interval = self.write_interval / POLLS_PER_WRITE
            except Exception:
                # Retry whatever it is, or the pages would wait for ever.
                interval = min(interval * 2, MAX_RETRY_INTERVAL)
                watcher.close()
                log.warning("broadcast_failed", exc_info=True)
            self._wake_streams(time.monotonic() + interval)
        watcher.close()

    def _wake_streams(self, until: float) -> None:
        """Wake the streams that have changes to write, each when it is due, until the next poll."""
        interval = self.write_interval
        waiting = deque(sorted(self._to_wake, key=lambda stream: stream.written_at))
        due_at = time.monotonic()
        while (now := time.monotonic()) < until and not self._stopped.is_set():
            for _ in range(MAX_WAKES if now < due_at + WAKE_TOLERANCE else MAX_WAKES_LATE):
                if waiting and waiting[0].written_at + interval <= now:
                    stream = waiting.popleft()
                    self._to_wake.discard(stream)
                    stream.wake()
            next_at = waiting[0].written_at + interval if waiting else until
            due_at = min(max(now + WAKE_INTERVAL, next_at), until)
            self._stopped.wait(due_at - now)

    def _should_run(self) -> bool:
        with self._lock:
            self._is_running = bool(self._streams) and not self._stopped.is_set()
            return self._is_running

    def _update_rate(self, event_count: int) -> None:
        now = time.monotonic()
        elapsed, self._rated_at = now - self._rated_at, now
        self._rate += (event_count / elapsed - self._rate) * min(elapsed / RATE_WINDOW, 1)

    def _poll(self, engine: Engine) -> int:
        """Hand the streams what has become visible since the last poll; the number of events."""
        count = 0
        while True:
            with reading_connection(engine) as connection:
                rows = self._tail.read(connection, select_changes(), BATCH_SIZE)
            changed: defaultdict[int, set[str]] = defaultdict(set)
            for _event_id, owner_id, public_id in rows:
                if owner_id is not None:
                    changed[owner_id].add(str(public_id))
            for stream in self._open_streams() if changed else ():
                if stream.owner_id in changed:
                    stream.add_changes(changed[stream.owner_id])
                    self._to_wake.add(stream)
            self.position = self._tail.position
            count += len(rows)
            if len(rows) < BATCH_SIZE:
                return count

    def _check_sessions(self, engine: Engine) -> None:
        """End the streams of readers who have gone, are signed out or no longer let in."""
        now = time.monotonic()
        if now - self._checked_at < SESSION_CHECK_INTERVAL:
            return
        with self._lock:
            self._end_abandoned()
        streams = self._open_streams()
        hashes = {stream.session_hash for stream in streams}
        with reading_connection(engine) as connection:
            open_hashes = live_key_hashes(connection, self._config, hashes)
        self._checked_at = now
        for stream in streams:
            if stream.session_hash not in open_hashes:
                stream.end_session()


def init_app(app: Flask) -> None:
    app.extensions["broadcaster"] = Broadcaster(app.config["SETTINGS"])
