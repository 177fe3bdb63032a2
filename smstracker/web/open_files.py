"""How many files a process may have open at once, and so how many connections it takes."""

import resource
from contextlib import suppress

MAX_OPEN_FILES = 10_240  # macOS gives no more, and more threads than it is enough for cannot be set
USUAL_CONNECTIONS = 1000


def attainable_limit() -> int:
    """The limit that a process can give itself."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)


def raise_limit() -> int:
    """Let this process and its children open as many files as they may; the limit from then on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_OPEN_FILES
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, attainable_limit()), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def limit_connections(limit: int, threads: int) -> int:
    """How many connections a process takes that may open so many files."""
    # Each open stream is one connection, and a browser keeps others beside it.
    usual = max(USUAL_CONNECTIONS, 2 * threads)
    return max(min(usual, limit - _reserve(threads)), threads + 1)


def find_min_limit(threads: int) -> int:
    """With a lower limit, fewer than two connections are left for each thread."""
    return _reserve(threads) + 2 * threads


def _reserve(threads: int) -> int:
    """Files for the database (three for each of 36 connections), Twilio, mail, logs and code."""
    return 256 + threads // 2
