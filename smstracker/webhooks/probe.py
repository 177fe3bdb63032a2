"""Answer the test request of `flask doctor` with a proof that only this installation can give.

The same guard verifies it as a status callback, so a proxy that breaks signatures breaks this one
too.
"""

import hmac
from hashlib import sha256

from flask import g
from flask.typing import ResponseReturnValue

from smstracker.extensions import settings
from smstracker.webhooks.views import bp, keeps_no_refusal, refuse_misfit

__all__ = ["bp", "compute_proof"]


def compute_proof(nonce: str) -> str:
    """HMAC of `nonce` with the SECRET_KEY."""
    key = settings().secret_key.encode()
    return hmac.new(key, f"probe:{nonce}".encode(errors="replace"), sha256).hexdigest()


@bp.post("/probe", strict_slashes=False, provide_automatic_options=False)
@keeps_no_refusal
def probe() -> ResponseReturnValue:
    """Refuse a status callback that comes here by mistake: it would not be stored."""
    nonce = g.verified_callback.form.get("Nonce")
    if not nonce:
        refuse_misfit(404)
    return {"proof": compute_proof(nonce)}
