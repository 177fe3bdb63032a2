"""Detection of complete HTTP/1 requests in their bytes, before they are parsed.

It decides only when a request is answered. The server's parser reads the same bytes, so an error
here ends in a 400 and delays nobody.
"""

import re
from enum import Enum

# A larger body is refused unread. Anybody can make the server hold this much for each connection.
# The send form is the largest form: 1,600 characters of up to 12 bytes when escaped, and ten
# addresses of 2,048 characters of up to 3 bytes, 80 KB in all. A text that is a few times too long
# is still answered with the reason.
MAX_BODY_BYTES = 128 * 1024
# A file of a batch and the form around it, or its rows as JSON. Nobody's memory holds it: a thread
# reads it once it is known who sends it.
MAX_UPLOAD_BYTES = 26 * 1024 * 1024
# Of a larger upload, so much is read for the fields that were typed beside the file.
MAX_SKIMMED_BYTES = 4 * MAX_UPLOAD_BYTES
MAX_PARTS = 100  # of a form with a file, which has a dozen fields
UPLOAD = re.compile(rb"POST /+(?:api/v1/)?batches(?:\?[^ ]*)? ")
# A status callback has a dozen fields and under 2 KB. The largest webhook that is sent here by
# mistake has a text of 1,600 characters: 19 KB if each is escaped.
MAX_CALLBACK_BYTES = 32 * 1024
CHUNK_OVERHEAD_DIVISOR = 4  # of a chunked body, a quarter more for the chunk sizes
MAX_HEAD_BYTES = 128 * 1024
# A chunk-size line includes its extensions. The parser's own limits are larger.
MAX_CHUNK_LINE_BYTES = 4 * 1024
MAX_TRAILER_BYTES = 8 * 1024
# Chunks of a byte each cost fifty times more to read than what they hold.
MAX_CHUNK_OVERHEAD_BYTES = 4 * 1024
LINE_END = b"\r\n"
HEAD_END = b"\r\n\r\n"
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked[ \t]*\r\n", re.IGNORECASE)
# Their bodies have a limit of their own, which must be known before the request is parsed.
WEBHOOKS_PATH = "/webhooks"
WEBHOOK = re.compile(rb"[A-Z]+ /*%s/" % WEBHOOKS_PATH.encode())
HTTP_1_0 = re.compile(rb"[^\r]* HTTP/1\.0\r\n")
EXPECT_CONTINUE = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
CHUNK_SIZE = re.compile(rb"0*([0-9a-fA-F]{1,8})")


class Progress(Enum):
    """How much of a request has arrived; `ENDED`: the peer has closed its side."""

    IDLE = "idle"
    PARTIAL = "partial"
    COMPLETE = "complete"
    ENDED = "ended"


