"""The error pages: what went wrong, what to do, and the request id to quote."""

import logging
from datetime import timedelta
from http import HTTPStatus

from flask import Flask, abort, g, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import RequestRedirect

from smstracker.clock import format_wait
from smstracker.database.engine import UNAVAILABLE
from smstracker.database.problems import explain, log_reason
from smstracker.system_errors import is_disk_full
from smstracker.web.guards import shows_typed_fields
from smstracker.web.problem_details import is_for_api, problem_of_status

log = logging.getLogger(__name__)

# Temporary: the same request may succeed a little later.
RETRYABLE_CODES = (429, 500, 503)

RETRY_SOON = {"Retry-After": "5"}  # seconds
FULL_DISK = "The server's disk for temporary files is full."

# Programs that read these paths get the error as JSON, also when no view matches the method.
JSON_ERROR_PATHS = ("/messages.json", "/export.json", "/export.csv")

PAGES = {
    400: ("This request cannot be read", "Go back, reload the page and try again."),
    403: ("That is not allowed", "Your role does not allow it: ask an administrator."),
    404: ("There is nothing here", "The address is wrong, or you may not see this page."),
    405: ("That cannot be done here", "Go back and use the buttons of the page."),
    413: (
        "That is too large",
        "It was not read, so it cannot be shown here. Go back, shorten it if your browser still "
        "has it, and try again.",
    ),
    429: ("Too many tries", "Wait a while and try again."),
    500: ("Something went wrong here", "The error was logged. Try again in a moment."),
    503: (
        "We cannot do this right now",
        "The database does not answer. Try again in a moment. If it lasts, tell whoever runs "
        "smstracker.",
    ),
}


ErrorResponse = tuple[str | dict[str, str], int, dict[str, str]]


def error_page(code: int, advice: str | None = None) -> ErrorResponse:
    """The page for an HTTP status, or its JSON for a program, without a query: the database may be
    down. The API has problem details.

    The page of a temporary error holds the typed fields, to be sent again. The send form is shown
    filled in; the fields of other forms are hidden, so they are kept only after their CSRF token
    was checked: fields that a stranger's page filled in must not get a valid token.
    """
    is_form_shown = bool(shows_typed_fields.value_of_current())
    is_kept = code in RETRYABLE_CODES and (is_form_shown or g.get("csrf_valid"))
    if is_for_api():
        return problem_of_status(code, HTTPStatus(code).phrase, advice)
    title, default = PAGES.get(code, (HTTPStatus(code).phrase, "Go back and try again."))
    if request.path.endswith(JSON_ERROR_PATHS):
        return {"error": f"{title}. {advice}" if advice else f"{title}."}, code, {}
    page = render_template(
        "error.html",
        code=code,
        title=title,
        advice=advice or default,
        fields=request.form if is_kept else None,
        is_form_shown=is_form_shown,
        request_id=g.get("request_id"),
    )
    return page, code, {}


def init_app(app: Flask) -> None:
    app.before_request(_refuse_path_redirect)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _refuse_path_redirect() -> None:
    """Answer 404 where the router would redirect to a tidier path of the Host header."""
    if isinstance(request.routing_exception, RequestRedirect):
        abort(404)


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.code < 400:
        return error
    page, code, headers = error_page(error.code)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return page, code, headers


def too_many_requests(wait: timedelta) -> ResponseReturnValue:
    """The 429 for a request over a limit; after `wait` it is accepted again."""
    log.warning("rate_limited", extra={"reason": request.endpoint})
    page, code, headers = error_page(429, f"Try again in {format_wait(wait)}.")
    return page, code, headers | {"Retry-After": str(int(wait.total_seconds()))}


def database_error(error: Exception) -> ResponseReturnValue:
    """The answer when the database cannot be used."""
    log.error("database_error", exc_info=error, extra={"reason": log_reason(error)})
    problem = explain(error)
    # Visitors learn that nothing is stored, but not where the database is or who may use it.
    advice = (
        f"{problem.cause[0].upper()}{problem.cause[1:]}, so nothing was saved. "
        "Tell whoever runs smstracker."
        if problem and (problem.is_write_problem or problem.is_lasting)
        else None
    )
    page, code, headers = error_page(503, advice)
    return page, code, headers | RETRY_SOON


def disk_full(error: Exception) -> ResponseReturnValue:
    """The answer when a file that the request needs for itself has no room."""
    log.error("disk_full", exc_info=error)
    advice = f"{FULL_DISK} Try again in a moment. If it lasts, tell whoever runs smstracker."
    page, code, headers = error_page(503, advice)
    return page, code, headers | RETRY_SOON


def _unexpected(error: Exception) -> ResponseReturnValue:
    if isinstance(error, UNAVAILABLE) or explain(error):
        return database_error(error)
    if is_disk_full(error):
        return disk_full(error)
    log.error("unexpected_error", exc_info=error)
    return error_page(500)
