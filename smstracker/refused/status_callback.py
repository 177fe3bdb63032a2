"""Read a verified callback into a status update. Its keys vary and grow without notice."""

import re
import uuid
from dataclasses import dataclass

from werkzeug.datastructures import MultiDict

from smstracker.carrier.signatures import Signer
from smstracker.models.events import StatusUpdate
from smstracker.refused.misfit import find_misfit
from smstracker.refused.payload import read_ids, truncate_for_column
from smstracker.sms.status import Source

_CODE = re.compile(r"[0-9]+")


def parse_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class VerifiedCallback:
    """A form whose signature verified, its signer, and path and query as they were sent."""

    form: MultiDict[str, str]
    signer: Signer
    target: str


def read_callback(
    callback: VerifiedCallback, idempotency_token: str | None, token_mark: str | None = None
) -> StatusUpdate | None:
    """The update in a callback; None if it is no status callback."""
    form = callback.form
    if find_misfit(form, callback.target):
        return None
    _, sid, status = read_ids(form)
    code = form.get("ErrorCode", "")
    return StatusUpdate(
        status=status,
        source=Source.CALLBACK,
        payload=_payload(form),
        twilio_sid=sid,
        error_code=truncate_for_column(code, 16) if _CODE.fullmatch(code) else None,
        carrier_done_at=truncate_for_column(form.get("RawDlrDoneDate"), 32),
        idempotency_token=truncate_for_column(idempotency_token, 128),
        account_sid=callback.signer.account_sid,
        signed_with=callback.signer.token,
        token_mark=token_mark,
    )


def _payload(form: MultiDict[str, str]) -> dict[str, object]:
    """Every field but a text; one that is repeated keeps all its values in a list."""
    return {
        name: values[0] if len(values) == 1 else values
        for name, values in form.lists()
        if name != "Body"
    }
