"""The key that signs sessions: how it is chosen, and why one could be guessed."""

import re
from itertools import pairwise

from smstracker.settings.files import read_or_generate
from smstracker.settings.reader import Reader

OTHER_SECRETS = (
    "TWILIO_AUTH_TOKEN",
    "TWILIO_AUTH_TOKEN_SECONDARY",
    "TWILIO_AUTH_TOKEN_FORMER",
    "MAIL_PASSWORD",
)
MIN_SECRET_KEY_LENGTH = 32
MIN_DISTINCT_CHARACTERS = 8  # different ones, in a secret key
_PLACEHOLDER_KEY = re.compile(
    r"change.?(me|this)|replace|your.?secret|secret.?key|example|openssl|…"
)


def read_secret_key(reader: Reader, name: str) -> str:
    raw = reader.text(name)
    if raw and not reader.demo:
        weakness = _describe_weakness(raw, [reader.text(other) for other in OTHER_SECRETS])
        if weakness:
            reader.problem(name, f"{weakness}; make one with: openssl rand -hex 32")
    if raw:
        return raw
    if reader.demo:
        return "" if reader.problems else read_or_generate(reader.instance, "secret-key")
    reader.problem(name, "required; make one with: openssl rand -hex 32")
    return ""


def _describe_weakness(key: str, other_secrets: list[str | None]) -> str | None:
    """Return why the key that signs sessions could be guessed; None if it could not."""
    if len(key) < MIN_SECRET_KEY_LENGTH:
        return f"must have at least {MIN_SECRET_KEY_LENGTH} characters"
    if key in other_secrets:
        return "must not be the same as another secret"
    steps = [ord(after) - ord(before) for before, after in pairwise(key)]
    is_regular = key in (key + key)[1:-1] or max(map(steps.count, (0, 1, -1))) > len(steps) // 2
    if (
        len(set(key)) < MIN_DISTINCT_CHARACTERS
        or is_regular
        or _PLACEHOLDER_KEY.search(key.lower())
    ):
        return "is easily guessed"
    return None
