"""Flask's sessions in a signed cookie, at no cost to requests that have none: every callback.

Requests to the API never have one, whatever cookie they bring.
"""

from contextlib import suppress

from flask import Flask, Request, Response
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from itsdangerous import BadSignature

from smstracker.web.problem_details import API_PREFIX


class CookieSessions(SecureCookieSessionInterface):
    """Flask's own sessions, without an age."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Read the cookie whatever its age: our sessions end on the server.

        Flask refuses one from the future, as made by a machine whose clock is a second ahead.
        """
        # Looking for ours in none takes time too.
        has_cookies = "HTTP_COOKIE" in request.environ and not request.path.startswith(API_PREFIX)
        cookie = request.cookies.get(self.get_cookie_name(app)) if has_cookies else None
        serializer = self.get_signing_serializer(app) if cookie else None
        if cookie and serializer:
            with suppress(BadSignature):
                return self.session_class(serializer.loads(cookie))
        return self.session_class()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session or session.modified:
            super().save_session(app, session, response)
