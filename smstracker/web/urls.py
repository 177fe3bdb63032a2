"""URLs of this app: absolute ones for mail and Twilio, and the check of a path to return to."""

from urllib.parse import urlsplit

from flask import current_app
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
