"""A request is complete exactly when its last byte has arrived, in whatever pieces it comes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smstracker.web.request_framing import (
    LARGEST_BODY,
    LARGEST_HEAD,
    LARGEST_LINE,
    LARGEST_TRAILERS,
    Framing,
    Progress,
)

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    HEAD + b"Content-Length: 5\r\n\r\na=b&c",
    HEAD + b"content-length:0\r\n\r\n",
    HEAD + b"Content-Length: 0000000000000000000000005\r\n\r\na=b&c",
    CHUNKED + b"0\r\n\r\n",
    CHUNKED + b"000000000005\r\na=b&c\r\n0\r\n\r\n",
    CHUNKED + b"5\r\n0\r\n\r\n\r\n3;x=y\r\na=b\r\n0\r\n\r\n",
    CHUNKED + b"1\r\na\r\n0\r\nTrailer: 1\r\n\r\n",
]


@given(st.sampled_from(REQUESTS), st.sets(st.integers(1, 120)))
def test_request_is_complete_with_its_last_byte(request: bytes, cuts: set[int]) -> None:
    framing, at = Framing(), 0
    for cut in [*sorted(cut for cut in cuts if cut < len(request)), len(request)]:
        framing.add(request[at:cut])
        at = cut
        is_complete = framing.progress() is Progress.COMPLETE
        assert is_complete == (cut == len(request))
    assert framing.take(10_000) == request
    assert framing.begin_next(b"")
    assert framing.progress() is Progress.IDLE


@given(st.binary(max_size=300))
def test_no_bytes_break_it(noise: bytes) -> None:
    framing = Framing()
    framing.add(CHUNKED + noise)
    assert framing.progress() in (Progress.PARTIAL, Progress.COMPLETE)


def test_what_follows_a_request_belongs_to_the_next() -> None:
    framing = Framing()
    framing.add(REQUESTS[1] + REQUESTS[0][:9])
    assert framing.progress() is Progress.COMPLETE
    framing.take(len(REQUESTS[1]) + 4)
    assert framing.begin_next(REQUESTS[0][:4])
    assert framing.progress() is Progress.PARTIAL
    framing.add(REQUESTS[0][9:])
    assert framing.progress() is Progress.COMPLETE
    assert framing.take(10_000) == REQUESTS[0]


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nX: " + b"x" * LARGEST_HEAD,
        HEAD + b"Content-Length: %d\r\n\r\n" % (LARGEST_BODY + 1),
        CHUNKED + b"FFFFFF\r\n" + b"x" * (LARGEST_BODY + 1),
        CHUNKED + b"1;" + b"x" * LARGEST_LINE,
        CHUNKED + b"5\r\na=b&c\r\n" + b"0" * (LARGEST_LINE + 1),
        CHUNKED + b"0\r\nX: " + b"x" * LARGEST_TRAILERS,
        CHUNKED + b"0\r\n" + b"X: x\r\n" * (LARGEST_TRAILERS // 5),
    ],
)
def test_what_is_too_large_is_not_waited_for_and_ends_the_connection(request_: bytes) -> None:
    framing = Framing()
    framing.add(request_)
    assert framing.progress() is Progress.COMPLETE
    assert not framing.begin_next(b"")


class CountedBytes(bytearray):
    """Counts how many bytes were looked through."""

    looked_through = 0

    def find(self, part: Any, start: Any = 0, end: Any = None) -> int:
        at = super().find(part, start)
        self.looked_through += max((len(self) if at < 0 else at) - start, 0)
        return at


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"X: x\r\n" * 3_000,
        CHUNKED + b"1;" + b"x" * (LARGEST_LINE - 9),
        CHUNKED + b"1;x=\r" + b"\r" * (LARGEST_LINE - 9),
        CHUNKED + b"4000;" + b"x" * 4_000 + b"\r\n" + b"x" * 0x4000,
        CHUNKED + b"1\r\na\r\n" * 2_000,
        CHUNKED + b"0\r\nX: " + b"x" * (LARGEST_TRAILERS - 9),
    ],
)
def test_bytes_that_come_one_by_one_are_looked_through_once(request_: bytes) -> None:
    framing = Framing()
    framing._bytes = counted = CountedBytes()
    for at in range(len(request_)):
        framing.add(request_[at : at + 1])
        assert framing.progress() is Progress.PARTIAL
    assert counted.looked_through < 6 * len(request_)
