"""Drafts of forms, which drafts.js keeps in the browser until a form is accepted."""

from contextlib import suppress
from urllib.parse import quote

from flask import redirect, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response

_URL_CHARACTERS = "/?&=%+,:;@!$'()*~"  # that the script finds unchanged


def draft_address() -> str:
    """The address of the page whose draft was sent; empty without script, or if nothing is read."""
    with suppress(RequestEntityTooLarge):
        return request.form.get("draft", "")
    return ""


def redirect_accepted(url: str) -> Response:
    """Redirect after a form was accepted; the fragment tells the script to drop its draft."""
    address = quote(draft_address(), safe=_URL_CHARACTERS)
    return redirect(f"{url}#accepted={address}" if address else url, 303)
