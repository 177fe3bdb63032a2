"""URLs of this app: absolute ones for mail and Twilio, that of the request, a path to return to."""

from urllib.parse import urlsplit

from flask import current_app, request
from werkzeug.exceptions import HTTPException

from smstracker.extensions import settings
from smstracker.web.guards import is_page
from smstracker.web.request_framing import WEBHOOKS_PATH

# What Twilio calls back; `webhooks.views` has the routes.
CALLBACK_PREFIX = f"{WEBHOOKS_PATH}/twilio"
STATUS_PATH = f"{CALLBACK_PREFIX}/status"


def external_url(endpoint: str, **values: str) -> str:
    """The absolute URL of an endpoint, by PUBLIC_BASE_URL and never by the Host header."""
    urls = current_app.url_map.bind("localhost")
    return settings().public_base_url + urls.build(endpoint, values)


def safe_next_path(path: str | None) -> str | None:
    """`path` if it leads to a page of this app for people, otherwise None."""
    if not path or not path.startswith("/") or not path.isprintable() or "\\" in path:
        return None
    try:
        parts = urlsplit(path)
        endpoint, _ = current_app.url_map.bind("localhost").match(parts.path, method="GET")
    except (ValueError, HTTPException):
        return None
    is_own_page = not parts.netloc and is_page(current_app, endpoint)
    return path if is_own_page and len(path) <= 500 else None


def raw_target() -> str:
    """Path and query of the current request as sent; `request.url` is decoded."""
    raw = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI", "")
    if not raw.startswith("/"):  # a proxy may ask for the whole address
        parts = urlsplit(raw)
        raw = f"{parts.path}?{parts.query}"
    path, _, query = raw.partition("#")[0].partition("?")
    return f"{path}?{query}" if query else path
