"""The built-in carrier: speaks the part of Twilio's REST API that smstracker uses.

It stands in for Twilio in demo mode and in tests, and posts signed status callbacks over real
HTTP. It shares no logic with the app that it puts to the test; only the count of segments is
taken from there.
"""

import secrets
from collections.abc import Mapping

from flask import Flask

from smstracker.simulator import api_errors
from smstracker.simulator.callback_client import CallbackClient, Signing
from smstracker.simulator.fault_injection import FaultInjector, Faults
from smstracker.simulator.http_server import SimulatorServer
from smstracker.simulator.ledger import Ledger
from smstracker.simulator.scenarios import STORIES, SigningKey

from .access import LookupLimit
from .api import api
from .delivery import Delivery
from .senders import senders

__all__ = ["STORIES", "Faults", "SimulatorServer", "create_simulator"]

MAX_REQUEST_BYTES = 1_000_000
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
    reject_unreachable_callbacks: bool = False,
    mishaps: Faults | None = None,
    lookups_per_second: float | None = None,
) -> Flask:
    """The carrier as a WSGI app. Its threads run until `app.extensions["delivery"].close()`.

    `speed` divides the delays of the stories. `app.extensions["books"]` tells what is true.
    Without a secondary or former token or a shared key (`webhook_key`: id and secret), what it
    should sign is signed with one that nobody knows.
    `phone_numbers` are those that the account owns; it can send from any other all the same.
    More look-ups of messages than `lookups_per_second` in any second are refused.
    """
    app = Flask(__name__)
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_REQUEST_BYTES,
        ACCOUNT_SID=account_sid,
        AUTH_TOKENS=tuple(filter(None, (auth_token, auth_token_secondary))),
        PHONE_NUMBERS=phone_numbers,
        REJECT_UNREACHABLE_CALLBACKS=reject_unreachable_callbacks,
    )
    key_id, key_secret = webhook_key or (UNKNOWN_KEY_ID, secrets.token_hex(16))
    signings = {
        SigningKey.PRIMARY: Signing(auth_token),
        SigningKey.SECONDARY: Signing(auth_token_secondary or secrets.token_hex(16)),
        SigningKey.FORMER: Signing(auth_token_former or secrets.token_hex(16)),
        SigningKey.WRONG: Signing(secrets.token_hex(16)),
        SigningKey.SHARED: Signing(key_secret, key_id),
        SigningKey.UNKNOWN_SHARED: Signing(secrets.token_hex(16), UNKNOWN_KEY_ID),
    }
    app.extensions["lookup_limit"] = LookupLimit(lookups_per_second)
    _start_carrier(app, signings, mishaps or Faults(), speed)
    app.register_blueprint(api)
    app.register_blueprint(senders)
    api_errors.register(app)
    return app


def _start_carrier(
    app: Flask, signings: Mapping[SigningKey, Signing], mishaps: Faults, speed: float
) -> None:
    books, chance = Ledger(), FaultInjector(mishaps)
    courier = CallbackClient(books, signings, speed)
    delivery = Delivery(app.config["ACCOUNT_SID"], books, courier, chance, speed)
    app.extensions.update(books=books, chance=chance, delivery=delivery)
