"""A request is complete exactly when its last byte has arrived, in whatever pieces it comes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smstracker.web.request_framing import (
    MAX_BODY_BYTES,
    MAX_CALLBACK_BYTES,
    MAX_CHUNK_LINE_BYTES,
    MAX_CHUNK_OVERHEAD_BYTES,
    MAX_HEAD_BYTES,
    MAX_TRAILER_BYTES,
    Framing,
    Progress,
)

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
WEBHOOK = b"POST /webhooks/twilio/status HTTP/1.1\r\nHost: x\r\n"
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


def test_body_in_tiny_chunks_is_not_read_to_its_end() -> None:
    framing = Framing()
    framing.add(CHUNKED + b"1\r\na\r\n" * 26_000 + b"0\r\n\r\n")
    assert framing.progress() is Progress.COMPLETE
    assert not framing.has_certain_end
    assert len(framing.take(1_000_000)) < len(CHUNKED) + 2 * MAX_CHUNK_OVERHEAD_BYTES


@pytest.mark.parametrize(("size", "count"), [(1, 800), (40, 3000), (4096, 25)])
def test_body_in_small_chunks_is_read_to_its_end(size: int, count: int) -> None:
    framing = Framing()
    request = CHUNKED + (b"%x\r\n" % size + b"a" * size + b"\r\n") * count + b"0\r\n\r\n"
    framing.add(request)
    assert framing.progress() is Progress.COMPLETE
    assert framing.has_certain_end
    assert framing.take(1_000_000) == request


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
        b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES,
        HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1),
        CHUNKED + b"FFFFFF\r\n" + b"x" * (MAX_BODY_BYTES * 5 // 4),
        CHUNKED + b"1\r\nx\r\n" * (MAX_BODY_BYTES // 4),
        WEBHOOK + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1),
        WEBHOOK + b"Content-Length: 90000\r\n\r\n" + b"x" * (MAX_CALLBACK_BYTES + 1),
        WEBHOOK.replace(b" /", b" //")
        + b"Content-Length: 90000\r\n\r\n"
        + b"x" * (MAX_CALLBACK_BYTES + 1),
        WEBHOOK
        + b"Transfer-Encoding: chunked\r\n\r\nFFFFFF\r\n"
        + b"x" * (MAX_CALLBACK_BYTES * 5 // 4),
        CHUNKED + b"1;" + b"x" * MAX_CHUNK_LINE_BYTES,
        CHUNKED + b"5\r\na=b&c\r\n" + b"0" * (MAX_CHUNK_LINE_BYTES + 1),
        CHUNKED + b"0\r\nX: " + b"x" * MAX_TRAILER_BYTES,
        CHUNKED + b"0\r\n" + b"X: x\r\n" * (MAX_TRAILER_BYTES // 5),
    ],
)
def test_what_is_too_large_is_not_waited_for_and_ends_the_connection(request_: bytes) -> None:
    framing = Framing()
    framing.add(request_)
    assert framing.progress() is Progress.COMPLETE
    assert not framing.begin_next(b"")


@pytest.mark.parametrize(
    ("head", "most"),
    [(HEAD, MAX_BODY_BYTES), (WEBHOOK, MAX_CALLBACK_BYTES)],
    ids=["form", "callback"],
)
def test_largest_body_is_waited_for(head: bytes, most: int) -> None:
    framing = Framing()
    framing.add(head + b"Content-Length: %d\r\n\r\n" % most + b"x" * (most - 1))
    assert framing.progress() is Progress.PARTIAL
    framing.add(b"x")
    assert framing.progress() is Progress.COMPLETE
    assert framing.begin_next(b""), "its end is certain"


def test_expectation_of_the_version_before_is_ignored() -> None:
    for version, awaits in ((b"1.1", True), (b"1.0", False)):
        framing = Framing()
        framing.add(
            HEAD.replace(b"1.1", version) + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        assert framing.progress() is Progress.PARTIAL
        assert framing.take_expectation() is awaits


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
        CHUNKED + b"1;" + b"x" * (MAX_CHUNK_LINE_BYTES - 9),
        CHUNKED + b"1;x=\r" + b"\r" * (MAX_CHUNK_LINE_BYTES - 9),
        CHUNKED + b"4000;" + b"x" * 4_000 + b"\r\n" + b"x" * 0x4000,
        CHUNKED + b"1\r\na\r\n" * 700,
        CHUNKED + b"0\r\nX: " + b"x" * (MAX_TRAILER_BYTES - 9),
    ],
)
def test_bytes_that_come_one_by_one_are_looked_through_once(request_: bytes) -> None:
    framing = Framing()
    framing._bytes = counted = CountedBytes()
    for at in range(len(request_)):
        framing.add(request_[at : at + 1])
        assert framing.progress() is Progress.PARTIAL
    assert counted.looked_through < 6 * len(request_)
