"""The errors of requests to Twilio, made from those of its client."""

from requests import RequestException

from smstracker.carrier.errors import (
    UNREACHED,
    UNREADABLE_ANSWER,
    CarrierBusyError,
    CarrierError,
    CarrierQueryError,
    CarrierUnreachableError,
    NotFoundAtCarrierError,
    OutcomeUnknownError,
    RefusedError,
)
from smstracker.carrier.http_client import ErrorAnswer, has_sent

NOT_FOUND = "20404"


def create_error(error: Exception) -> CarrierError:
    """The error of a create call."""
    if isinstance(error, ErrorAnswer):
        return _create_answer_error(error.http_status, error.code)
    payload: dict[str, object] = {"error": type(_first_cause(error)).__name__}
    # After the request, even an answer that cannot be read may mean "created".
    return OutcomeUnknownError(payload) if has_sent() else CarrierUnreachableError(payload)


def _create_answer_error(http_status: int, code: str | None) -> CarrierError:
    """The error of an answer: 4xx except 408 means "not created"; others leave it open."""
    if 400 <= http_status < 500 and http_status != 408:
        return RefusedError(code or f"HTTP {http_status}", http_status)
    return OutcomeUnknownError({"http_status": http_status})


def _first_cause(error: BaseException) -> BaseException:
    # Causes may form a ring; of contexts, Python makes none.
    while error.__context__ is not None:
        error = error.__context__
    return error


def query_error(error: Exception) -> CarrierQueryError:
    """The error of a failed query."""
    if isinstance(error, RequestException):
        return CarrierQueryError(UNREACHED)
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
