"""Addresses of this app: absolute ones for mail and Twilio, and which paths are its own pages."""

from urllib.parse import urlsplit

from flask import current_app
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from smstracker.extensions import settings
from smstracker.web.guards import is_page


def external_url(endpoint: str, **values: str) -> str:
    """The absolute address of an endpoint: PUBLIC_BASE_URL and its path, never the Host header."""
    urls = current_app.url_map.bind("localhost")
    return settings().public_base_url + urls.build(endpoint, values)


def safe_next_path(wanted: str | None) -> str | None:
    """`wanted` if it is the path of a page for people in this app, otherwise None."""
    if not wanted or not wanted.startswith("/") or not wanted.isprintable() or "\\" in wanted:
        return None
    try:
        parts = urlsplit(wanted)
        endpoint, _ = current_app.url_map.bind("localhost").match(parts.path, method="GET")
    except (ValueError, HTTPException, RequestRedirect):
        return None
    is_ours = not parts.scheme and not parts.netloc and is_page(current_app, endpoint)
    return wanted if is_ours and len(wanted) <= 500 else None
