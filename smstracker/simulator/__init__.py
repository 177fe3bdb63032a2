"""The built-in carrier: speaks the part of Twilio's REST API that smstracker uses.

It stands in for Twilio in demo mode and in tests, and posts signed status callbacks over real
HTTP. It shares no logic with the app that it puts to the test; only the count of segments is
taken from there.
"""

import secrets

from flask import Flask

from . import errors
from .api import api
from .books import Books
from .courier import Courier
from .delivery import Delivery
from .server import SimulatorServer
from .stories import STORIES, Key

__all__ = ["STORIES", "SimulatorServer", "create_simulator"]

MAX_REQUEST_BYTES = 1_000_000


def create_simulator(
    *,
    account_sid: str,
    auth_token: str,
    auth_token_secondary: str | None = None,
    speed: float = 1.0,
    reject_unreachable_callbacks: bool = False,
) -> Flask:
    """The carrier as a WSGI app. Its threads run until `app.extensions["delivery"].close()`.

    `speed` divides the delays of the stories. `app.extensions["books"]` tells what is true.
    Without a secondary token, its story signs with a token that nobody knows.
    """
    app = Flask(__name__)
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_REQUEST_BYTES,
        ACCOUNT_SID=account_sid,
        AUTH_TOKENS=tuple(filter(None, (auth_token, auth_token_secondary))),
        REJECT_UNREACHABLE_CALLBACKS=reject_unreachable_callbacks,
    )
    tokens = {
        Key.PRIMARY: auth_token,
        Key.SECONDARY: auth_token_secondary or secrets.token_hex(16),
        Key.WRONG: secrets.token_hex(16),
    }
    books = Books()
    courier = Courier(books, tokens, speed)
    app.extensions["books"] = books
    app.extensions["delivery"] = Delivery(account_sid, books, courier, speed)
    app.register_blueprint(api)
    errors.register(app)
    return app
