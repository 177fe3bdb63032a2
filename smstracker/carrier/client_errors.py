"""The errors of requests to Twilio, made from those of its client."""

import re
from ssl import SSLCertVerificationError

from requests import RequestException
from requests.exceptions import InvalidHeader, InvalidSchema, InvalidURL, MissingSchema
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from smstracker.carrier.errors import (
    UNREADABLE_ANSWER,
    CarrierBusyError,
    CarrierError,
    CarrierQueryError,
    CarrierUnreachableError,
    NotFoundAtCarrierError,
    OutcomeUnknownError,
    RefusedError,
)

# The client raises one of two unrelated classes.
API_ERRORS = (TwilioRestException, TwilioServiceException)

NOT_FOUND = "20404"

# With one of these as a cause, the request cannot have left this machine.
_CONNECT_ERRORS = (NewConnectionError, ConnectTimeoutError, SSLCertVerificationError)
# Nor with one of these: the request could not be encoded. (The client follows no redirects, which
# could lead to such an address after the request.)
_ENCODE_ERRORS = (UnicodeEncodeError, InvalidHeader, InvalidSchema, InvalidURL, MissingSchema)


def create_error(error: Exception) -> CarrierError:
    """The error of a create call."""
    if isinstance(error, API_ERRORS):
        return _create_response_error(error.status, error.code)
    if isinstance(error, RequestException | UnicodeEncodeError):
        return create_transport_error(error)
    # An unreadable answer may still mean "created".
    return OutcomeUnknownError({"error": type(error).__name__})


def _create_response_error(status: object, code: object) -> CarrierError:
    """The error of a response: 4xx except 408 means "not created"; others leave it open."""
    http_status = _read_status(status)
    if http_status and 400 <= http_status < 500 and http_status != 408:
        return RefusedError(_read_code(code) or f"HTTP {http_status}", http_status)
    return OutcomeUnknownError({"http_status": http_status})


def _read_status(status: object) -> int | None:
    """Return the HTTP status of an error, which the client may take from the body unread."""
    text = str(status) if type(status) in (int, str) else ""
    return int(text) if re.fullmatch(r"[1-5][0-9]{2}", text) else None


def _read_code(code: object) -> str | None:
    """Return the code in an answer, which may be of any type of JSON, if it can be Twilio's.

    Hosts that speak Twilio's API write digits as a text. The client puts the HTTP status in place
    of a code if the body has none.
    """
    text = str(code) if type(code) in (int, str) else ""
    return text if re.fullmatch(r"[1-9][0-9]{4,6}", text) else None


def create_transport_error(error: RequestException | UnicodeEncodeError) -> CarrierError:
    """The error of a create call without a response."""
    causes = _list_causes(error)
    payload = {"error": type(causes[-1]).__name__}
    is_encoded = not isinstance(error, _ENCODE_ERRORS)
    if not is_encoded or any(isinstance(cause, _CONNECT_ERRORS) for cause in causes):
        return CarrierUnreachableError(payload)
    return OutcomeUnknownError(payload)


def _list_causes(error: BaseException) -> list[BaseException]:
    """An error and its causes, which requests and urllib3 keep in different places."""
    causes: list[BaseException] = []
    pending: list[object] = [error]
    while pending:
        candidate = pending.pop(0)
        if isinstance(candidate, BaseException) and candidate not in causes:
            causes.append(candidate)
            pending += [*candidate.args, getattr(candidate, "reason", None)]
            pending += [candidate.__cause__, candidate.__context__]
    return causes


def query_error(error: Exception) -> CarrierQueryError:
    """The error of a failed query."""
    if isinstance(error, RequestException):
        return CarrierQueryError("Twilio could not be reached.")
    if isinstance(error, API_ERRORS):
        return _query_response_error(_read_status(error.status), error.code)
    return _query_response_error(_list_response_status(error))


def _list_response_status(error: Exception) -> int | None:
    """The HTTP status of a refused list, whose error has the response as second argument."""
    response = error.args[1] if isinstance(error, TwilioException) and len(error.args) > 1 else None
    status = getattr(response, "status_code", 200)
    return status if status != 200 else None


def _query_response_error(status: int | None, code: object = None) -> CarrierQueryError:
    if status is None:
        return CarrierQueryError(UNREADABLE_ANSWER)
    if status == 429:
        return CarrierBusyError("Twilio's rate limit is reached (HTTP 429).")
    # A 404 of a proxy or a wrong address has no Twilio code.
    if status == 404 and _read_code(code) == NOT_FOUND:
        return NotFoundAtCarrierError("Not found at Twilio.")
    if status in (401, 403):
        return CarrierQueryError(
            f"Twilio did not accept the credentials (HTTP {status}): check "
            "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN."
        )
    if status >= 500:
        return CarrierQueryError(
            f"Twilio has a server error (HTTP {status}): see status.twilio.com and try again later."
        )
    return CarrierQueryError(f"Twilio answered with HTTP {status}.")
