"""Status callbacks signed as Twilio signs them."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flask.testing import FlaskClient
from twilio.request_validator import RequestValidator
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

if TYPE_CHECKING:
    from smstracker.models import Message

BASE_URL = "https://sms.example.org"
ACCOUNT_SID = "AC11111111111111111111111111111111"
PRIMARY = "0123456789abcdef0123456789abcdef"
SECONDARY = "fedcba9876543210fedcba9876543210"
WEBHOOK_KEY = ("webhooks_sharedkey_1", "s3cret:with=colon")
KEY_HEADER = f"key={WEBHOOK_KEY[0]},algorithm=HMAC_SHA256"
STATUS_PATH = "/webhooks/twilio/status"


def callback_path(message: "Message") -> str:
    return f"{STATUS_PATH}/{message.public_id}"


def sid(number: int) -> str:
    return f"SM{number:032x}"


def fields(message_sid: str, word: str, code: str | None = None, **more: str) -> dict[str, str]:
    """What Twilio posts for a status."""
    form = {
        "SmsSid": message_sid,
        "SmsStatus": word,
        "MessageStatus": word,
        "To": "+15558675310",
        "MessageSid": message_sid,
        "AccountSid": ACCOUNT_SID,
        "From": "+15005550006",
        "ApiVersion": "2010-04-01",
    }
    return form | ({"ErrorCode": code} if code else {}) | more


def signature(path: str, form: Any, token: str = PRIMARY, base: str = BASE_URL) -> str:
    return str(RequestValidator(token).compute_signature(base + path, form))


def spec_signature(
    secret: str, url: str, form: Iterable[tuple[str, str]], algorithm: str = "sha1"
) -> str:
    """The documented algorithm: the address, then every name and value in the order of names."""
    text = url + "".join(name + value for name, value in sorted(form))
    digest = hmac.new(secret.encode(), text.encode(), getattr(hashlib, algorithm)).digest()
    return base64.b64encode(digest).decode()


def call_back(
    client: FlaskClient,
    form: Mapping[str, Any],
    path: str = STATUS_PATH,
    *,
    token: str = PRIMARY,
    signed_path: str | None = None,
    base: str = BASE_URL,
    **headers: str,
) -> TestResponse:
    """Post a callback signed with `token` over `signed_path`, by default the path that is used."""
    sent = MultiDict(form)
    signed = signature(signed_path if signed_path is not None else path, sent, token, base)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, data=sent, headers={"X-Twilio-Signature": signed, **named})


def forge(client: FlaskClient, number: int = 1, account: str = ACCOUNT_SID) -> TestResponse:
    """Post an unsigned callback."""
    return client.post(STATUS_PATH, data=fields(sid(number), "sent", AccountSid=account))
