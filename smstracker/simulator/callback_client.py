"""Status callbacks posted as Twilio does: signed, over real HTTP, retried by the overrides."""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlencode

from twilio.request_validator import HMAC_SHA256, RequestValidator

from smstracker.simulator.scenarios import Scenario, ScenarioStep, SigningKey

from .callback_url import CallbackUrl
from .ledger import CallbackAttempt, CallbackRequest, Ledger, SimulatedMessage

MAX_ANSWER_BYTES = 65_536


def build_callback(
    account_sid: str, message: SimulatedMessage, scenario: Scenario, step: ScenarioStep
) -> CallbackRequest:
    """The callback of a step. Raises ValueError for a message without a callback URL."""
    if message.callback is None:
        raise ValueError("the message has no callback URL")
    # Carriers send minutes without a zone.
    done_at = datetime.now(UTC).strftime("%y%m%d%H%M")
    fields = {
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
        "RawDlrDoneDate": done_at if step.status in ("delivered", "undelivered") else None,
    }
    params = {name: value for name, value in fields.items() if value is not None}
    key = SigningKey.WRONG if step.forged else scenario.key
    token = str(uuid.uuid4())
    return CallbackRequest(message.sid, step.status, message.callback, params, key, token)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Result of an attempt; `failure` is the retry-policy word of an error, None for a success."""

    response_status: int | None
    failure: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Signing:
    """A secret for signing: an auth token (HMAC-SHA1), or with a key id a shared key (SHA-256)."""

    secret: str
    key_id: str | None = None

    def headers(self, url: str, params: Mapping[str, str]) -> dict[str, str]:
        validator = RequestValidator(self.secret)
        if self.key_id is None:
            return {"X-Twilio-Signature": validator.compute_signature(url, params)}
        return {
            "X-Twilio-Signature": validator.compute_signature(url, params, HMAC_SHA256),
            "X-Twilio-Webhooks-Signature-Settings": f"key={self.key_id},algorithm={HMAC_SHA256}",
        }


def post_callback(
    callback: CallbackRequest, signing: Signing, ledger: Ledger, pause: Callable[[], bool]
) -> None:
    """Post a callback, with its retries, and record each attempt in the ledger.

    Blocks until it is delivered or given up. `pause` waits between two attempts and returns
    whether the carrier stops meanwhile.
    """
    overrides = callback.callback_url.overrides
    deadline = time.monotonic() + overrides.total
    for _ in range(1 + overrides.retries):
        outcome = _attempt(callback, signing, ledger, deadline - time.monotonic())
        if outcome.failure is None or not overrides.retries_on(outcome.failure):
            return
        if pause() or time.monotonic() >= deadline:
            return


def _attempt(
    callback: CallbackRequest, signing: Signing, ledger: Ledger, seconds_left: float
) -> _Outcome:
    attempted_at = datetime.now(UTC)
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "User-Agent": "TwilioProxy/1.1",
        "Accept": "*/*",
        "Connection": "close",
        "I-Twilio-Idempotency-Token": callback.idempotency_token,
        "X-Home-Region": "us1",
        **signing.headers(callback.url, callback.params),
    }
    body = urlencode(callback.params)
    outcome = _send_request(callback.callback_url, body, headers, seconds_left)
    ledger.record_attempt(
        CallbackAttempt(
            **vars(callback),
            attempted_at=attempted_at,
            response_status=outcome.response_status,
            error=outcome.error,
        )
    )
    return outcome


def _send_request(
    url: CallbackUrl, body: str, headers: dict[str, str], seconds_left: float
) -> _Outcome:
    """Send one request; `http.client` keeps the URL byte for byte, as the signature needs."""
    started = time.monotonic()
    connection_class = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connect_seconds = max(0.001, min(url.overrides.connect, seconds_left))
    connection = connection_class(url.host.strip("[]"), url.port, timeout=connect_seconds)
    try:
        connection.connect()
    # A host name that is not valid in DNS raises UnicodeError.
    except (OSError, UnicodeError) as error:
        return _Outcome(None, "ct", _describe(error))
    try:
        seconds_to_answer = seconds_left - (time.monotonic() - started)
        connection.sock.settimeout(max(0.001, min(url.overrides.read, seconds_to_answer)))
        connection.request("POST", url.target, body, headers)
        with connection.getresponse() as response:
            response.read(MAX_ANSWER_BYTES)
        return _Outcome(response.status, _failure_policy(response.status))
    except (OSError, HTTPException) as error:
        failure = "rt" if isinstance(error, TimeoutError) else "broken"
        return _Outcome(None, failure, _describe(error))
    finally:
        connection.close()


def _failure_policy(status: int) -> str | None:
    """The retry-policy word of a status; redirects fail, as the signature fits one URL only."""
    if 200 <= status < 300:
        return None
    return {4: "4xx", 5: "5xx"}.get(status // 100, "broken")


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
