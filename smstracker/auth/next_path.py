"""The path to which signing in leads back."""

from urllib.parse import urlsplit

from flask import current_app
from werkzeug.exceptions import HTTPException

from smstracker.web.guards import is_page


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
