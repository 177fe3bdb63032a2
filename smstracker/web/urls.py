"""URLs of this app: absolute ones for mail and Twilio, and that of the request."""

from urllib.parse import urlsplit

from flask import current_app, request

from smstracker.extensions import settings
from smstracker.web.request_framing import WEBHOOKS_PATH

# What Twilio calls back; `webhooks.views` has the routes.
CALLBACK_PREFIX = f"{WEBHOOKS_PATH}/twilio"
STATUS_PATH = f"{CALLBACK_PREFIX}/status"

# The pages of signing in; `auth.views` has the routes.
AUTH_PREFIX = "/auth"


def sign_in_url(token: str) -> str:
    """The absolute URL that signs in once; also in a command, which has no endpoints."""
    return f"{settings().public_base_url}{AUTH_PREFIX}/link/{token}"


def tell_to_sign_in() -> str:
    """What to do for a user who never signed in: nothing is sent by itself."""
    address = settings().public_base_url
    return f" No mail is sent now: tell them to open {address} and type this address."


def status_callback_url(public_id: object) -> str:
    """The absolute URL of a message's status callbacks; also in the worker, without endpoints."""
    return f"{settings().public_base_url}{STATUS_PATH}/{public_id}"


def external_url(endpoint: str, **values: str) -> str:
    """The absolute URL of an endpoint, by PUBLIC_BASE_URL and never by the Host header."""
    urls = current_app.url_map.bind("localhost")
    return settings().public_base_url + urls.build(endpoint, values)


def raw_target() -> str:
    """Path and query of the current request as sent; `request.url` is decoded."""
    raw = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI", "")
    if not raw.startswith("/"):  # a proxy may ask for the whole address
        parts = urlsplit(raw)
        raw = f"{parts.path}?{parts.query}"
    path, _, query = raw.partition("#")[0].partition("?")
    return f"{path}?{query}" if query else path
