"""gunicorn's threaded worker, with a time limit on every wait for a peer.

A thread gets a complete request and hands over its response without waiting: the main loop reads,
writes and closes, so that a slow peer costs a socket and no thread. Only a response too large to
buffer (an export) waits for its reader. A webhook gets no thread either: the loop calls its view,
and sends the response when what it stores is stored. Nor does an open event stream: the loop sends
what comes. Plain HTTP/1: TLS is the proxy's.
"""

import errno
import logging
import math
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from gunicorn.workers.gthread import TConn, ThreadWorker

from smstracker.web.peer_socket import PeerSocket
from smstracker.web.request_framing import Framing, Progress
from smstracker.web.throttle import LogThrottle

if TYPE_CHECKING:
    from gunicorn.http.message import Request

log = logging.getLogger(__name__)

IDLE_SECONDS = 5.0  # without a request, at first and between two
READ_SECONDS = 10.0  # for head and body together
WRITE_SECONDS = 30.0  # for what is left of a response when its thread has gone
HOLD_SECONDS = 30.0  # for a commit; Twilio waits for half as long
LONG_ROUND_SECONDS = (
    0.05  # in which the loop answers others, before it stores and sends what it can
)
CLOSE_SECONDS = 2.0  # for a peer to see that the connection ends
CHECK_INTERVAL_SECONDS = 0.25  # between two looks for what is too late
# A round of the loop accepts one connection, and one more for each of these that the last took:
# of many that come at once, one process would else take all, and the others none.
SECONDS_PER_ACCEPT = 0.001
TIMEOUT_RESPONSE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
CONTINUE_RESPONSE = b"HTTP/1.1 100 Continue\r\n\r\n"
FILE_LIMIT_ERRORS = (errno.EMFILE, errno.ENFILE)
FILE_ADVICE = "an idle connection ends for each new one: raise the limit of open files (ulimit -n)"
# How the server's warnings begin that anybody can cause with each request, and how many a minute
# are written.
BAD_REQUEST_PREFIXES = ("Invalid request", "Error handling request", "Socket error")
BAD_REQUEST_LINES_PER_MINUTE = 10

Step = Callable[[TConn], None]


class Phase(Enum):
    """What a connection without a thread waits for."""

    IDLE = "a request"
    READING = "the rest of a request"
    CLOSING = "its peer's end, after ours"
    WRITING = "a peer that takes the rest of a response"
    STREAMING = "its peer's end, while its response goes on"


# The phases whose oldest connection makes room for a new one, the first phases first: a peer that
# has sent part of a request must not block others, nor be ended before those that wait longer.
EVICTION_ORDER = ((Phase.IDLE, Phase.READING), (Phase.CLOSING,), (Phase.WRITING,))


