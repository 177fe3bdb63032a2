"""Twilio, and nothing else of ours knows it: send a message, verify a signature.

Plain values in and out. What a create call can come to is an `Answer` or one of three errors.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from ssl import SSLCertVerificationError
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, current_app
from requests.exceptions import RequestException
from twilio.base.exceptions import TwilioRestException, TwilioServiceException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from werkzeug.datastructures import MultiDict

from config import Config, is_loopback

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds to connect, and again between two packets of the answer
CALLBACK_URL_REFUSED = 21609

# Without this, a callback that meets a 503 or a slow moment is lost: Twilio's default is one retry,
# and only of a failed connection. Everything has to fit into 15 s, hence the short time-outs.
RETRY_FRAGMENT = "#rc=5&rp=ct,rt,5xx&ct=2000&rt=2500"

# The request cannot have left this machine if one of these is at the bottom of an error.
_NEVER_LEFT = (NewConnectionError, ConnectTimeoutError, SSLCertVerificationError)
_SHOWN_FIELDS = (
    *("sid", "status", "num_segments", "num_media", "direction", "api_version"),
    *("error_code", "error_message", "price", "price_unit", "messaging_service_sid"),
)


class CarrierError(Exception):
    """The create call gave no message that we know of."""

    def __init__(self, payload: dict[str, Any]) -> None:
        super().__init__(type(self).__name__)
        self.payload = payload
        self.callback_requested = True


class RefusedError(CarrierError):
    """Twilio answered that it did not create the message. `code` is its error code, as text."""

    def __init__(self, code: str, http_status: int) -> None:
        super().__init__({"error_code": code, "http_status": http_status})
        self.code = code


class UnreachedError(CarrierError):
    """The request certainly never arrived: the message was not sent."""


class OutcomeUnknownError(CarrierError):
    """Twilio may or may not have created the message. The call must never be repeated."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The message as Twilio created it. `sender` is None until a Messaging Service chose one."""

    sid: str
    status: str
    error_code: str | None
    sender: str | None
    segments: int | None
    payload: dict[str, Any] = field(repr=False)
    callback_requested: bool = True


class Carrier:
    """One client for a process; safe to use from several threads."""

    def __init__(self, config: Config, timeout: float = TIMEOUT) -> None:
        http_client = TwilioHttpClient(timeout=timeout)
        if is_loopback(urlsplit(config.twilio_api_base_url).hostname or ""):
            # What is meant for this machine must not go out by a proxy of the environment.
            http_client.session.trust_env = False
        self._client = Client(
            config.twilio_account_sid, config.twilio_auth_token, http_client=http_client
        )
        self._client.api.base_url = config.twilio_api_base_url
        self._validators = [RequestValidator(token) for token in config.auth_tokens]

    def send(
        self,
        *,
        to: str,
        sender: str | None,
        messaging_service_sid: str | None,
        body: str,
        media_urls: list[str],
        status_callback: str,
    ) -> Answer:
        """Create a message, once. Raises RefusedError, UnreachedError or OutcomeUnknownError.

        If Twilio refuses the callback URL, nothing was created: it is sent again without one.
        """
        what: dict[str, Any] = {"to": to, "body": body}
        what |= {"messaging_service_sid": messaging_service_sid} if messaging_service_sid else {}
        what |= {"from_": sender} if sender else {}
        what |= {"media_url": media_urls} if media_urls else {}
        try:
            return self._create(what | {"status_callback": status_callback + RETRY_FRAGMENT}, True)
        except RefusedError as error:
            if error.code != str(CALLBACK_URL_REFUSED):
                raise
        log.warning("callback_url_refused")
        try:
            return self._create(what, False)
        except CarrierError as error:
            error.callback_requested = False
            raise

    def _create(self, what: dict[str, Any], callback_requested: bool) -> Answer:
        try:
            made = self._client.messages.create(**what)
        except (TwilioRestException, TwilioServiceException) as error:
            raise _of_answer(error.status, error.code) from error
        except RequestException as error:
            raise _of_connection(error) from error
        except Exception as error:  # an answer that cannot be read may still mean "created"
            raise OutcomeUnknownError({"error": type(error).__name__}) from error
        if not isinstance(made.sid, str) or not made.sid.isalnum() or len(made.sid) > 64:
            raise OutcomeUnknownError({"error": "no SID in the answer"})
        return Answer(
            sid=made.sid,
            status=str(made.status),
            error_code=str(made.error_code)[:16] if made.error_code else None,
            sender=made.from_[:34] if isinstance(made.from_, str) else None,
            segments=_count(made.num_segments),
            payload={name: getattr(made, name, None) for name in _SHOWN_FIELDS},
            callback_requested=callback_requested,
        )

    def verify(self, url: str, form: MultiDict[str, str], signature: str) -> bool:
        """Whether a callback to `url`, as it was asked for, was signed with one of our tokens.

        The validator raises on some rubbish; whatever it cannot check does not verify.
        """
        return any(_verifies(validator, url, form, signature) for validator in self._validators)


def _verifies(
    validator: RequestValidator, url: str, form: MultiDict[str, str], signature: str
) -> bool:
    try:
        return bool(validator.validate(url, form, signature))
    except Exception:
        return False


def _of_answer(http_status: int, code: int | None) -> CarrierError:
    """An answer of 4xx says "not created", but for 408; any other may come after the creation."""
    if 400 <= http_status < 500 and http_status != 408:
        # The client puts the HTTP status in place of a code if the body has none.
        known = code is not None and code >= 10000
        return RefusedError(str(code) if known else f"HTTP {http_status}", http_status)
    return OutcomeUnknownError({"http_status": http_status})


def _of_connection(error: RequestException) -> CarrierError:
    chain = list(_causes(error))
    payload = {"error": type(chain[-1]).__name__}
    if any(isinstance(cause, _NEVER_LEFT) for cause in chain):
        return UnreachedError(payload)
    return OutcomeUnknownError(payload)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what lies under it: requests and urllib3 keep the reason in three places."""
    found: list[BaseException] = []
    following: list[object] = [error]
    while following:
        one = following.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            following += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
    yield from found


def _count(number: object) -> int | None:
    return int(number) if isinstance(number, str) and number.isdecimal() and number != "0" else None


def init_app(app: Flask) -> None:
    app.extensions["carrier"] = Carrier(app.config["SETTINGS"])


def current_carrier() -> Carrier:
    carrier: Carrier = current_app.extensions["carrier"]
    return carrier
