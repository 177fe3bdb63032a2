"""What a request to Twilio can come to but an answer."""

from collections.abc import Iterator
from ssl import SSLCertVerificationError
from typing import Any

from requests.exceptions import (
    InvalidHeader,
    InvalidSchema,
    InvalidURL,
    MissingSchema,
    RequestException,
)
from twilio.base.exceptions import (
    TwilioException,
    TwilioRestException,
    TwilioServiceException,
)
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

# Twilio's API raises one of two unrelated classes.
API_ERRORS = (TwilioRestException, TwilioServiceException)

NOT_FOUND = 20404

# The request cannot have left this machine if one of these is at the bottom of an error.
_NEVER_LEFT = (NewConnectionError, ConnectTimeoutError, SSLCertVerificationError)
# Nor if the request could not even be put into bytes. (No redirect is followed, which could lead
# to such an address after the request.)
_NEVER_WRITTEN = (UnicodeEncodeError, InvalidHeader, InvalidSchema, InvalidURL, MissingSchema)


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


class CarrierUnreachableError(CarrierError):
    """The request certainly never arrived: the message was not sent."""


class OutcomeUnknownError(CarrierError):
    """Twilio may or may not have created the message. The call must never be repeated."""


class CarrierQueryError(Exception):
    """Twilio could not be asked, or gave no readable answer; `reason` says why, in words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CarrierBusyError(CarrierQueryError):
    """Twilio asks for fewer requests (429)."""


class NotFoundAtCarrierError(CarrierQueryError):
    """Twilio has no such resource (any more)."""


def create_refused(http_status: int, code: int | None) -> CarrierError:
    """An answer of 4xx says "not created", but for 408; any other may come after the creation."""
    if 400 <= http_status < 500 and http_status != 408:
        # The client puts the HTTP status in place of a code if the body has none.
        known = code is not None and code >= 10000
        return RefusedError(str(code) if known else f"HTTP {http_status}", http_status)
    return OutcomeUnknownError({"http_status": http_status})


def create_broken(error: RequestException | UnicodeEncodeError) -> CarrierError:
    chain = list(_causes(error))
    payload = {"error": type(chain[-1]).__name__}
    is_written = not isinstance(error, _NEVER_WRITTEN)
    if not is_written or any(isinstance(cause, _NEVER_LEFT) for cause in chain):
        return CarrierUnreachableError(payload)
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


def inquiry_failed(error: Exception) -> CarrierQueryError:
    """What kept Twilio from answering a question."""
    if isinstance(error, RequestException):
        return CarrierQueryError("Twilio could not be reached.")
    if isinstance(error, API_ERRORS):
        return _query_error(error.status, error.code)
    status = _status_of_list(error)
    return (
        _query_error(status) if status else CarrierQueryError("Twilio's answer could not be read.")
    )


def _status_of_list(error: Exception) -> int | None:
    """The client tells of a list that was refused by a plain exception with the response in it."""
    response = error.args[1] if isinstance(error, TwilioException) and len(error.args) > 1 else None
    status = getattr(response, "status_code", 200)
    return status if status != 200 else None


def _query_error(status: int, code: int | None = None) -> CarrierQueryError:
    if status == 429:
        return CarrierBusyError("Twilio asks for fewer requests (429).")
    # A 404 of something in between, or of a wrong address, has no code of Twilio's.
    if status == 404 and code == NOT_FOUND:
        return NotFoundAtCarrierError("Twilio does not have it.")
    if status in (401, 403):
        return CarrierQueryError(
            f"Twilio did not accept the credentials (HTTP {status}): check "
            "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN."
        )
    if status >= 500:
        return CarrierQueryError(
            f"Twilio has trouble (HTTP {status}): see status.twilio.com and try again later."
        )
    return CarrierQueryError(f"Twilio answered with HTTP {status}.")
