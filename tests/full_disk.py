"""A disk for temporary files without room."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import pytest

BUFFER_BYTES = 4 * 1024 * 1024


def open_full(mode: str = "w+b", **facts: Any) -> IO[Any]:
    """A file of which no byte can be written; it is told late, as of the last bytes of a file."""
    return open("/dev/full", mode, BUFFER_BYTES, encoding=facts.get("encoding"))


@contextmanager
def full_disk() -> Iterator[None]:
    """Have no temporary file take a byte."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TemporaryFile", "NamedTemporaryFile"):
            patch.setattr(tempfile, name, open_full)
        yield
