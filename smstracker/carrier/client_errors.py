"""The errors of requests to Twilio, made from those of its client."""

from ssl import SSLCertVerificationError

from requests import RequestException
from requests.exceptions import InvalidHeader, InvalidSchema, InvalidURL, MissingSchema
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
from smstracker.carrier.http_client import ErrorAnswer

NOT_FOUND = "20404"

# With one of these as a cause, the request cannot have left this machine.
_CONNECT_ERRORS = (NewConnectionError, ConnectTimeoutError, SSLCertVerificationError)
# Nor with one of these: the request could not be encoded. (The client follows no redirects, which
# could lead to such an address after the request.)
_ENCODE_ERRORS = (UnicodeEncodeError, InvalidHeader, InvalidSchema, InvalidURL, MissingSchema)


def create_error(error: Exception) -> CarrierError:
    """The error of a create call."""
    if isinstance(error, ErrorAnswer):
        return _create_answer_error(error.http_status, error.code)
    if isinstance(error, RequestException | UnicodeEncodeError):
        return create_transport_error(error)
    # An unreadable answer may still mean "created".
    return OutcomeUnknownError({"error": type(error).__name__})


def _create_answer_error(http_status: int, code: str | None) -> CarrierError:
    """The error of an answer: 4xx except 408 means "not created"; others leave it open."""
    if 400 <= http_status < 500 and http_status != 408:
        return RefusedError(code or f"HTTP {http_status}", http_status)
    return OutcomeUnknownError({"http_status": http_status})


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
    if isinstance(error, ErrorAnswer):
        return _query_answer_error(error.http_status, error.code)
    return CarrierQueryError(UNREADABLE_ANSWER)


def _query_answer_error(status: int, code: str | None) -> CarrierQueryError:
    if status == 429:
        return CarrierBusyError("Twilio's rate limit is reached (HTTP 429).")
    # A 404 of a proxy or a wrong address has no Twilio code.
    if status == 404 and code == NOT_FOUND:
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