class Framing:
    """The bytes of one connection that the parser has not taken yet.

    No byte is searched twice, however small the pieces: this runs on the server's only loop.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._begin()

    def _begin(self) -> None:
        self._searched_to = 0
        self._body_at = 0
        self._length: int | None = None  # None: chunked
        self._part_at = 0  # of the chunk-size line that is awaited, or of the trailers
        self._chunks_length = 0
        self._is_in_trailers = False
        self._max_body = MAX_BODY_BYTES
        self.is_webhook = False
        # Whether another request can follow; not if part of this one was not waited for.
        self.has_certain_end = True
        self.has_large_body = False  # and so its end was not waited for
        self._awaits_continue = False
        self._is_upload = False
        self.unread = 0  # bytes of an upload that have not arrived yet

    def add(self, piece: bytes) -> None:
        self._bytes += piece

    def take(self, size: int) -> bytes:
        """Return the next bytes for the parser; b"" if there are no more."""
        piece = bytes(self._bytes[:size])
        del self._bytes[:size]
        return piece

    def begin_next(self, unparsed: bytes) -> bool:
        """Start the next request with the unparsed bytes; return whether the last end was sure."""
        is_certain = self.has_certain_end
        self._bytes[:0] = unparsed
        self._begin()
        return is_certain

    def take_expectation(self) -> bool:
        """Return, once, whether the peer waits for "100 Continue" before its body."""
        is_awaited, self._awaits_continue = self._awaits_continue, False
        return is_awaited

    def progress(self) -> Progress:
        if not self._bytes:
            return Progress.IDLE
        if not self._body_at and not self._find_head():
            return self._partial_progress(MAX_HEAD_BYTES)
        if self._length is None:
            return self._progress_in_chunks()
        if len(self._bytes) >= self._body_at + self._length:
            return Progress.COMPLETE
        return self._partial_progress(self._body_at + self._max_body, self._length)

    def _partial_progress(self, limit: int, announced: int = 0) -> Progress:
        self.has_certain_end = len(self._bytes) <= limit and announced <= MAX_BODY_BYTES
        self.has_large_body = 0 < self._body_at < len(self._bytes) - self._max_body
        if self._is_upload and announced > MAX_BODY_BYTES:
            self.unread = self._body_at + min(announced, MAX_SKIMMED_BYTES) - len(self._bytes)
        return Progress.PARTIAL if self.has_certain_end else Progress.COMPLETE

    def _find(self, ending: bytes) -> int:
        """Return where `ending` ends; 0 if it has not arrived. Resumes after the last search."""
        at = self._bytes.find(ending, self._searched_to)
        if at >= 0:
            return at + len(ending)
        self._searched_to = max(len(self._bytes) - len(ending) + 1, self._searched_to)
        return 0

    def _find_head(self) -> bool:
        end = self._find(HEAD_END)
        if not end:
            return False
        self._body_at = self._part_at = self._searched_to = end
        head = bytes(self._bytes[: self._body_at])
        length = CONTENT_LENGTH.search(head)
        self._length = None if CHUNKED.search(head) else int(length[1]) if length else 0
        self.is_webhook = bool(WEBHOOK.match(head))
        self._is_upload = bool(UPLOAD.match(head))
        self._max_body = MAX_CALLBACK_BYTES if self.is_webhook else MAX_BODY_BYTES
        self._max_body += self._max_body // CHUNK_OVERHEAD_DIVISOR if self._length is None else 0
        # HTTP/1.0's is to be ignored: https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1
        self._awaits_continue = bool(EXPECT_CONTINUE.search(head)) and not HTTP_1_0.match(head)
        return True

    def _progress_in_chunks(self) -> Progress:
        """Return how much of a chunked body has arrived, trailers included."""
        limit = self._body_at + self._max_body
        while not self._is_in_trailers:
            end = self._find(LINE_END)
            if not end:
                return self._partial_progress(min(limit, self._part_at + MAX_CHUNK_LINE_BYTES))
            size = CHUNK_SIZE.match(self._bytes, self._part_at)
            if size is None:
                # Not a chunk size: leave the error to the parser.
                return Progress.COMPLETE
            self._chunks_length += int(size[1], 16)
            if self._has_tiny_chunks(end):
                # The parser is spared the rest.
                del self._bytes[end:]
                self.has_certain_end, self.has_large_body = False, True
                return Progress.COMPLETE
            self._is_in_trailers = int(size[1], 16) == 0
            # Without trailers, another CRLF follows that of the last chunk's line at once.
            offset = -len(LINE_END) if self._is_in_trailers else int(size[1], 16) + len(LINE_END)
            self._part_at = self._searched_to = end + offset
        if self._find(HEAD_END):
            return Progress.COMPLETE
        return self._partial_progress(self._part_at + MAX_TRAILER_BYTES)

    def _has_tiny_chunks(self, chunk_at: int) -> bool:
        overhead = chunk_at - self._body_at - self._chunks_length
        most = MAX_CHUNK_OVERHEAD_BYTES + self._chunks_length // CHUNK_OVERHEAD_DIVISOR
        return overhead > most
