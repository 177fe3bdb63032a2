"""gunicorn's threaded worker, with a time limit on whatever waits for a peer.

A thread gets a request when it is complete and hands its response over without waiting: reading,
writing and closing are done by the main loop, where a slow peer costs a socket and no thread. Only
a response too large to be held (an export) waits for its reader. Plain HTTP/1: TLS is the proxy's.
"""

import errno
import logging
import select
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from enum import Enum
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from smstracker.request_framing import Framing, Progress
from smstracker.webhooks.flood import Lines

log = logging.getLogger(__name__)

IDLE = 5.0  # seconds without a request, at first and between two
READING = 10.0  # seconds for head and body together
WRITING = 30.0  # seconds for what is left of a response when its thread has gone
STALLED = 10.0  # seconds in which a peer has taken nothing of what a thread writes
CLOSING = 2.0  # seconds for a peer to see that the connection ends
VANISHED = 15_000  # ms after which the kernel gives up a peer that acknowledges nothing
LOOK_EVERY = 0.25  # seconds between two looks for what is too late
HELD = 1024 * 1024  # bytes of a response; more than any page has
PIECE = 65536
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_FILES = (errno.EMFILE, errno.ENFILE)
OUT_OF_FILES = "an idle connection ends for each new one: raise the limit of open files (ulimit -n)"
# How the server's warnings begin that anybody can cause with each request, and how many a minute
# are written.
BAD_REQUESTS = ("Invalid request", "Error handling request", "Socket error")
LINES_PER_MINUTE = 10

Step = Callable[[TConn], None]


class Phase(Enum):
    """What a connection that no thread has waits for."""

    IDLE = "a request"
    READING = "the rest of a request"
    CLOSING = "its peer's end, after ours"
    WRITING = "a peer that takes the rest of a response"


# Who has to make room for a new connection, if there is none of those before: whoever has sent
# part of a request must not keep the door closed, nor be ended before those that wait longer.
ROOM = ((Phase.IDLE, Phase.READING), (Phase.CLOSING,), (Phase.WRITING,))


