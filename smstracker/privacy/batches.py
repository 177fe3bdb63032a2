"""Work through many rows in small transactions, between which callbacks are stored."""

import time
from collections.abc import Callable, Iterator
from threading import Event

# A callback that meets a batch on SQLite waits for the rest of it.
TARGET_SECONDS = 0.015
MIN_SIZE, FIRST_SIZE, MAX_SIZE = 5, 20, 500
MAX_GROWTH = 1.5
YIELD_SECONDS = 1.0  # between two reports, each of which costs the worker a transaction


def run_batches(run_batch: Callable[[int], int]) -> Iterator[int]:
    """Call `run_batch` with a number of rows until it returns 0; yield the sums, once a second.

    The number follows the time that a batch takes. After each one callbacks have as long a turn.
    """
    size, done_count, reported_at = FIRST_SIZE, 0, time.monotonic()
    while True:
        started_at = time.monotonic()
        count = run_batch(size)
        seconds = time.monotonic() - started_at
        if not count:
            break
        done_count += count
        if time.monotonic() - reported_at > YIELD_SECONDS:
            yield done_count
            done_count, reported_at = 0, time.monotonic()
        growth = min(TARGET_SECONDS / max(seconds, 0.001), MAX_GROWTH)
        size = min(max(int(size * growth), MIN_SIZE), MAX_SIZE)
        Event().wait(seconds)
    if done_count:
        yield done_count
