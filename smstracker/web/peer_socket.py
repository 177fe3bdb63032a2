"""A connection of the server that waits for no peer: it buffers, and holds responses back.

`DeadlineWorker` reads from it, sends what it holds and closes it.
"""

import errno
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from smstracker.web.request_framing import Framing

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

UPLOAD_SECONDS = 120.0  # for all of an upload
STALL_SECONDS = 10.0  # in which a peer has taken nothing of what a thread writes, or sent nothing
PEER_TIMEOUT_MS = 15_000  # after which the kernel gives up a peer that acknowledges nothing
MAX_UNSENT_BYTES = 1024 * 1024  # of a response; more than any page has
PIECE_BYTES = 65536
LAST_CHUNK = b"0\r\n\r\n"


class LateBody(Protocol):
    """The body of a response, of which pieces come until it is over."""

    is_over: bool
    on_due: Callable[[], None]  # to be called, by any thread, when a piece comes or it is over

    def is_due(self) -> bool:
        """Whether a piece has come, or the body is over."""

    def take(self) -> bytes:
        """Return a piece that has come; b"" if there is none."""

    def leave(self) -> None:
        """Give up the body: all is sent, or nobody is left who reads it."""


class PeerSocket(socket.socket):
    """A connection that is read from and written to without waiting for its peer."""

    def __init__(self, accepted: socket.socket, on_release: "Callable[[PeerSocket], None]") -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        self.framing = Framing()
        self._on_release = on_release
        self.awaited: Future[None] | None = None
        self.start_write: Callable[[], None] | None = None
        self._find_replacement: Callable[[], bytes | None] = lambda: None
        self._held_until = 0.0
        self._upload_until = 0.0
        self.held_at = 0.0  # since when the response is held
        self.late_body: LateBody | None = None
        self._last_chunk = b""  # of the late body, if it is sent in chunks
        self.is_registered = False
        self._unsent = bytearray()
        self._progress_at = 0.0
        if hasattr(socket, "TCP_USER_TIMEOUT") and self.family != socket.AF_UNIX:
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_TIMEOUT_MS)

    def settimeout(self, value: float | None, /) -> None:
        """Do nothing: no call waits, and each of the server's four a request is a system call."""

    def setblocking(self, flag: bool, /) -> None:
        """Do nothing, likewise."""

    def receive(self) -> bytes | None:
        """Return what has arrived: b"" at the end, None if nothing yet."""
        try:
            return super().recv(PIECE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def hold_back(self, seconds: float) -> None:
        """Delay the response to the current request without keeping its thread."""
        self._held_until = time.monotonic() + seconds

    def answer_after(
        self,
        write: "Future[None]",
        start: Callable[[], None],
        find_replacement: Callable[[], bytes | None],
    ) -> None:
        """Hold the response to the current request until `write` is done; no thread waits.

        `start` has it done, once for all that the loop answers in a round. `find_replacement` then
        returns what is sent instead, if anything.
        """
        self.awaited, self.start_write, self._find_replacement = write, start, find_replacement
        write.add_done_callback(lambda _: self._on_release(self))

    def stream_in_loop(self, body: LateBody) -> None:
        """Send `body` as it comes, after the head of the current response; no thread waits."""
        self.late_body = body
        body.on_due = lambda: self._on_release(self)

    def is_awaiting(self) -> bool:
        is_unstored = self.awaited is not None and not self.awaited.done()
        return is_unstored or self.late_body is not None

    def is_held(self) -> bool:
        if self.late_body:
            return not self.late_body.is_due()
        return self.is_awaiting() or self._held_until > time.monotonic()

    def end_wait(self) -> None:
        """Let the response go that was held, or its replacement; also if nothing is stored yet."""
        replacement = self._find_replacement() if self.awaited else None
        if replacement is not None:
            self._unsent[:] = replacement
        self.awaited = None

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return bytes received before, without waiting. Called by the server's parser.

        A thread waits for the rest of an upload; b"" if its peer stalls or is too slow.
        """
        piece = self.framing.take(size)
        if piece or not self.framing.unread:
            return piece
        self._upload_until = self._upload_until or time.monotonic() + UPLOAD_SECONDS
        poll = select.poll()
        poll.register(self, select.POLLIN)
        seconds = min(self._upload_until - time.monotonic(), STALL_SECONDS)
        if seconds <= 0 or not poll.poll(seconds * 1000):
            return b""
        piece = super().recv(min(size, self.framing.unread), socket.MSG_DONTWAIT)
        self.framing.unread -= len(piece)
        return piece

    def sendall(self, data: "ReadableBuffer", flags: int = 0) -> None:
        """Send, or buffer what the peer does not take now. Raises BrokenPipeError if it stalls."""
        if self.late_body and data == LAST_CHUNK:  # the server knows of no body
            self._last_chunk = LAST_CHUNK
            return
        if not self._unsent:
            self._progress_at = time.monotonic()
        self._unsent += data
        self.flush()
        is_stalled = bool(self._unsent) and self._seconds_to_stall() <= 0
        while len(self._unsent) > MAX_UNSENT_BYTES and not is_stalled:
            poll = select.poll()
            poll.register(self, select.POLLOUT)
            is_stalled = not poll.poll(max(self._seconds_to_stall(), 0) * 1000)
            self.flush()
        if is_stalled:
            self._unsent.clear()
            raise BrokenPipeError(errno.EPIPE, "the peer takes nothing")

    def _seconds_to_stall(self) -> float:
        return self._progress_at + STALL_SECONDS - time.monotonic()

    def flush(self) -> bool:
        """Send what the peer takes now; return whether that was all."""
        if self.awaited or (self.is_held() and not self.late_body):
            return False
        unsent_before = len(self._unsent)
        try:
            while self._unsent:
                del self._unsent[: self.send(self._unsent[:PIECE_BYTES], socket.MSG_DONTWAIT)]
        except BlockingIOError:
            pass
        except TimeoutError as error:  # the kernel's own, for a peer that has vanished
            raise BrokenPipeError(errno.EPIPE, "the peer has vanished") from error
        if len(self._unsent) < unsent_before:
            self._progress_at = time.monotonic()
        return not self._unsent

    def send_pieces(self) -> bool:
        """Send what has come of the late body, or its end; return whether the peer took all."""
        while self.flush() and self.late_body and self.late_body.is_due():
            if piece := self.late_body.take():
                chunk = b"%X\r\n%b\r\n" % (len(piece), piece)
                self._unsent += chunk if self._last_chunk else piece
            elif self.late_body.is_over:
                self._unsent += self._last_chunk
                self._give_up_body()
        return not self._unsent

    def _give_up_body(self) -> None:
        if self.late_body:
            self.late_body.leave()
        self.late_body, self._last_chunk = None, b""

    def close(self) -> None:
        self._give_up_body()  # before another connection has its number
        super().close()
