"""A mark for each Auth Token that is set: it tells one from another, and says nothing of either."""

import hashlib
from functools import cache

from config import Config
from smstracker.carrier.signatures import PRIMARY, SECONDARY


def token_marks(config: Config) -> dict[str, str]:
    """The marks of the primary and, if one is set, of the secondary token."""
    return dict(zip((PRIMARY, SECONDARY), map(_mark, config.auth_tokens), strict=False))


@cache
def _mark(token: str) -> str:
    """32 bits of a hash: far too few to find a token of 128 bits."""
    return hashlib.sha256(b"callback token " + token.encode()).hexdigest()[:8]
