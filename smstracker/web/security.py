"""Security headers of every response, cookie settings, and limits of request bodies."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Flask, abort, request
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from smstracker.models.users import SESSION_LIFETIME
from smstracker.view_marks import ViewMark
from smstracker.web.cookie_sessions import CookieSessions
from smstracker.web.request_framing import MAX_BODY_BYTES, MAX_PARTS

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from config import Config
    from smstracker.web.request_framing import Framing

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    # Pico draws its select arrow and its marks for invalid fields as data images.
    "img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
CACHE_HEADERS = ("cache-control", "expires")
# The guard of the view's blueprint reads the body, with a limit of its own.
guard_reads_body = ViewMark("guard_reads_body", True)
HSTS = f"max-age={int(timedelta(days=365).total_seconds())}"


def _flask_settings(config: "Config") -> dict[str, object]:
    """The settings of Flask and Flask-WTF, derived from ours."""
    return {
        "SECRET_KEY": config.secret_key,
        # A cookie with this prefix cannot be set by a neighbouring host or without https.
        "SESSION_COOKIE_NAME": "__Host-session" if config.is_https else "smstracker_session",
        "SESSION_COOKIE_SECURE": config.is_https,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "PERMANENT_SESSION_LIFETIME": SESSION_LIFETIME,
        "SESSION_REFRESH_EACH_REQUEST": False,
        "MAX_CONTENT_LENGTH": MAX_BODY_BYTES,
        "MAX_FORM_MEMORY_SIZE": MAX_BODY_BYTES,
        "MAX_FORM_PARTS": MAX_PARTS,
        # A form may stay open for long; its token ends with the session.
        "WTF_CSRF_TIME_LIMIT": None,
        # It would compare the Referer with the Host header, which is never trusted.
        "WTF_CSRF_SSL_STRICT": False,
        "SEND_FILE_MAX_AGE_DEFAULT": timedelta(days=365),
    }


@contextmanager
def reading_body() -> Iterator[None]:
    """Turn the errors of gunicorn's body parser into a 400, or a 413 if it is too large.

    They have no common class: invalid chunks, trailers, an early end.
    Raises ClientDisconnected, RequestEntityTooLarge.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, HTTPException) and not isinstance(error, ClientDisconnected):
            raise
        framing = _framing()
        if framing and framing.has_large_body:
            raise RequestEntityTooLarge from error
        raise ClientDisconnected from error


def _framing() -> "Framing | None":
    """What our server read of the request; None in another server."""
    return getattr(request.environ.get("gunicorn.socket"), "framing", None)


def _refuse_page_as_webhook() -> None:
    """Refuse what the server took for a webhook: its only loop answers that, and must not wait."""
    framing = _framing()
    if framing and framing.is_webhook and request.blueprint not in (None, "webhooks"):
        abort(404)


def _refuse_cut_body() -> None:
    """Refuse a chunked body over the limit, which Werkzeug would cut there and pass on."""
    if "Transfer-Encoding" in request.headers and not guard_reads_body.value_of_current():
        with reading_body():
            request.get_data()
            is_cut = request.environ["wsgi.input"].read(1)
        if is_cut:
            abort(413)


SENT_HOST = "smstracker.sent_host"


def _use_own_host(app: "WSGIApplication", base_url: str) -> "WSGIApplication":
    """Replace the Host header by our own host: an invalid one would break even the error pages.

    Merge doubled slashes of the path, for which the router would redirect and lose a callback. Its
    signature is checked over the path that was sent.
    """
    own = urlsplit(base_url).netloc

    def serve(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        environ[SENT_HOST] = environ.get("HTTP_HOST", "")
        environ["HTTP_HOST"] = own
        if "//" in environ.get("PATH_INFO", ""):
            environ["PATH_INFO"] = re.sub("/{2,}", "/", environ["PATH_INFO"])
        return app(environ, start_response)

    return serve


def _add_headers(app: "WSGIApplication", is_https: bool, public_path: str) -> "WSGIApplication":
    """Add the security headers to each response as it is sent: Flask would check each anew.

    Caches may keep what is below `public_path` as it says itself, and nothing else. The answer to a
    stored callback has no content that the headers could protect.
    """
    added = [*HEADERS.items(), *([("Strict-Transport-Security", HSTS)] if is_https else [])]

    def serve(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        def start(
            status: str, headers: list[tuple[str, str]], error: "OptExcInfo | None" = None, /
        ) -> Callable[[bytes], object]:
            if status.startswith("204"):
                return start_response(status, headers, error)
            is_public = environ.get("PATH_INFO", "").startswith(public_path)
            if not is_public or not any(name.lower() == "cache-control" for name, _ in headers):
                # Flask lets caches keep every file that is sent, also an export.
                headers[:] = [item for item in headers if item[0].lower() not in CACHE_HEADERS]
                headers.append(("Cache-Control", "no-store"))
            headers += added
            return start_response(status, headers, error)

        return app(environ, start)

    return serve


def init_app(app: Flask) -> None:
    config: Config = app.config["SETTINGS"]
    app.config |= _flask_settings(config)
    app.session_interface = CookieSessions()
    wsgi_app = _use_own_host(app.wsgi_app, config.public_base_url)
    wsgi_app = _add_headers(wsgi_app, config.is_https, f"{app.static_url_path}/")
    if proxies := config.trusted_proxies:
        wsgi_app = ProxyFix(wsgi_app, x_for=proxies, x_proto=0, x_host=0)
    app.wsgi_app = wsgi_app  # type: ignore[method-assign, assignment]
    app.before_request(_refuse_page_as_webhook)
    app.before_request(_refuse_cut_body)
