"""HTTP client for Twilio: limits the time of a whole answer, raises answers that are errors.

It also knows whether a request that failed was sent: no list of errors tells that for certain.
"""

import http.client
import io
import json
import re
import socket
import time
from functools import cache
from threading import local
from typing import TYPE_CHECKING, Any, cast

import requests
from requests.adapters import HTTPAdapter
from twilio.http.http_client import TwilioHttpClient
from urllib3 import HTTPConnectionPool, PoolManager
from urllib3.connection import HTTPConnection

from smstracker.sms.identifiers import ERROR_CODE

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_TIMEOUT = 10.0  # seconds to connect, and between two packets of the answer
RESPONSE_TIMEOUT = 20.0  # seconds from the request to the end of the answer
MAX_INTERIM_ANSWERS = 10  # 100 Continue and the like; without an end they would use up a processor

_thread = local()


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until a deadline. Raises TimeoutError, as the socket does."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, deadline: float) -> None:
        self._raw, self._connection, self._deadline = raw, connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        seconds_left = self._deadline - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError("the answer took too long")
        self._connection.settimeout(min(seconds_left, READ_TIMEOUT))
        return cast(int | None, self._raw.readinto(buffer))

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response whose deadline starts at construction, when the request is sent."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None) -> None:
        super().__init__(sock, debuglevel, method)
        deadline = time.monotonic() + RESPONSE_TIMEOUT
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock, deadline))
        self._status_lines = 0

    def _read_status(self) -> tuple[str, int, str]:
        self._status_lines += 1
        if self._status_lines > MAX_INTERIM_ANSWERS:
            raise http.client.BadStatusLine("no end of interim answers")
        status: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
        return status


class _RecordingConnection(HTTPConnection):
    """Has a deadline for each answer, and records whether this thread has sent a request."""

    response_class = _Response

    def connect(self) -> None:
        try:
            super().connect()
        finally:
            _thread.has_sent = False  # what opens a tunnel through a proxy is no request

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        _thread.has_sent = True
        super().send(data)


def begin_request() -> None:
    """Forget what this thread has sent."""
    _thread.has_sent = False


def has_sent() -> bool:
    """Whether this thread has sent, or has begun to send, a request since `begin_request`."""
    return bool(_thread.has_sent)


@cache
def _record(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    """Return a pool class with recording connections, of HTTP, HTTPS or through a SOCKS proxy."""
    if issubclass(pool.ConnectionCls, _RecordingConnection):
        return pool  # the manager of a proxy is kept for the next request
    connection = type("_Connection", (_RecordingConnection, pool.ConnectionCls), {})
    return type("_Pool", (pool,), {"ConnectionCls": connection})


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _use_recording_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> PoolManager:
        manager: PoolManager = super().proxy_manager_for(proxy, **kwargs)
        _use_recording_pools(manager)
        return manager


def _use_recording_pools(manager: PoolManager) -> None:
    pools = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _record(pool) for scheme, pool in pools.items()}


class ErrorAnswer(Exception):  # noqa: N818 - Twilio did answer
    """An answer with an HTTP status other than 2xx, and the body's code if it can be Twilio's."""

    def __init__(self, http_status: int, code: str | None) -> None:
        super().__init__(f"HTTP {http_status}")
        self.http_status, self.code = http_status, code


def _read_code(body: str) -> str | None:
    """Return Twilio's code in a body, which may be anything; some hosts write it as a text."""
    try:
        code = json.loads(body)["code"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    text = str(code) if type(code) in (int, str) else ""
    return text if re.fullmatch(ERROR_CODE, text) else None


def _raise_error(response: requests.Response, **_: object) -> None:
    """Raise ErrorAnswer. Twilio's client would read the HTTP status from the body instead."""
    if not 200 <= response.status_code < 300:
        raise ErrorAnswer(response.status_code, _read_code(response.text))


def limit_answers(session: requests.Session) -> requests.Session:
    """Give up an answer of this session that is not complete after RESPONSE_TIMEOUT."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_maxsize=32))
    return session


def new_client() -> TwilioHttpClient:
    client = TwilioHttpClient(timeout=READ_TIMEOUT, request_hooks={"response": _raise_error})
    limit_answers(client.session)
    return client
