"""Errors of requests to Twilio."""

from collections.abc import Mapping

UNREACHED = "Twilio could not be reached."
START_DEMO = "start the demo with make run, or set the PORT with which it runs"
SIMULATOR_UNREACHED = f"The simulated carrier does not answer: {START_DEMO}."
CREDENTIALS_REFUSED = (
    "Twilio did not accept the credentials (HTTP {status}): check "
    "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN."
)
UNREADABLE_ANSWER = "Twilio's answer could not be read."
MAX_CONSECUTIVE_FAILURES = 3  # after these the cause is Twilio, not the message


class CarrierError(Exception):
    """A create call without a message that we know of; `payload` goes into the event."""

    def __init__(self, payload: Mapping[str, object]) -> None:
        super().__init__(type(self).__name__)
        self.payload = payload
        self.callback_requested = True


class RefusedError(CarrierError):
    """Twilio refused to create the message; `code` is its error code as text."""

    def __init__(self, code: str, http_status: int) -> None:
        super().__init__({"error_code": code, "http_status": http_status})
        self.code = code


class CarrierUnreachableError(CarrierError):
    """The request never left this machine, so the message was not sent."""


class OutcomeUnknownError(CarrierError):
    """Twilio may or may not have created the message. The call must never be repeated."""


class CarrierQueryError(Exception):
    """A query without a readable answer; `reason` says why, in a sentence for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CredentialsRefusedError(CarrierQueryError):
    """Twilio refused our credentials for the account that was asked (401 or 403)."""


class QueryRefusedError(CarrierQueryError):
    """Twilio answered, and refused this one request: it can be asked for others."""


class CarrierBusyError(CarrierQueryError):
    """Twilio's rate limit is reached (429)."""


class NotFoundAtCarrierError(QueryRefusedError):
    """The resource does not exist at Twilio, or no longer."""
