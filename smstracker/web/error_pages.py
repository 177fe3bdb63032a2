"""The error pages: what went wrong in plain words, with the request id to quote."""

import logging
from datetime import timedelta
from http import HTTPStatus

from flask import Flask, abort, g, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import RequestRedirect

from smstracker.clock import format_wait
from smstracker.database.engine import UNAVAILABLE
from smstracker.database.problems import NOT_MIGRATED, WRITE_PROBLEMS, explain, log_reason

log = logging.getLogger(__name__)

RETRY_AFTER = 5  # seconds
# Pass by themselves: the very same request may succeed a little later.
PASSING = (429, 500, 503)

# What is read here expects no page.
FOR_PROGRAMS = ("/messages.json", "/export.json", "/export.csv")

PAGES = {
    400: ("This request cannot be read", "Go back, reload the page and try again."),
    403: ("That is not allowed", "You are not allowed to see or do this."),
    404: ("There is nothing here", "The address is wrong, or what it led to is not yours."),
    405: ("That cannot be done here", "Go back and use the buttons of the page."),
    413: (
        "That is too large",
        "It was not read, so it cannot be shown here. Go back, where your browser may still have "
        "it, shorten it and try again.",
    ),
    429: ("Too many tries", "Wait a while and try again."),
    500: ("Something broke on our side", "It has been noted. Try again in a moment."),
    503: ("We cannot do this right now", "The database does not answer. Try again in a moment."),
}


Answer = tuple[str | dict[str, str], int, dict[str, str]]


def error_page(code: int, advice: str | None = None) -> Answer:
    """The page for an HTTP status, or its words for a program. It asks nothing of the database,
    which may be the trouble.

    What was typed is kept in it if that is worth another try. The fields of the send form are seen
    there before they are sent again; those of other forms are hidden, so they are kept only once
    their CSRF token was checked: what a stranger's page has filled in must not get a good one.
    """
    is_safe = g.get("csrf_valid") or request.endpoint == "dashboard.send"
    title, default = PAGES.get(code, (HTTPStatus(code).phrase, "Go back and try again."))
    if request.path.endswith(FOR_PROGRAMS):
        return {"error": f"{title}. {advice}" if advice else f"{title}."}, code, {}
    page = render_template(
        "error.html",
        code=code,
        title=title,
        advice=advice or default,
        typed=request.form if code in PASSING and is_safe else None,
        request_id=g.get("request_id"),
    )
    return page, code, {}


def init_app(app: Flask) -> None:
    app.before_request(_no_tidied_path)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    for error in UNAVAILABLE:
        app.register_error_handler(error, database_error)


def _no_tidied_path() -> None:
    """The router redirects to a tidier path with the Host header in the address; we do not."""
    if isinstance(request.routing_exception, RequestRedirect):
        abort(404)


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.code < 400:
        return error
    page, code, headers = error_page(error.code)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return page, code, headers


def too_many(wait: timedelta) -> ResponseReturnValue:
    """The answer to one request too many; after `wait` another one may come."""
    log.warning("rate_limited", extra={"reason": request.endpoint})
    page, code, _ = error_page(429, f"Try again in {format_wait(wait)}.")
    return page, code, {"Retry-After": str(int(wait.total_seconds()))}


def database_error(error: Exception) -> ResponseReturnValue:
    """The answer when the database cannot be used."""
    log.error("database_error", exc_info=error, extra={"reason": log_reason(error)})
    problem = explain(error)
    # Where it lies and who may use it is no visitor's business; that nothing can be stored is.
    advice = (
        f"{problem.cause.capitalize()}, so nothing was saved. Tell whoever runs smstracker."
        if problem in (*WRITE_PROBLEMS, NOT_MIGRATED)
        else None
    )
    page, code, _ = error_page(503, advice)
    return page, code, {"Retry-After": str(RETRY_AFTER)}


def _unexpected(error: Exception) -> ResponseReturnValue:
    if explain(error):
        return database_error(error)
    log.error("unexpected_error", exc_info=error)
    return error_page(500)
