"""When an HTTP/1 request has arrived as a whole: found in its bytes, before it is parsed.

Nothing is decided here but when a thread gets it. The server's parser reads the same bytes and no
others, so what is judged wrongly here ends in a 400 and holds nobody up.
"""

import re
from enum import Enum

# More is not waited for: the app refuses it unread. Above its own limit, with room for chunk sizes.
LARGEST_BODY = 512 * 1024
LARGEST_HEAD = 128 * 1024
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked[ \t]*\r\n", re.IGNORECASE)
EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[^\r]*\r\n")


class Progress(Enum):
    """How much of a request there is; `ENDED`: the peer has closed and there will be no more."""

    IDLE = "idle"
    PARTIAL = "partial"
    COMPLETE = "complete"
    ENDED = "ended"


class Framing:
    """The bytes of one connection that no parser has taken yet."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._begin()

    def _begin(self) -> None:
        self._searched = 0
        self._body_at = 0
        self._length: int | None = None  # None: chunked
        self._chunk_at = 0
        self._is_too_large = False
        self._awaits_continue = False

    def add(self, piece: bytes) -> None:
        self._bytes += piece

    def take(self, size: int) -> bytes:
        """The next bytes for the parser; b"" if there are no more."""
        piece = bytes(self._bytes[:size])
        del self._bytes[:size]
        return piece

    def begin_next(self, unparsed: bytes) -> bool:
        """Go on after a request, with what its parser left; whether its end was certain."""
        is_certain = not self._is_too_large
        self._bytes[:0] = unparsed
        self._begin()
        return is_certain

    def take_expectation(self) -> bool:
        """Whether the peer waits for "100 Continue" with its body; once."""
        awaits, self._awaits_continue = self._awaits_continue, False
        return awaits

    def progress(self) -> Progress:
        if not self._bytes:
            return Progress.IDLE
        if not self._body_at and not self._find_head():
            return self._partial_up_to(LARGEST_HEAD)
        if self._length is None:
            is_complete = self._has_last_chunk()
        else:
            is_complete = len(self._bytes) >= self._body_at + self._length
        if is_complete:
            return Progress.COMPLETE
        return self._partial_up_to(self._body_at + LARGEST_BODY, self._length or 0)

    def _partial_up_to(self, most: int, announced: int = 0) -> Progress:
        self._is_too_large = len(self._bytes) > most or announced > LARGEST_BODY
        return Progress.COMPLETE if self._is_too_large else Progress.PARTIAL

    def _find_head(self) -> bool:
        end = self._bytes.find(HEAD_END, self._searched)
        if end < 0:
            self._searched = max(len(self._bytes) - len(HEAD_END) + 1, 0)
            return False
        self._body_at = self._chunk_at = end + len(HEAD_END)
        head = bytes(self._bytes[: self._body_at])
        length = LENGTH.search(head)
        self._length = None if CHUNKED.search(head) else int(length[1]) if length else 0
        self._awaits_continue = EXPECTS.search(head) is not None
        return True

    def _has_last_chunk(self) -> bool:
        """Whether the body has come to its end, trailers included."""
        while size := CHUNK_SIZE.match(self._bytes, self._chunk_at):
            if int(size[1], 16) == 0:
                # The line of the last chunk ends in CRLF: with no trailers another follows at once.
                return self._bytes.find(HEAD_END, size.end() - 2) >= 0
            following = size.end() + int(size[1], 16) + 2
            if following > len(self._bytes):
                return False
            self._chunk_at = following
        # A line that is no chunk size will not become one: the parser says so.
        return self._bytes.find(b"\r\n", self._chunk_at) >= 0
