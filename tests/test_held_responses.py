"""Responses to webhooks, as the real server sends them once their writes are done."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask

from smstracker.web import gunicorn_worker
from smstracker.webhooks.writer import CallbackWriter
from tests.signing import STATUS_PATH, call_back, fields, sid, signature
from tests.turned_worker import REQUEST, TurnedWorker


def signed_callback(form: dict[str, str]) -> bytes:
    body = urlencode(form).encode()
    head = [f"POST {STATUS_PATH} HTTP/1.1", "Host: sms.example.org"]
    head += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
    head += [f"X-Twilio-Signature: {signature(STATUS_PATH, form)}", "", ""]
    return "\r\n".join(head).encode() + body


def read_response(peer: socket.socket) -> tuple[int, bytes, dict[str, str | None]]:
    response = HTTPResponse(peer)
    response.begin()
    names = ("Retry-After", "Content-Type")
    return response.status, response.read(), {name: response.headers[name] for name in names}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_kept_response_of_a_callback_that_is_not_stored_becomes_the_503_of_the_view(
    turned_worker: TurnedWorker, make_app: Callable[..., Flask]
) -> None:
    """And that 503 alone: the next response over the connection is its own."""
    app = make_app(DATABASE_URL="sqlite:////nowhere/at/all.sqlite")
    form = fields(sid(1), "sent")
    of_view = call_back(app.test_client(), form)
    turned_worker.worker.wsgi = app
    peer = turned_worker.connect_and_accept(signed_callback(form))
    turned_worker.worker.murder_pending()
    turned_worker.turn()
    headers = {name: of_view.headers[name] for name in ("Retry-After", "Content-Type")}
    assert read_response(peer) == (503, of_view.data, headers)
    peer.sendall(REQUEST)
    turned_worker.turn()
    [conn] = turned_worker.queued
    done: Future[bool] = Future()
    done.set_result(turned_worker.worker.handle(conn))
    turned_worker.worker.finish_request(conn, done)
    received = peer.recv(65536)
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.count(b"HTTP/1.1 ") == 1, received


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_callback_whose_commit_never_ends_is_answered_with_503(
    turned_worker: TurnedWorker, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CallbackWriter, "start", lambda _writer: None)
    turned_worker.worker.wsgi = app
    peer = turned_worker.connect_and_accept(signed_callback(fields(sid(1), "sent")))
    later = time.monotonic() + gunicorn_worker.HOLD_SECONDS + 1
    monkeypatch.setattr(gunicorn_worker.time, "monotonic", lambda: later)
    turned_worker.worker.murder_pending()
    assert read_response(peer)[0] == 503


def test_view_of_a_webhook_learns_the_address_of_the_peer(turned_worker: TurnedWorker) -> None:
    addresses: list[tuple[str, int]] = []

    def answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        addresses.append((environ["REMOTE_ADDR"], int(environ["REMOTE_PORT"])))
        start_response("204 No Content", [])
        return []

    turned_worker.worker.wsgi = answer
    peer = turned_worker.connect_and_accept(signed_callback(fields(sid(1), "sent")))
    turned_worker.turn()
    assert read_response(peer)[0] == 204
    assert addresses == [peer.getsockname()]


def test_writes_of_a_turn_are_started_once_though_a_refusal_of_it_is_held_back(
    turned_worker: TurnedWorker,
) -> None:
    writes: list[Future[None]] = [Future()]
    starts: list[None] = []

    def answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        peer_socket = environ["gunicorn.socket"]
        if writes:
            peer_socket.answer_after(writes.pop(), lambda: starts.append(None), lambda: None)
        else:
            peer_socket.hold_back(60)
        start_response("204 No Content", [])
        return []

    turned_worker.worker.wsgi = answer
    for _ in range(2):
        turned_worker.connect_and_accept(signed_callback(fields(sid(1), "sent")))
    for _ in range(2):
        turned_worker.worker.murder_pending()
    assert starts == [None]
