"""Posts status callbacks as Twilio does: signed, over real HTTP, and retried as asked for."""

import random
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlencode

from twilio.request_validator import (
    HMAC_SHA256,
    SIGNATURE_HEADER,
    SIGNATURE_SETTINGS_HEADER,
    RequestValidator,
)

from smstracker.simulator.ledger import CallbackAttempt, Ledger, SimulatedMessage
from smstracker.simulator.scenarios import Scenario, ScenarioStep, SigningKey

from .callback_url import CallbackUrl

RETRY_PAUSE_SECONDS = (0.1, 0.3)
MAX_ANSWER_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    """One change of status to tell. A repetition of an event has the same idempotency token."""

    sid: str
    status: str
    url: CallbackUrl
    params: Mapping[str, str]
    key: SigningKey
    idempotency_token: str


def build_callback(
    account_sid: str, message: SimulatedMessage, story: Scenario, step: ScenarioStep
) -> CallbackRequest:
    """What a step tells about its message, which must have a callback URL."""
    if message.callback is None:
        raise ValueError("a message without a callback URL has no events")
    key = SigningKey.WRONG if step.forged else story.key
    params = _params(account_sid, message, step)
    token = str(uuid.uuid4())
    return CallbackRequest(message.sid, step.status, message.callback, params, key, token)


def _params(account_sid: str, message: SimulatedMessage, step: ScenarioStep) -> dict[str, str]:
    params = {
        "SmsSid": message.sid,
        "SmsStatus": step.status,
        "MessageStatus": step.status,
        "To": message.to,
        "MessagingServiceSid": message.service_sid,
        "MessageSid": message.sid,
        "AccountSid": account_sid,
        "From": message.sender,
        "ApiVersion": "2010-04-01",
        "ErrorCode": None if step.error_code is None else str(step.error_code),
    }
    if step.status in ("delivered", "undelivered"):
        # To the minute and without a zone, as carriers give it.
        params["RawDlrDoneDate"] = datetime.now(UTC).strftime("%y%m%d%H%M")
    return {name: value for name, value in params.items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Outcome:
    """`failure` is None for a success, or the word of the retry policy that covers it."""

    response_status: int | None
    failure: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Signing:
    """A secret; with a key id it is a shared key, which signs by HMAC-SHA256 and is named."""

    secret: str
    key_id: str | None = None

    def headers(self, url: str, params: Mapping[str, str]) -> dict[str, str]:
        validator = RequestValidator(self.secret)
        if self.key_id is None:
            return {SIGNATURE_HEADER: validator.compute_signature(url, params)}
        return {
            SIGNATURE_HEADER: validator.compute_signature(url, params, HMAC_SHA256),
            SIGNATURE_SETTINGS_HEADER: f"key={self.key_id},algorithm={HMAC_SHA256}",
        }


class CallbackClient:
    """Thread safe. `close()` ends the pauses between retries."""

    def __init__(self, books: Ledger, signings: Mapping[SigningKey, Signing], speed: float) -> None:
        self._books = books
        self._signings = signings
        self._speed = speed
        self._closed = threading.Event()

    def post(self, event: CallbackRequest) -> None:
        """Returns when the event is delivered or given up; how it went is in the books."""
        overrides = event.url.overrides
        deadline = time.monotonic() + overrides.total
        for _ in range(1 + overrides.retries):
            outcome = self._attempt(event, deadline - time.monotonic())
            if outcome.failure is None or not overrides.retries_on(outcome.failure):
                return
            pause = random.uniform(*RETRY_PAUSE_SECONDS) / self._speed
            if self._closed.wait(pause) or time.monotonic() >= deadline:
                return

    def close(self) -> None:
        self._closed.set()

    def _attempt(self, event: CallbackRequest, budget: float) -> _Outcome:
        at = datetime.now(UTC)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "User-Agent": "TwilioProxy/1.1",
            "Accept": "*/*",
            "Connection": "close",
            "I-Twilio-Idempotency-Token": event.idempotency_token,
            "X-Home-Region": "us1",
            **self._signings[event.key].headers(event.url.signed, event.params),
        }
        outcome = _exchange(event.url, urlencode(event.params), headers, budget)
        self._books.record(
            CallbackAttempt(
                sid=event.sid,
                status=event.status,
                url=event.url.signed,
                params=event.params,
                signed_with=event.key,
                idempotency_token=event.idempotency_token,
                at=at,
                response_status=outcome.response_status,
                error=outcome.error,
            )
        )
        return outcome


def _exchange(url: CallbackUrl, body: str, headers: dict[str, str], budget: float) -> _Outcome:
    """One request. `http.client` sends the address byte for byte, which the signature needs."""
    started = time.monotonic()
    connection_class = HTTPSConnection if url.scheme == "https" else HTTPConnection
    host, limits = url.host.strip("[]"), url.overrides
    connection = connection_class(host, url.port, timeout=max(0.001, min(limits.connect, budget)))
    try:
        connection.connect()
    # A host name that cannot be put into DNS raises UnicodeError.
    except (OSError, UnicodeError) as error:
        return _Outcome(None, "ct", _describe(error))
    try:
        left = budget - (time.monotonic() - started)
        connection.sock.settimeout(max(0.001, min(limits.read, left)))
        connection.request("POST", url.target, body, headers)
        with connection.getresponse() as response:
            response.read(MAX_ANSWER_BYTES)
        return _Outcome(response.status, _failure(response.status))
    except TimeoutError as error:
        return _Outcome(None, "rt", _describe(error))
    except (OSError, HTTPException) as error:
        return _Outcome(None, "broken", _describe(error))
    finally:
        connection.close()


def _failure(status: int) -> str | None:
    """A redirect counts as a failure: the signature would not fit the other address."""
    if 200 <= status < 300:
        return None
    return {4: "4xx", 5: "5xx"}.get(status // 100, "broken")


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
