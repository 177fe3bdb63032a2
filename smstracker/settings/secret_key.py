"""The key that signs sessions: how it is chosen, and why one could be guessed."""

from itertools import pairwise

from smstracker.settings.placeholders import has_placeholder_words
from smstracker.settings.reader import Reader
from smstracker.settings.twilio import AUTH_TOKENS

OTHER_SECRETS = (*AUTH_TOKENS, "MAIL_PASSWORD")
MIN_SECRET_KEY_LENGTH = 32


def read_secret_key(reader: Reader, name: str) -> str:
    raw = reader.text(name)
    if reader.demo:
        return raw or reader.generated("secret-key")
    weakness = _describe_weakness(raw, [reader.text(other) for other in OTHER_SECRETS])
    if weakness:
        reader.problem(name, f"{weakness}; make one with: openssl rand -hex 32")
    return raw or ""


def _describe_weakness(key: str | None, other_secrets: list[str | None]) -> str | None:
    """Return why the key that signs sessions could be guessed; None if it could not."""
    if not key:
        return "required"
    if len(key) < MIN_SECRET_KEY_LENGTH:
        return f"must have at least {MIN_SECRET_KEY_LENGTH} characters"
    if key in other_secrets:
        return "must not be the same as another secret"
    steps = [ord(after) - ord(before) for before, after in pairwise(key)]
    is_regular = key in (key + key)[1:-1] or max(map(steps.count, (0, 1, -1))) > len(steps) // 2
    has_few_characters = len(set(key)) < 8
    is_guessable = has_few_characters or is_regular or has_placeholder_words(key)
    return "is easily guessed" if is_guessable else None
