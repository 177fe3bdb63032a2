"""Work through many rows in small transactions, between which callbacks are stored."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event

from sqlalchemy.engine import Connection

from smstracker.database.lock_waits import repeat_while_locked
from smstracker.extensions import db

# A callback that meets a portion on SQLite waits for the rest of it, 50 ms at most. On PostgreSQL
# none waits: what is removed is settled, and what callbacks have locked is left out.
TARGET_SECONDS = {"sqlite": 0.025, "postgresql": 0.25}
MIN_SIZE, FIRST_SIZE, MAX_SIZE = 40, 60, 500
MAX_GROWTH = 1.5
# Others look for their turn twice in a millisecond, so they get it in this pause.
PAUSE_SECONDS = 0.005
YIELD_SECONDS = 1.0  # between two reports, each of which costs the worker a transaction


class Portion:
    """How many rows to work on, and for how long others could not write meanwhile."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held_seconds = 0.0

    @contextmanager
    def turn(self) -> Iterator[Connection]:
        """A transaction that may write; committed at the end."""
        with db.engine.begin() as connection:
            started_at = time.monotonic()
            yield connection
        self.held_seconds = time.monotonic() - started_at


def run_portions(run_portion: Callable[[Portion], int]) -> Iterator[int]:
    """Call `run_portion` until it returns 0 rows; yield the sums, once a second.

    The number of rows follows the time that the others had to wait.
    """
    size, done_count, reported_at = FIRST_SIZE, 0, time.monotonic()
    target = TARGET_SECONDS[db.engine.dialect.name]
    while True:
        portion = Portion(size)
        count = repeat_while_locked(partial(run_portion, portion))
        if not count:
            break
        done_count += count
        if time.monotonic() - reported_at > YIELD_SECONDS:
            yield done_count
            done_count, reported_at = 0, time.monotonic()
        growth = min(target / max(portion.held_seconds, 0.001), MAX_GROWTH)
        size = min(max(int(size * growth), MIN_SIZE), MAX_SIZE)
        Event().wait(PAUSE_SECONDS)
    if done_count:
        yield done_count
