"""The least that a real installation has set, and environments of processes that tests start."""

import os

from config import Config, load
from tests.signing import ACCOUNT_SID, BASE_URL, PRIMARY, SECONDARY

LIVE = {
    "SECRET_KEY": "not-to-be-seen: 0123456789-qwertz",
    "PUBLIC_BASE_URL": "https://sms.example.org",
    "TWILIO_ACCOUNT_SID": "AC" + "1" * 32,
    "TWILIO_AUTH_TOKEN": "not-to-be-seen-either",
    "TWILIO_PHONE_NUMBER": "+15005550006",
}


def bare_environment(**changed: str) -> dict[str, str]:
    """What a process needs of its surroundings: nothing of ours is set, so it is a demo."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | changed


def live_environment(**changed: str) -> dict[str, str]:
    """The environment of an installation that the tests sign for, and that reaches no Twilio."""
    settings = LIVE | {
        "SECRET_KEY": "the tests sign with this: 7f3a9c1e",
        "PUBLIC_BASE_URL": BASE_URL,
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": PRIMARY,
        "TWILIO_API_BASE_URL": "http://127.0.0.1:9",
    }
    return bare_environment(**settings | changed)


def settings(**changed: str) -> Config:
    """Settings of a live installation at BASE_URL, with what a test changes."""
    env = live_environment(
        TWILIO_AUTH_TOKEN_SECONDARY=SECONDARY,
        SIGN_IN_ALLOW="@example.org",
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT="9",
        MAIL_DEFAULT_SENDER="smstracker@example.org",
        WEB_THREADS="16",
    )
    return load(env | changed)