class DeadlineWorker(ThreadWorker):
    """Closes connections whose deadline has passed.

    `_peers` maps each connection without a thread to its deadline and phase, oldest first; `_held`
    maps the socket of each response that is held to its connection and finished request.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._peers: dict[TConn, tuple[float, Phase]] = {}
        self._held: dict[PeerSocket, tuple[TConn, Future[bool]]] = {}
        self._released: deque[PeerSocket] = deque()
        self._sends_released = False  # soon: the loop has been asked
        self._start_writes: Callable[[], None] | None = None
        self._round_began_at: float | None = None
        self._round_is_long_at = 0.0
        self._last_round_seconds = 0.0
        self._checked_at = 0.0
        self._bad_request_throttle = LogThrottle(BAD_REQUEST_LINES_PER_MINUTE)
        self._file_limit_throttle = LogThrottle(1)

    def init_process(self) -> None:
        # Not in __init__, which runs before the process is made.
        self.log.error_log.addFilter(self._may_log)
        super().init_process()

    def _may_log(self, record: logging.LogRecord) -> bool:
        is_bad_request = str(record.msg).startswith(BAD_REQUEST_PREFIXES)
        return not is_bad_request or self._bad_request_throttle.take()

    def accept(self, listener: socket.socket) -> None:
        """Accept some of those that wait outside; more if each round answers many webhooks."""
        for _ in range(1 + int(self._last_round_seconds / SECONDS_PER_ACCEPT)):
            if not self._accept_one(listener) or self.nr_conns >= self.worker_connections:
                break

    def _accept_one(self, listener: socket.socket) -> bool:
        try:
            accepted, address = listener.accept()
            conn = TConn(
                self.cfg, PeerSocket(accepted, self._release), address, listener.getsockname()
            )
        except OSError as error:
            if error.errno in FILE_LIMIT_ERRORS:
                self._free_file()
            return False
        conn.data_ready = True
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        self._read(conn)
        return True

    def _read(self, conn: TConn) -> None:
        now = time.monotonic()
        if self._round_began_at is None:
            self._round_began_at, self._round_is_long_at = now, now + LONG_ROUND_SECONDS
        elif now > self._round_is_long_at:  # those that were answered first must not wait for all
            self._round_is_long_at = now + LONG_ROUND_SECONDS
            self._start_held()
            self._send_released()
        self._proceed(conn, self._receive(conn))

    def _proceed(self, conn: TConn, progress: Progress) -> None:
        """Hand a complete request over, or wait for the rest of it."""
        if progress is Progress.PARTIAL and conn.sock.framing.take_expectation():
            with suppress(OSError):
                conn.sock.sendall(CONTINUE_RESPONSE)
        if progress is Progress.COMPLETE:
            self._forget(conn)
            if conn.sock.framing.is_webhook:
                self._answer(conn)
            else:
                self._unregister(conn)
                self.enqueue_req(conn)
        elif progress is Progress.ENDED:
            self._close(conn)
        elif conn not in self._peers:
            seconds = IDLE_SECONDS if self.alive else CLOSE_SECONDS
            self._wait(conn, Phase.IDLE, seconds, self._read)
        if progress is Progress.PARTIAL and self._peers[conn][1] is Phase.IDLE:
            del self._peers[conn]
            self._peers[conn] = (time.monotonic() + READ_SECONDS, Phase.READING)

    def _answer(self, conn: TConn) -> None:
        """Answer a webhook without a thread: its view waits for nothing."""
        done: Future[bool] = Future()
        done.set_result(self.handle(conn))
        if conn.sock.fileno() == -1:  # after an error; the next connection may get its number
            self._unregister(conn)
        if conn.sock.is_held():
            self.finish_request(conn, done)
        else:  # not now: of many requests sent at once, each would call the next
            self.method_queue.defer(self.finish_request, conn, done)

    def _receive(self, conn: TConn) -> Progress:
        """Take what has arrived; return how much of a request there is by now."""
        framing: Framing = conn.sock.framing
        try:
            piece = conn.sock.receive()
            framing.add(piece or b"")
            progress = framing.progress()
        except OSError:
            return Progress.ENDED
        is_over = piece == b"" and progress is not Progress.COMPLETE
        return Progress.ENDED if is_over else progress

    def handle_request(self, req: "Request", conn: TConn) -> bool:
        # "100 Continue" was sent while the body was awaited, so it is not sent again.
        req._expected_100_continue = False
        if not conn.sock.framing.has_certain_end:
            req.force_close()
        return bool(super().handle_request(req, conn))

    def finish_request(self, conn: TConn, done: "Future[bool]") -> None:
        """Send the rest of the response, then read the next request or close."""
        if conn.sock.is_held():
            self._held[conn.sock] = (conn, done)
            conn.sock.held_at = time.monotonic()
            self._start_writes = conn.sock.start_write or self._start_writes
            return None
        if conn.sock.late_body:
            return self._stream(conn, done)
        conn.sock.end_wait()
        keeps_open = not done.cancelled() and done.exception() is None and done.result()

        def write(conn: TConn) -> None:
            try:
                is_sent = conn.sock.flush()
            except OSError:
                return self._close(conn)
            if not is_sent and conn in self._peers:
                self._peers[conn] = self._peers.pop(conn)
            elif not is_sent:
                self._wait(conn, Phase.WRITING, WRITE_SECONDS, write)
            else:
                self._forget(conn)
                unparsed = conn.parser.unreader.take_buffered() if keeps_open else b""
                if keeps_open and conn.sock.framing.begin_next(unparsed):
                    self._proceed(conn, conn.sock.framing.progress())
                else:
                    self._start_closing(conn)
            return None

        return write(conn)

    def _stream(self, conn: TConn, done: "Future[bool]") -> None:
        """Send what has come of a late body; then wait for more, or for the peer."""
        try:
            is_sent = conn.sock.send_pieces()
        except OSError:
            return self._close(conn)
        if conn.sock.late_body and is_sent:
            self._wait(conn, Phase.STREAMING, math.inf, self._close)
        elif conn.sock.late_body:
            return self._wait(conn, Phase.WRITING, WRITE_SECONDS, partial(self._stream, done=done))
        else:
            self._forget(conn)
        return self.finish_request(conn, done)

    def _start_held(self) -> None:
        """Have what is held stored."""
        if self._start_writes:
            self._start_writes()
            self._start_writes = None

    def _release(self, sock: PeerSocket) -> None:
        """Have the main loop send a response that is no longer held; called by any thread."""
        self._released.append(sock)
        if not self._sends_released:  # one call sends those of a whole group
            self._sends_released = True
            self.method_queue.defer(self._send_released)

    def _send_released(self) -> None:
        self._sends_released = False  # before the first is taken: what comes now asks again
        while self._released:
            if finished := self._held.pop(self._released.popleft(), None):
                self.finish_request(*finished)

    def _start_closing(self, conn: TConn) -> None:
        """End our side and wait for the peer's: a reset would discard the response."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return self._close(conn)

        def drain(conn: TConn) -> None:
            with suppress(OSError):
                if conn.sock.receive() != b"":
                    return
            self._close(conn)

        return self._wait(conn, Phase.CLOSING, CLOSE_SECONDS, drain)

    def _wait(self, conn: TConn, phase: Phase, seconds: float, step: Step) -> None:
        """Call `step` at each event of the peer, for at most `seconds`."""

        def on_event(_socket: socket.socket) -> None:
            if conn in self._peers:
                step(conn)
            else:  # it is being answered, or was ended after this event was noticed
                self._unregister(conn)

        self._peers[conn] = (time.monotonic() + seconds, phase)
        event = selectors.EVENT_WRITE if phase is Phase.WRITING else selectors.EVENT_READ
        if conn.sock.is_registered:
            self.poller.modify(conn.sock, event, on_event)
        else:
            self.poller.register(conn.sock, event, on_event)
            conn.sock.is_registered = True

    def _forget(self, conn: TConn) -> None:
        """Wait for nothing. It may stay registered: to change that is a system call."""
        self._peers.pop(conn, None)

    def _unregister(self, conn: TConn) -> None:
        if conn.sock.is_registered:
            self.poller.unregister(conn.sock)
            conn.sock.is_registered = False

    def _close(self, conn: TConn) -> None:
        self._forget(conn)
        self._held.pop(conn.sock, None)
        self._unregister(conn)
        self.nr_conns -= 1
        conn.close()

    def _make_room(self) -> None:
        """End what has waited longest, never what a thread answers or what is being stored."""
        for sock, (conn, _) in self._held.items():
            if not sock.is_awaiting():
                del self._held[sock]
                return self._close(conn)
        for phases in EVICTION_ORDER:
            for conn, (_, phase) in self._peers.items():
                if phase in phases:
                    return self._evict(conn)
        return None

    def _free_file(self) -> None:
        """Make room for the connection that waits outside, and say so once a minute."""
        self._make_room()
        self._file_limit_throttle.suppressed_count()
        if self._file_limit_throttle.take():
            log.error("too_many_open_files", extra={"reason": FILE_ADVICE})

    def _evict(self, conn: TConn) -> None:
        """End a connection whose peer is too slow, with a 408 if part of a request has arrived."""
        if self._peers[conn][1] is Phase.READING:
            with suppress(OSError):
                conn.sock.send(TIMEOUT_RESPONSE, socket.MSG_DONTWAIT)
        self._close(conn)

    def murder_pending(self) -> None:
        """End connections that have waited too long; called after each round of the loop."""
        self._start_held()
        now = time.monotonic()
        self._last_round_seconds = now - (self._round_began_at or now)
        self._round_began_at = None
        if now < self._checked_at + CHECK_INTERVAL_SECONDS:
            return
        self._checked_at = now
        if count := self._bad_request_throttle.suppressed_count():
            log.warning("bad_requests", extra={"count": count})
        for sock in [sock for sock in self._held if not sock.is_held()]:
            self.finish_request(*self._held.pop(sock))
        for sock in [sock for sock in self._held if sock.held_at < now - HOLD_SECONDS]:
            sock.end_wait()
            self.finish_request(*self._held.pop(sock))
        for conn in [conn for conn, (until, _) in self._peers.items() if until <= now]:
            self._evict(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Limit how long a stop waits for idle connections."""
        for conn, (until, phase) in self._peers.items():
            if phase is Phase.IDLE:
                self._peers[conn] = (min(until, deadline), phase)
