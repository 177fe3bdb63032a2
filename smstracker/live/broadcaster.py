"""Follows the status events for all open streams of this process, with one thread.

The events are asked for again and again instead of being announced by the database: PostgreSQL's
NOTIFY takes a lock of the whole instance at every commit and does not pass PgBouncer, and SQLite
has nothing of the kind. So nothing is added to the path of the callbacks, any number of processes
can follow, and both databases are read by the same code. Nothing is held between two looks.
"""

import logging
import time
from collections import Counter, defaultdict
from threading import Event, Lock, Thread
from typing import Any

from flask import Flask
from sqlalchemy import Engine, Select

from config import Config
from smstracker.database.engine import READS_ONLY
from smstracker.live.commit_watcher import CommitWatcher
from smstracker.live.event_stream import Stream, abandoned
from smstracker.models import event_feed
from smstracker.models.users import live_key_hashes

log = logging.getLogger(__name__)

EVERY, EVERY_WHEN_BUSY = 0.1, 0.5  # seconds between two looks
CHECK_EVERY = 1.0
# Each stream that has something to write is a thread that wants the interpreter, and many at once
# would take it from those that store callbacks: so they are woken in turn, a few at each beat, and
# fewer if the beat is late, because then others wait for the interpreter already.
BEAT = 0.02  # seconds
LATE = 0.005
WOKEN_AT_A_BEAT = 8
WOKEN_WHEN_LATE = 2
# So many events a second, taken over two seconds: the open pages can wait a little then.
BUSY, BUSY_OVER = 100, 2.0
SLOWEST = 5.0  # seconds between two tries while the database is away
AT_ONCE = 1_000
# Transactions end sooner (see statement_timeout): what is still missing then was rolled back.
MISSING_FOR = 15.0
MOST_MISSING = 500


class TooManyStreamsError(Exception):
    """No more streams: their threads are needed for requests that end."""


