"""A request is complete exactly when its last byte has arrived, in whatever pieces it comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smstracker.request_framing import LARGEST_BODY, LARGEST_HEAD, Framing, Progress

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    HEAD + b"Content-Length: 5\r\n\r\na=b&c",
    HEAD + b"content-length:0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n3;x=y\r\na=b\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: 1\r\n\r\n",
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
    framing.add(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + noise)
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
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFF\r\n" + b"x" * (LARGEST_BODY + 1),
    ],
)
def test_what_is_too_large_is_not_waited_for_and_ends_the_connection(request_: bytes) -> None:
    framing = Framing()
    framing.add(request_)
    assert framing.progress() is Progress.COMPLETE
    assert not framing.begin_next(b"")
