"""Marks that distinguish the configured Auth Tokens without revealing them."""

import hashlib
from functools import cache
from typing import TYPE_CHECKING

from smstracker.carrier.signatures import PRIMARY, SECONDARY

if TYPE_CHECKING:
    from config import Config


def token_marks(config: "Config") -> dict[str, str]:
    """The marks of the primary and, if set, the secondary token."""
    return dict(zip((PRIMARY, SECONDARY), map(_mark, config.auth_tokens), strict=False))


@cache
def _mark(token: str) -> str:
    """32 bits of a hash, too few to find a token of 128 bits."""
    return hashlib.sha256(b"callback token " + token.encode()).hexdigest()[:8]