class PeerSocket(socket.socket):
    """A connection that a thread reads from and writes to without waiting for its peer."""

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        self.framing = Framing()
        self.held_until = 0.0
        self._unsent = bytearray()
        self._progress_at = 0.0
        if hasattr(socket, "TCP_USER_TIMEOUT") and self.family != socket.AF_UNIX:
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED)

    def receive(self) -> bytes | None:
        """What has arrived, b"" at the end; None if nothing has yet."""
        try:
            return super().recv(PIECE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def hold_back(self, seconds: float) -> None:
        """Send the response to the present request only after so long; its thread goes on."""
        self.held_until = time.monotonic() + seconds

    def recv(self, size: int, flags: int = 0) -> bytes:
        """What was received before; never waits for more. Called by the server's parser."""
        return self.framing.take(size)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send, or hold what the peer does not take now. Raises BrokenPipeError if it stalls."""
        if not self._unsent:
            self._progress_at = time.monotonic()
        self._unsent += data
        self.flush()
        is_stalled = bool(self._unsent) and self._patience() <= 0
        while len(self._unsent) > HELD and not is_stalled:
            poll = select.poll()
            poll.register(self, select.POLLOUT)
            is_stalled = not poll.poll(max(self._patience(), 0) * 1000)
            self.flush()
        if is_stalled:
            self._unsent.clear()
            raise BrokenPipeError(errno.EPIPE, "the peer takes nothing")

    def _patience(self) -> float:
        return self._progress_at + STALLED - time.monotonic()

    def flush(self) -> bool:
        """Send what the peer takes now; whether that was all."""
        if self.held_until > time.monotonic():
            return False
        before = len(self._unsent)
        try:
            while self._unsent:
                del self._unsent[: self.send(self._unsent[:PIECE], socket.MSG_DONTWAIT)]
        except BlockingIOError:
            pass
        except TimeoutError as error:  # the kernel's own, for a peer that has vanished
            raise BrokenPipeError(errno.EPIPE, "the peer has vanished") from error
        if len(self._unsent) < before:
            self._progress_at = time.monotonic()
        return not self._unsent


class Worker(ThreadWorker):
    """`_peers` are the connections that no thread has: until when each may wait, and for what.

    The one that has waited longest for its peer comes first. `_held` are those whose response is
    held back.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._peers: dict[TConn, tuple[float, Phase]] = {}
        self._held: dict[TConn, Future[bool]] = {}
        self._looked_at = 0.0
        self._bad_requests = Lines(LINES_PER_MINUTE)
        self._full = Lines(1)

    def init_process(self) -> None:
        # Not in __init__, which runs before the process is made.
        self.log.error_log.addFilter(self._has_line)
        super().init_process()

    def _has_line(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(BAD_REQUESTS) or self._bad_requests.take()

    def accept(self, listener: socket.socket) -> None:
        try:
            accepted, address = listener.accept()
            conn = TConn(self.cfg, PeerSocket(accepted), address, listener.getsockname())
        except OSError as error:
            if error.errno in NO_FILES:
                self._free_a_file()
            return
        conn.data_ready = True
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        self._begin_to_read(conn)

    def _begin_to_read(self, conn: TConn) -> None:
        # What was received behind a request comes first, or whoever sends many at once fills us.
        progress: Progress = conn.sock.framing.progress()
        if progress is not Progress.COMPLETE:
            progress = self._receive(conn)
        if progress is Progress.COMPLETE:
            self.enqueue_req(conn)
        elif progress is Progress.ENDED:
            self._close(conn)
        elif progress is Progress.PARTIAL:
            self._wait(conn, Phase.READING, READING, self._read)
        else:
            self._wait(conn, Phase.IDLE, IDLE if self.alive else CLOSING, self._read)

    def _read(self, conn: TConn) -> None:
        progress = self._receive(conn)
        if progress is Progress.COMPLETE:
            self._forget(conn)
            self.enqueue_req(conn)
        elif progress is Progress.ENDED:
            self._end(conn)
        elif progress is Progress.PARTIAL and self._peers[conn][1] is Phase.IDLE:
            del self._peers[conn]
            self._peers[conn] = (time.monotonic() + READING, Phase.READING)

    def _receive(self, conn: TConn) -> Progress:
        """Take what has arrived; how much of a request there is by now."""
        framing: Framing = conn.sock.framing
        try:
            piece = conn.sock.receive()
            framing.add(piece or b"")
            progress = framing.progress()
            if progress is Progress.PARTIAL and framing.take_expectation():
                conn.sock.sendall(CONTINUE)
        except OSError:
            return Progress.ENDED
        is_over = piece == b"" and progress is not Progress.COMPLETE
        return Progress.ENDED if is_over else progress

    def handle_request(self, req: Any, conn: TConn) -> bool:
        # Leave to send the body was given when it was waited for, and has been used by now.
        req._expected_100_continue = False
        if not conn.sock.framing.ends_certainly:
            req.force_close()
        return bool(super().handle_request(req, conn))

    def finish_request(self, conn: TConn, done: "Future[bool]") -> None:
        """Send what is left of the response, then read the next request or close."""
        if conn.sock.held_until > time.monotonic():
            self._held[conn] = done
            return None
        stays = not done.cancelled() and done.exception() is None and done.result()

        def go_on(conn: TConn) -> None:
            unparsed = conn.parser.unreader.take_buffered() if stays else b""
            if stays and conn.sock.framing.begin_next(unparsed):
                self._begin_to_read(conn)
            else:
                self._begin_to_close(conn)

        def write(conn: TConn) -> None:
            try:
                is_sent = conn.sock.flush()
            except OSError:
                return self._end(conn)
            if is_sent:
                self._forget(conn)
                go_on(conn)
            else:
                self._peers[conn] = self._peers.pop(conn)
            return None

        try:
            is_sent = conn.sock.flush()
        except OSError:
            return self._close(conn)
        if is_sent:
            return go_on(conn)
        return self._wait(conn, Phase.WRITING, WRITING, write)

    def _begin_to_close(self, conn: TConn) -> None:
        """End our side and wait for the peer's: a reset would take the response from it."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return self._close(conn)

        def drain(conn: TConn) -> None:
            with suppress(OSError):
                if conn.sock.receive() != b"":
                    return
            self._end(conn)

        return self._wait(conn, Phase.CLOSING, CLOSING, drain)

    def _wait(self, conn: TConn, phase: Phase, seconds: float, step: Step) -> None:
        """Call `step` whenever the peer does something, for so many seconds."""

        def on_event(_socket: socket.socket) -> None:
            if conn in self._peers:  # or it was ended after this event was noticed
                step(conn)

        self._peers[conn] = (time.monotonic() + seconds, phase)
        event = selectors.EVENT_WRITE if phase is Phase.WRITING else selectors.EVENT_READ
        self.poller.register(conn.sock, event, on_event)

    def _forget(self, conn: TConn) -> None:
        del self._peers[conn]
        self.poller.unregister(conn.sock)

    def _end(self, conn: TConn) -> None:
        self._forget(conn)
        self._close(conn)

    def _close(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()

    def _make_room(self) -> None:
        """End the connection that has waited longest; never one that a thread answers."""
        for conn in self._held:
            del self._held[conn]
            return self._close(conn)
        for phases in ROOM:
            waiting = (conn for conn, (_, phase) in self._peers.items() if phase in phases)
            if longest := next(waiting, None):
                return self._give_up(longest)
        return None

    def _free_a_file(self) -> None:
        """Make room for the connection that waits outside, and say so once a minute."""
        self._make_room()
        self._full.left_out()
        if self._full.take():
            log.error("too_many_open_files", extra={"reason": OUT_OF_FILES})

    def _give_up(self, conn: TConn) -> None:
        """End a connection whose peer has not done its part, and say so if it waits for us."""
        if self._peers[conn][1] is Phase.READING:
            with suppress(OSError):
                conn.sock.send(TOO_SLOW, socket.MSG_DONTWAIT)
        self._end(conn)

    def murder_pending(self) -> None:
        """End what waits for too long; called after each turn of the loop."""
        now = time.monotonic()
        if now < self._looked_at + LOOK_EVERY:
            return
        self._looked_at = now
        if count := self._bad_requests.left_out():
            log.warning("bad_requests", extra={"count": count})
        for conn in [conn for conn in self._held if conn.sock.held_until <= now]:
            self.finish_request(conn, self._held.pop(conn))
        for conn in [conn for conn, (until, _) in self._peers.items() if until <= now]:
            self._give_up(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Let a stop wait for idle connections no longer than that."""
        for conn, (until, phase) in self._peers.items():
            if phase is Phase.IDLE:
                self._peers[conn] = (min(until, deadline), phase)
