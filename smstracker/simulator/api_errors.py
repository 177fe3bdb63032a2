"""Error responses in the format of Twilio's API."""

from flask import Flask
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

# Error code of a refused request: HTTP status and text.
_REFUSALS = {
    20001: (400, "Bad request"),
    20003: (401, "Authenticate"),
    20004: (405, "Method not allowed"),
    20404: (404, "The requested resource was not found"),
    20413: (413, "Request entity too large"),
    20429: (429, "Too Many Requests"),
    20500: (500, "Internal Server Error"),
    21211: (400, "Invalid 'To' Phone Number"),
    21212: (400, "Invalid 'From' Phone Number"),
    21602: (400, "Message body is required."),
    21603: (400, "A 'From' phone number is required."),
    21604: (400, "A 'To' phone number is required."),
    21609: (400, "The 'StatusCallback' URL is not a valid URL."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
    21620: (400, "Invalid media URL(s)"),
    21623: (400, "Number of media files exceeds allowed limit"),
    21705: (400, "The Messaging Service Sid is invalid."),
}

# Error codes that an accepted message can get.
OUTCOMES = {
    30003: "Unreachable destination handset",
    30005: "Unknown destination handset",
    30006: "Landline or unreachable carrier",
    30007: "Message filtered",
    30008: "Unknown error",
    30018: "Destination carrier requires sender ID pre-registration",
    30034: "US A2P 10DLC - Message from an Unregistered Number",
}

_CODES_BY_STATUS = {401: 20003, 404: 20404, 405: 20004, 413: 20413, 429: 20429, 500: 20500}


class ApiError(Exception):
    """A refused request; Twilio's error code determines the HTTP status and the text."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.status, self.message = _REFUSALS[code]
        super().__init__(f"{code}: {self.message}")


def require(fulfilled: object, code: int) -> None:
    """Raise ApiError unless a condition of the request is fulfilled."""
    if not fulfilled:
        raise ApiError(code)


def register(app: Flask) -> None:
    app.register_error_handler(ApiError, _error_response)
    app.register_error_handler(HTTPException, _http_error_response)


def _error_response(error: ApiError) -> ResponseReturnValue:
    body = {
        "code": error.code,
        "message": error.message,
        "more_info": f"https://www.twilio.com/docs/errors/{error.code}",
        "status": error.status,
    }
    headers = {401: {"WWW-Authenticate": 'Basic realm="Twilio API"'}, 429: {"Retry-After": "1"}}
    return body, error.status, headers.get(error.status, {})


def _http_error_response(error: HTTPException) -> ResponseReturnValue:
    return _error_response(ApiError(_CODES_BY_STATUS.get(error.code or 500, 20001)))
