"""The HTTP client for Twilio, with a limit on a whole answer: time-outs alone are for each read."""

import http.client
import io
import socket
import time
from typing import Any, cast

from requests.adapters import HTTPAdapter
from twilio.http.http_client import TwilioHttpClient
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

TIMEOUT = 10.0  # seconds to connect, and again between two packets of the answer
ANSWER_WITHIN = 20.0  # seconds from the request to the end of the answer
CONNECTIONS = 32  # kept open


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until a moment. Raises TimeoutError, as the socket does."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, until: float) -> None:
        self._raw, self._connection, self._until = raw, connection, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        rest = self._until - time.monotonic()
        if rest <= 0:
            raise TimeoutError("the answer takes too long")
        self._connection.settimeout(min(rest, TIMEOUT))
        return cast(int | None, self._raw.readinto(buffer))

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """Made when the request has been sent: from here the time for the answer counts."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        until = time.monotonic() + ANSWER_WITHIN
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock, until))


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _limit(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        _limit(manager)
        return manager


def _limit(manager: Any) -> None:
    # Those of a SOCKS proxy are of a kind of their own.
    if "socks" not in type(manager).__name__.lower():
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


def new_client() -> TwilioHttpClient:
    client = TwilioHttpClient(timeout=TIMEOUT)
    for scheme in ("http://", "https://"):
        client.session.mount(scheme, _Adapter(pool_maxsize=CONNECTIONS))
    return client
