"""A simulated carrier that speaks the part of Twilio's REST API that smstracker uses.

It replaces Twilio in demo mode and in tests, and posts signed status callbacks over real HTTP.
It shares with the app under test only the shapes of numbers and SIDs, and the count of segments.
"""

import secrets

from flask import Flask

from smstracker.simulator import api_errors
from smstracker.simulator.callback_client import Signing
from smstracker.simulator.fault_injection import Faults
from smstracker.simulator.http_server import SimulatorServer
from smstracker.simulator.scenarios import SCENARIOS, SigningKey

from .access import LookupLimit
from .api import api
from .delivery import Delivery

__all__ = ["SCENARIOS", "Faults", "SimulatorServer", "create_simulator"]

UNKNOWN_KEY_ID = "webhooks_sharedkey_unknown"


def create_simulator(
    *,
    account_sid: str,
    auth_token: str,
    auth_token_secondary: str | None = None,
    auth_token_former: str | None = None,
    webhook_key: tuple[str, str] | None = None,
    phone_numbers: tuple[str, ...] = ("+15005550006",),
    speed: float = 1.0,
    faults: Faults | None = None,
    lookups_per_second: float | None = None,
) -> Flask:
    """The carrier as a WSGI app. Its threads run until `app.extensions["delivery"].close()`.

    `speed` divides the delays of the scenarios. `app.extensions["delivery"].ledger` holds the true
    state.
    `webhook_key` is the id and secret of a shared key. `phone_numbers` only limit the list of them.
    More look-ups of messages than `lookups_per_second` in any second are refused with 429.
    """
    app = Flask(__name__)
    app.register_blueprint(api)
    api_errors.register(app)
    app.config.update(
        MAX_CONTENT_LENGTH=1_000_000,
        ACCOUNT_SID=account_sid,
        AUTH_TOKENS=tuple(filter(None, (auth_token, auth_token_secondary))),
        PHONE_NUMBERS=phone_numbers,
    )
    key_id, key_secret = webhook_key or (UNKNOWN_KEY_ID, None)
    signings = {
        SigningKey.PRIMARY: Signing(auth_token),
        SigningKey.SECONDARY: _sign_with(auth_token_secondary),
        SigningKey.FORMER: _sign_with(auth_token_former),
        SigningKey.WRONG: _sign_with(None),
        SigningKey.SHARED: _sign_with(key_secret, key_id),
        SigningKey.UNKNOWN_SHARED: _sign_with(None, UNKNOWN_KEY_ID),
    }
    app.extensions.update(
        lookup_limit=LookupLimit(lookups_per_second),
        delivery=Delivery(account_sid, signings, faults or Faults(), speed),
    )
    return app


def _sign_with(secret: str | None, key_id: str | None = None) -> Signing:
    """Sign with a secret; a random one that nobody knows if it is not set."""
    return Signing(secret or secrets.token_hex(16), key_id)
