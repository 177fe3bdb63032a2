"""Authentication and rate limit of the simulated API."""

import hmac
import threading
import time
from collections import deque

from flask import current_app, request

from smstracker.simulator.api_errors import ApiError, require


class LookupLimit:
    """Admits `per_second` look-ups in any second; refused ones do not count. Thread safe."""

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._admitted: deque[float] = deque()
        self._lock = threading.Lock()

    def admits(self) -> bool:
        if self._per_second is None:
            return True
        with self._lock:
            now = time.monotonic()
            while self._admitted and self._admitted[0] <= now - 1:
                self._admitted.popleft()
            if len(self._admitted) >= self._per_second:
                return False
            self._admitted.append(now)
            return True


def authenticate() -> None:
    """Accept either auth token; the username and the SID in the path must be the account's."""
    credentials, account = request.authorization, current_app.config["ACCOUNT_SID"]
    path_account = (request.view_args or {}).get("account_sid", account)
    if credentials is None or not credentials.username == account == path_account:
        raise ApiError(20003)
    password, tokens = (credentials.password or "").encode(), current_app.config["AUTH_TOKENS"]
    require(any(hmac.compare_digest(password, token.encode()) for token in tokens), 20003)


def limit_lookups() -> None:
    limit: LookupLimit = current_app.extensions["lookup_limit"]
    require(limit.admits(), 20429)