class Broadcaster:
    """One for an app; its thread lives while a stream is open.

    `position` is settled: whatever lies at or before it has been told to the streams.
    """

    def __init__(self, config: Config) -> None:
        self.position = 0
        self._config = config
        self._most = max(config.web_threads - 2, 0) // 2
        self._streams: set[Stream] = set()
        self._guard = Lock()
        self._is_running = False
        self._stopped = Event()
        self._top = 0
        self._missing: dict[int, float] = {}
        self._told: dict[Stream, None] = {}  # and not woken yet, the longest waiting first
        self._checked_at = 0.0
        self._rate = 0.0  # events a second
        self._weighed_at = 0.0

    @property
    def is_busy(self) -> bool:
        return self._rate > BUSY

    def join(self, stream: Stream, engine: Engine, position: int) -> None:
        """Tell `stream` of everything after `position`, read a moment ago. Raises TooManyStreamsError."""
        with self._guard:
            if self._stopped.is_set():
                raise TooManyStreamsError
            if len(self._streams) >= self._most:
                self._end_abandoned()
            if len(self._streams) >= self._most:
                self._make_room(stream.owner_id)
            self._streams.add(stream)
            if not self._is_running:
                self._begin(engine, position)

    def _make_room(self, owner_id: int) -> None:
        """End a stream of whoever has the most, so that nobody can take all; or TooManyStreamsError."""
        counts = Counter(one.owner_id for one in self._streams)
        [(greediest, most)] = counts.most_common(1) or [(owner_id, 0)]
        if most <= counts[owner_id] + 1:
            raise TooManyStreamsError
        ended = next(one for one in self._streams if one.owner_id == greediest)
        self._streams.discard(ended)
        ended.end()

    def _end_abandoned(self) -> None:
        """Whoever goes to another page leaves a stream, which must not keep others from theirs."""
        for stream in abandoned(self._streams):
            self._streams.discard(stream)
            stream.end()

    def leave(self, stream: Stream) -> None:
        with self._guard:
            self._streams.discard(stream)

    def stop(self) -> None:
        """End every stream, for good: this process is about to end."""
        self._stopped.set()
        for stream in self._open():
            stream.end()

    def _open(self) -> list[Stream]:
        with self._guard:
            return list(self._streams)

    def _begin(self, engine: Engine, position: int) -> None:
        self.position = self._top = position
        self._missing, self._told = {}, {}
        Thread(target=self._run, args=[engine], name="broadcaster", daemon=True).start()
        self._is_running = True

    def _run(self, engine: Engine) -> None:
        pause = EVERY
        bell = CommitWatcher(engine)
        while self._goes_on():
            try:
                self._weigh(self._look(engine) if bell.has_rung() else 0)
                self._check(engine)
                pause = EVERY_WHEN_BUSY if self.is_busy else EVERY
            except Exception:
                # Whatever it is, the pages must not wait for ever: it is tried again.
                pause = min(pause * 2, SLOWEST)
                bell.reset()
                log.warning("broadcast_failed", exc_info=True)
            self._wake_in_turn(time.monotonic() + pause)
        bell.close()

    def _wake_in_turn(self, until: float) -> None:
        """Wake who was told something, each when it is due, until the next look."""
        beat = time.monotonic()
        while (now := time.monotonic()) < until and not self._stopped.is_set():
            most = WOKEN_AT_A_BEAT if now < beat + LATE else WOKEN_WHEN_LATE
            for stream in [one for one in self._told if not one.rests(now)][:most]:
                del self._told[stream]
                stream.wake()
            beat = min(now + BEAT, until) if self._told else until
            self._stopped.wait(beat - now)

    def _goes_on(self) -> bool:
        with self._guard:
            self._is_running = bool(self._streams) and not self._stopped.is_set()
            return self._is_running

    def _weigh(self, seen: int) -> None:
        """Take so many events into the rate."""
        now = time.monotonic()
        passed, self._weighed_at = now - self._weighed_at, now
        self._rate += (seen / passed - self._rate) * min(passed / BUSY_OVER, 1)

    def _look(self, engine: Engine) -> int:
        """Tell the streams of what has become visible since the last look, and how much it was."""
        seen = 0
        while True:
            now = time.monotonic()
            found = _read(engine, event_feed.changes(self._top, self._missing, AT_ONCE))
            news: defaultdict[int, set[str]] = defaultdict(set)
            for number, owner_id, public_id in found:
                self._note(number, now)
                if owner_id is not None:
                    news[owner_id].add(str(public_id))
            for stream in self._open() if news else ():
                if stream.owner_id in news:
                    stream.tell(news[stream.owner_id])
                    self._told.setdefault(stream)
            self._settle(now)
            seen += len(found)
            if len(found) < AT_ONCE:
                return seen

    def _note(self, number: int, now: float) -> None:
        if self._missing.pop(number, None) is None and number > self._top:
            first = max(self._top + 1, number - MOST_MISSING)
            self._missing |= dict.fromkeys(range(first, number), now + MISSING_FOR)
            self._top = number

    def _settle(self, now: float) -> None:
        kept = sorted(number for number, until in self._missing.items() if until > now)
        self._missing = {number: self._missing[number] for number in kept[-MOST_MISSING:]}
        self.position = min(self._missing, default=self._top + 1) - 1

    def _check(self, engine: Engine) -> None:
        """End the streams of readers who have gone, are signed out or no longer let in."""
        now = time.monotonic()
        if now - self._checked_at < CHECK_EVERY:
            return
        with self._guard:
            self._end_abandoned()
        streams = self._open()
        hashes = {stream.session_hash for stream in streams}
        with engine.connect().execution_options(**{READS_ONLY: True}) as connection:
            still_open = live_key_hashes(connection, self._config, hashes)
        self._checked_at = now
        for stream in streams:
            if stream.session_hash not in still_open:
                stream.end()


def _read(engine: Engine, query: Select[Any]) -> list[Any]:
    with engine.connect().execution_options(**{READS_ONLY: True}) as connection:
        return list(connection.execute(query))


def init_app(app: Flask) -> None:
    app.extensions["broadcaster"] = Broadcaster(app.config["SETTINGS"])
