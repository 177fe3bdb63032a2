"""A server with as many connections as it takes still lets in whoever comes next."""

import logging
import os
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import time_machine
from gunicorn.workers.gthread import TConn

from smstracker.web import gunicorn_worker, open_files, peer_socket
from smstracker.web.peer_socket import PeerSocket
from tests.turned_worker import MAX_CONNECTIONS, REQUEST, TurnedWorker, answered


def is_ended(peer: socket.socket) -> bool:
    with suppress(BlockingIOError, ConnectionResetError):
        peer.setblocking(False)
        while peer.recv(4096):
            pass
        return True
    return False


def test_part_of_a_request_from_each_of_many_leaves_room(turned_worker: TurnedWorker) -> None:
    peers = [turned_worker.connect_and_accept(b"GET") for _ in range(3 * MAX_CONNECTIONS)]
    assert turned_worker.has_room
    turned_worker.connect_and_accept(REQUEST)
    assert len(turned_worker.queued) == 1
    assert [is_ended(peer) for peer in peers[-2:]] == [False, False]


def test_full_server_ends_whoever_waits_longest_and_says_why(turned_worker: TurnedWorker) -> None:
    peers = [turned_worker.connect_and_accept(sent) for sent in (b"GET", b"", b"POST")]
    turned_worker.connect_and_accept(b"")
    assert peers[0].recv(4096).startswith(b"HTTP/1.1 408 ")
    assert not is_ended(peers[1])
    turned_worker.connect_and_accept(b"")
    assert peers[1].recv(4096) == b""
    assert not is_ended(peers[2])


def test_connection_that_begins_a_request_no_longer_counts_as_idle_since_long(
    turned_worker: TurnedWorker,
) -> None:
    used, silent = turned_worker.connect_and_accept(b""), turned_worker.connect_and_accept(b"")
    used.sendall(b"GET")
    turned_worker.turn()
    for _ in range(2):
        turned_worker.connect_and_accept(b"")
    assert is_ended(silent)
    assert not is_ended(used)


def test_full_server_never_ends_what_is_being_answered(turned_worker: TurnedWorker) -> None:
    peers = [turned_worker.connect_and_accept(REQUEST) for _ in range(MAX_CONNECTIONS)]
    assert not turned_worker.has_room
    assert len(turned_worker.queued) == MAX_CONNECTIONS
    assert not any(is_ended(peer) for peer in peers)


def test_peers_that_take_no_response_leave_room(turned_worker: TurnedWorker) -> None:
    for _ in range(2 * MAX_CONNECTIONS):
        turned_worker.connect_and_accept(REQUEST)
        conn = turned_worker.queued.pop()
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        conn.sock.sendall(b"x" * (peer_socket.MAX_UNSENT_BYTES - 1))
        turned_worker.worker.finish_request(conn, answered())
    assert turned_worker.has_room


def test_full_server_ends_whose_peer_took_nothing_for_longest(turned_worker: TurnedWorker) -> None:
    peers = []
    for _ in range(MAX_CONNECTIONS - 1):
        peers.append(turned_worker.connect_and_accept(REQUEST))
        conn = turned_worker.queued.pop()
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        conn.sock.sendall(b"x" * (peer_socket.MAX_UNSENT_BYTES - 1))
        turned_worker.worker.finish_request(conn, answered())
    peers[0].recv(peer_socket.MAX_UNSENT_BYTES)
    turned_worker.turn()
    turned_worker.connect_and_accept(REQUEST)
    assert [is_ended(peer) for peer in peers] == [False, True, False]


