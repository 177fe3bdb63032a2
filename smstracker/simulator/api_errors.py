"""Error responses in the format of Twilio's API. Data in api_errors.toml."""

import tomllib
from pathlib import Path

from flask import Flask
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

_tables = tomllib.loads(Path(__file__).with_name("api_errors.toml").read_text("utf-8"))
_REFUSALS = {int(code): refusal for code, refusal in _tables["refusals"].items()}
OUTCOMES = {int(code): text for code, text in _tables["outcomes"].items()}
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
