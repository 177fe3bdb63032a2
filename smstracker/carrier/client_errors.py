"""The errors of requests to Twilio, made from those of its client."""

from requests import RequestException

from smstracker.carrier import errors
from smstracker.carrier.http_client import ErrorAnswer, has_sent
from smstracker.network_errors import first_cause

NOT_FOUND = "20404"
NOT_FINISHED = "20009"


def create_error(error: Exception) -> errors.CarrierError:
    """The error of a create call: 4xx except 408 means "not created", other answers leave it open.

    After the request, even an answer that cannot be read may mean "created".
    """
    if isinstance(error, ErrorAnswer):
        status = error.http_status
        if 400 <= status < 500 and status != 408:
            return errors.RefusedError(error.code or f"HTTP {status}", status)
        return errors.OutcomeUnknownError({"http_status": status})
    error_type = errors.OutcomeUnknownError if has_sent() else errors.CarrierUnreachableError
    return error_type({"error": type(first_cause(error)).__name__})


def query_error(error: Exception) -> errors.CarrierQueryError:
    """The error of a failed query."""
    if isinstance(error, RequestException):
        return errors.CarrierQueryError(errors.UNREACHED)
    if not isinstance(error, ErrorAnswer):
        return errors.CarrierQueryError(errors.UNREADABLE_ANSWER)
    status = error.http_status
    if status == 429:
        return errors.CarrierBusyError("Twilio's rate limit is reached (HTTP 429).")
    # A 404 of a proxy or a wrong address has no Twilio code.
    if status == 404 and error.code == NOT_FOUND:
        return errors.NotFoundAtCarrierError("Not found at Twilio.")
    if error.code == NOT_FINISHED:
        return errors.QueryRefusedError("Twilio has not finished this message yet.")
    if status in (401, 403):
        return errors.CredentialsRefusedError(errors.CREDENTIALS_REFUSED.format(status=status))
    if status >= 500:
        return errors.CarrierQueryError(
            f"Twilio has a server error (HTTP {status}): see status.twilio.com and try again later."
        )
    if error.code and status >= 400:
        reason = f"Twilio refused the request (HTTP {status}, code {error.code})."
        return errors.QueryRefusedError(reason)
    return errors.CarrierQueryError(f"Twilio answered with HTTP {status}.")
