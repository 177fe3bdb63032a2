"""What `flask doctor` calls from outside: an answer that only this installation can give.

It stands behind the same guard as a status callback, so whatever spoils a signature on its way
through the public address spoils this one too.
"""

import hmac
from hashlib import sha256

from flask import g
from flask.typing import ResponseReturnValue

from smstracker.extensions import settings
from smstracker.webhooks.views import bp, refuse_misfit

__all__ = ["bp", "proof"]


def proof(nonce: str) -> str:
    """What nobody without our SECRET_KEY can say of `nonce`."""
    key = settings().secret_key.encode()
    return hmac.new(key, f"probe:{nonce}".encode(errors="replace"), sha256).hexdigest()


@bp.post("/probe", strict_slashes=False, provide_automatic_options=False)
def probe() -> ResponseReturnValue:
    """A status callback that was sent here by mistake must not be told that it is stored."""
    nonce = g.callback_form.get("Nonce")
    if not nonce:
        refuse_misfit(404)
    return {"proof": proof(nonce)}