def test_response_that_is_held_back_is_sent_later_and_keeps_no_thread(
    turned_worker: TurnedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = turned_worker.connect_and_accept(REQUEST)
    conn = turned_worker.queued.pop()
    conn.sock.hold_back(60)
    conn.sock.sendall(b"refused")
    turned_worker.worker.finish_request(conn, answered(stays=False))
    assert not is_ended(peer)
    turned_worker.worker.murder_pending()
    later = gunicorn_worker.time.monotonic() + 61
    monkeypatch.setattr(gunicorn_worker.time, "monotonic", lambda: later)
    turned_worker.worker.murder_pending()
    peer.setblocking(True)
    assert peer.recv(4096) == b"refused"


def test_full_server_ends_whose_response_is_held_back_first(turned_worker: TurnedWorker) -> None:
    refused = turned_worker.connect_and_accept(REQUEST)
    conn = turned_worker.queued.pop()
    conn.sock.hold_back(60)
    conn.sock.sendall(b"refused")
    turned_worker.worker.finish_request(conn, answered(stays=False))
    others = [turned_worker.connect_and_accept(b"GET") for _ in range(MAX_CONNECTIONS - 1)]
    assert is_ended(refused)
    assert not any(is_ended(peer) for peer in others)


def test_process_that_is_not_busy_leaves_connections_to_others(
    turned_worker: TurnedWorker,
) -> None:
    for _ in range(2):
        turned_worker.connect(REQUEST)
    for number in (1, 2):
        turned_worker.accept()
        assert len(turned_worker.queued) == number
        turned_worker.worker.murder_pending()


def test_busy_process_lets_in_more_at_once(
    turned_worker: TurnedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = gunicorn_worker.time.monotonic()
    monkeypatch.setattr(gunicorn_worker.time, "monotonic", lambda: now)
    turned_worker.connect_and_accept(REQUEST)
    now += 1.5 * gunicorn_worker.SECONDS_PER_ACCEPT
    turned_worker.worker.murder_pending()
    for _ in range(2):
        turned_worker.connect(REQUEST)
    turned_worker.accept()
    assert len(turned_worker.queued) == 3


WEBHOOK = b"POST /webhooks/twilio/status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
STORED = b"HTTP/1.1 204 No Content\r\n\r\n"


def answer_webhooks(
    turned_worker: TurnedWorker, *writes: "Future[None]", replacement: bytes | None = None
) -> list[None]:
    """Let the app answer each webhook as if it was stored, once its write is done.

    Return an item for each time that the writes are started.
    """
    left, starts = list(writes), list[None]()

    def handle(conn: TConn) -> bool:
        conn.init()
        next(conn.parser)
        if left:
            conn.sock.answer_after(left.pop(0), lambda: starts.append(None), lambda: replacement)
        conn.sock.sendall(STORED)
        return True

    turned_worker.worker.handle = handle
    return starts


@pytest.mark.parametrize(("replacement", "response"), [(None, STORED), (b"503", b"503")])
@pytest.mark.parametrize("is_early", [False, True])
def test_response_waits_for_the_commit_without_a_thread(
    turned_worker: TurnedWorker, is_early: bool, replacement: bytes | None, response: bytes
) -> None:
    write: Future[None] = Future()
    answer_webhooks(turned_worker, write, replacement=replacement)
    if is_early:
        write.set_result(None)
    peer = turned_worker.connect_and_accept(WEBHOOK)
    if not is_early:
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(4096)
        write.set_result(None)
    turned_worker.turn()
    peer.setblocking(True)
    assert peer.recv(4096) == response
    assert turned_worker.queued == [], "no thread was asked for"


def test_webhooks_of_one_turn_are_stored_and_answered_together(
    turned_worker: TurnedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gunicorn_worker, "LONG_ROUND_SECONDS", 60)
    writes: list[Future[None]] = [Future() for _ in range(3)]
    starts = answer_webhooks(turned_worker, *writes)
    peers = [turned_worker.connect_and_accept(WEBHOOK) for _ in writes]
    assert starts == [], "before the end of the turn"
    turned_worker.worker.murder_pending()
    assert starts == [None]
    for write in writes:
        write.set_result(None)
    turned_worker.turn()
    assert [peer.recv(4096) for peer in peers] == [STORED] * 3


def test_full_server_never_ends_what_waits_for_its_commit(turned_worker: TurnedWorker) -> None:
    answer_webhooks(turned_worker, *(Future[None]() for _ in range(MAX_CONNECTIONS - 1)))
    peers = [turned_worker.connect_and_accept(WEBHOOK) for _ in range(MAX_CONNECTIONS - 1)]
    other = turned_worker.connect_and_accept(b"GET")
    turned_worker.connect_and_accept(b"GET")
    assert is_ended(other)
    assert not any(is_ended(peer) for peer in peers)


def test_commit_that_never_ends_is_answered_by_the_replacement(
    turned_worker: TurnedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    write: Future[None] = Future()
    answer_webhooks(turned_worker, write, replacement=b"503")
    peer = turned_worker.connect_and_accept(WEBHOOK)
    later = gunicorn_worker.time.monotonic() + gunicorn_worker.HOLD_SECONDS + 1
    with monkeypatch.context() as clock:
        clock.setattr(gunicorn_worker.time, "monotonic", lambda: later)
        turned_worker.worker.murder_pending()
    assert peer.recv(4096) == b"503"
    write.set_result(None)
    peer.sendall(WEBHOOK)
    turned_worker.turn()
    assert peer.recv(4096) == STORED, "once, though the commit ended later"


def test_writes_of_a_long_turn_are_started_before_its_end(
    turned_worker: TurnedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gunicorn_worker, "LONG_ROUND_SECONDS", -1)
    write: Future[None] = Future()
    starts = answer_webhooks(turned_worker, write, Future[None]())
    first = turned_worker.connect_and_accept(WEBHOOK)
    assert starts == []
    turned_worker.connect_and_accept(WEBHOOK)
    assert starts == [None]
    write.set_result(None)
    turned_worker.connect_and_accept(b"")
    assert first.recv(4096) == STORED, "before the end of the turn"


def test_turn_after_a_quick_one_has_as_long_as_any(
    turned_worker: TurnedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gunicorn_worker, "LONG_ROUND_SECONDS", 10)
    now = gunicorn_worker.time.monotonic()
    monkeypatch.setattr(gunicorn_worker.time, "monotonic", lambda: now)
    starts = answer_webhooks(turned_worker, *(Future[None]() for _ in range(3)))
    turned_worker.connect_and_accept(WEBHOOK)
    turned_worker.worker.murder_pending()
    assert starts == [None]
    for seconds in (9, 2):
        now += seconds
        turned_worker.connect_and_accept(WEBHOOK)
    assert starts == [None], "before the end of the second turn"


def test_webhook_that_fails_in_the_middle_of_its_response_leaves_its_file_to_the_next(
    turned_worker: TurnedWorker,
) -> None:
    def fail(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"part"
        raise ValueError("no more")

    turned_worker.worker.wsgi = fail
    peer = turned_worker.connect_and_accept(b"")
    peer.sendall(WEBHOOK)
    next_peer = turned_worker.connect(b"")
    turned_worker.turn()
    turned_worker.accept()
    turned_worker.turn()
    assert is_ended(peer)
    next_peer.sendall(REQUEST)
    turned_worker.turn()
    assert len(turned_worker.queued) == 1


def test_webhooks_sent_ahead_are_answered_one_after_the_other(turned_worker: TurnedWorker) -> None:
    answer_webhooks(turned_worker)
    peer = turned_worker.connect_and_accept(WEBHOOK * 3000)
    received = b""
    while len(received) < len(STORED) * 3000:
        turned_worker.turn()
        peer.setblocking(False)
        with suppress(BlockingIOError):
            received += peer.recv(1_000_000)
    assert received == STORED * 3000


def test_requests_sent_ahead_are_taken_from_the_network_one_piece_at_a_time(
    turned_worker: TurnedWorker,
) -> None:
    peer = turned_worker.connect_and_accept(b"")
    peer.setblocking(False)
    peer.send(REQUEST * 10_000)
    turned_worker.turn()
    for _ in range(5):
        conn = turned_worker.queued.pop()
        conn.init()
        next(conn.parser)
        turned_worker.worker.finish_request(conn, answered())
    [conn] = turned_worker.queued
    assert len(conn.sock.framing.take(10_000_000)) < peer_socket.PIECE_BYTES


@contextmanager
def no_file_left() -> Iterator[None]:
    """Nothing more can be opened until something is closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_server_out_of_open_files_ends_who_waits_longest_for_who_comes_next(
    turned_worker: TurnedWorker,
) -> None:
    idle = turned_worker.connect_and_accept(b"")
    turned_worker.connect(REQUEST)
    with no_file_left():
        turned_worker.accept()
        turned_worker.accept()
    assert is_ended(idle)
    assert len(turned_worker.queued) == 1


def test_server_out_of_open_files_says_so_once_a_minute(
    turned_worker: TurnedWorker, caplog: pytest.LogCaptureFixture
) -> None:
    with time_machine.travel(datetime(2026, 11, 23, tzinfo=UTC), tick=False) as clock:
        turned_worker.worker._file_limit_throttle = gunicorn_worker.LogThrottle(1)
        turned_worker.connect(REQUEST)
        for seconds in (0, 1, 60):
            clock.shift(seconds)
            with no_file_left():
                turned_worker.accept()
                turned_worker.accept()
    assert [record.msg for record in caplog.records] == ["too_many_open_files"] * 2


def test_bad_requests_have_few_lines_a_minute_and_then_a_count(
    turned_worker: TurnedWorker, caplog: pytest.LogCaptureFixture
) -> None:
    with time_machine.travel(datetime(2026, 11, 23, tzinfo=UTC), tick=False) as clock:
        turned_worker.worker._bad_request_throttle = gunicorn_worker.LogThrottle(10)
        warning = logging.makeLogRecord({"msg": "Invalid request from ip=192.0.2.1: x"})
        lines = [turned_worker.worker._may_log(warning) for _ in range(25)]
        clock.shift(61)
        turned_worker.worker.murder_pending()
    assert lines == [True] * 10 + [False] * 15
    assert turned_worker.worker._may_log(logging.makeLogRecord({"msg": "WORKER TIMEOUT (pid:%s)"}))
    assert [(record.msg, record.count) for record in caplog.records] == [("bad_requests", 15)]


@pytest.mark.parametrize(
    ("limit", "threads", "most"),
    [(10_240, 32, 1000), (1024, 32, 752), (10_240, 2048, 4096), (4096, 2048, 2816), (64, 32, 33)],
)
def test_server_takes_no_more_connections_than_it_may_open_files(
    limit: int, threads: int, most: int
) -> None:
    assert open_files.limit_connections(limit, threads) == most


def test_limit_of_open_files_is_raised_as_far_as_it_may_be() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(before[1], open_files.MAX_OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit - 100, before[1]))
    try:
        assert open_files.raise_limit() == limit
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limit, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_peer_that_takes_a_response_slowly_keeps_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, peer = socket.socketpair()
    began_at = time.monotonic()
    with PeerSocket(ours, lambda _: None) as sender, peer:
        sender.sendall(b"x" * 1_000_000)
        for number in range(1, 4):
            assert len(peer.recv(100_000)) > 0
            now = began_at + number * (peer_socket.STALL_SECONDS - 1)
            monkeypatch.setattr(peer_socket.time, "monotonic", partial(float, now))
            sender.sendall(b"x")
        assert not sender.flush(), "the peer has taken all"
