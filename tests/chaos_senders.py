"""Users who send through the web form, and programs; both repeat a request until it is answered."""

import contextlib
import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import requests
from requests import Response

from smstracker.clock import utcnow
from tests.clients import hidden

ANSWER_SECONDS = 120.0  # for one message, with all repetitions
SENDER = "+15005550006"
# The first is that of an impatient client, which repeats what the app still does.
TIMEOUTS = (1.0, 30.0)
TOO_MANY_REQUESTS = 429
RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Order:
    """A message to send; every text is unique. One for `later` waits in the outbox."""

    recipient: str
    body: str
    is_later: bool = False


class Sender:
    """One signed-in user in a browser."""

    def __init__(self, url: str, sign_in_token: str) -> None:
        self._url = url
        self._browser = requests.Session()
        self._browser.trust_env = False
        link = f"{url}/auth/link/{sign_in_token}"
        answer = self._post(link, TIMEOUTS[-1], csrf_token=self._csrf_token(link))
        assert answer.status_code == 303, answer.text
        self._token = self._csrf_token(f"{url}/messages/new")

    def send_all(self, orders: Iterable[Order]) -> Iterator[int]:
        """Send each by the form; how often its form was repeated."""
        with self._browser:
            for order in orders:
                yield self._send(order)

    def post_until_shown(self, path: str, files: Any = None, **fields: str) -> tuple[str, int]:
        """Post a form until its result is shown.

        Returns the address of the result, and the number of repetitions.
        """
        fields |= {"csrf_token": self._token}
        response, repeats = repeat(
            lambda timeout: self._post(f"{self._url}{path}", timeout, files, **fields)
        )
        assert response.status_code == 303, f"{response.status_code}: {response.text}"
        return response.headers["Location"], repeats

    def _send(self, order: Order) -> int:
        fields = {"recipient": order.recipient, "body": order.body, "sender": SENDER}
        fields |= {"form_id": str(uuid.uuid4())} | (_later() if order.is_later else {})
        location, repeats = self.post_until_shown("/messages", **fields)
        assert "/messages/" in location, location
        return repeats

    def _csrf_token(self, url: str) -> str:
        return hidden(self._browser.get(url, timeout=30).text, "csrf_token")

    def _post(self, url: str, timeout: float, files: Any = None, **fields: str) -> Response:
        return self._browser.post(
            url, data=fields, files=files, allow_redirects=False, timeout=timeout
        )


class ApiClient:
    """A program with a token, which repeats each request until it is answered."""

    def __init__(self, url: str, token: str) -> None:
        self._url = f"{url}/api/v1"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._preferences = itertools.cycle(("wait=5", ""))

    def send_all(self, orders: Iterable[Order]) -> Iterator[int]:
        """Send each with an Idempotency-Key; how often its request was repeated."""
        with self._session:
            for order in orders:
                fields = {"to": order.recipient, "text": order.body, "from": SENDER}
                yield self.post("messages", order.body, fields, next(self._preferences))[1]

    def post(
        self, path: str, key: str, fields: object, prefer: str = ""
    ) -> tuple[dict[str, Any], int]:
        """The answer, and the number of repetitions."""
        headers = {"Idempotency-Key": key, "Prefer": prefer}
        return self._call("POST", path, json=fields, headers=headers)

    def get(self, path: str) -> dict[str, Any]:
        return self._call("GET", path)[0]

    def _call(self, method: str, path: str, **options: Any) -> tuple[dict[str, Any], int]:
        url = f"{self._url}/{path}"
        response, repeats = repeat(
            lambda timeout: self._session.request(method, url, timeout=timeout, **options)
        )
        assert response.ok, f"{response.status_code}: {response.text}"
        answer: dict[str, Any] = response.json()
        return answer, repeats


def repeat(request: Callable[[float], Response]) -> tuple[Response, int]:
    """Make a request, with a time limit in seconds, until it has an answer that is not for now.

    Returns the answer and the number of repetitions.
    """
    deadline, repeats = time.monotonic() + ANSWER_SECONDS, 0
    while True:
        with contextlib.suppress(requests.RequestException):
            response = request(TIMEOUTS[min(repeats, 1)])
            if response.status_code < 500 and response.status_code != TOO_MANY_REQUESTS:
                return response, repeats
        assert time.monotonic() < deadline, "a request got no answer"
        threading.Event().wait(RETRY_SECONDS)
        repeats += 1


def _later() -> dict[str, str]:
    """The fields of a time that has not come yet."""
    send_at = utcnow() + timedelta(hours=1)
    return {"send_day": f"{send_at:%Y-%m-%d}", "send_time": f"{send_at:%H:%M}"}


class Pace:
    """The share of the messages, from 0 to 1, that may be sent so far."""

    def __init__(self) -> None:
        self._share = 0.0
        self._changed = threading.Condition()

    def allow(self, share: float) -> None:
        with self._changed:
            self._share = share
            self._changed.notify_all()

    def wait_for(self, share: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._share >= share)


class PacedOrders(Iterator[Order]):
    """Orders, each once its share of them may be sent. Thread safe."""

    def __init__(self, orders: Sequence[Order], pace: Pace) -> None:
        self._orders = orders
        self._numbers = itertools.count()
        self._pace = pace

    def __next__(self) -> Order:
        number = next(self._numbers)
        if number >= len(self._orders):
            raise StopIteration
        self._pace.wait_for(number / len(self._orders))
        return self._orders[number]


class SenderPool:
    """Senders on threads of their own. Each is an iterator that sends and yields how often it
    repeated a request, under the name of what it repeats.
    """

    def __init__(self, senders: Sequence[tuple[str, Iterator[int]]], pace: Pace) -> None:
        self.pace = pace
        self.sent = 0
        self.repeats: Counter[str] = Counter({name: 0 for name, _ in senders})
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=sender) for sender in senders]
        for thread in self._threads:
            thread.start()

    def is_done(self) -> bool:
        """Whether all is sent, or a sender failed."""
        return self._failure is not None or not any(t.is_alive() for t in self._threads)

    def join(self) -> None:
        """Wait until all is sent. Raises what a sender raised."""
        self.pace.allow(1)
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self, name: str, sender: Iterator[int]) -> None:
        try:
            for repeats in sender:
                with self._lock:
                    self.repeats[name] += repeats
                    self.sent += 1
                if self._failure:
                    break
        except BaseException as failure:
            self._failure = failure
