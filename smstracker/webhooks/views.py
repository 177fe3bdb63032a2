"""Status callbacks: verified first, then stored, then answered. A 2xx means durably stored."""

import logging
import uuid

from flask import Blueprint, abort, g, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ClientDisconnected, HTTPException

from smstracker.carrier import current_carrier
from smstracker.carrier.token_marks import token_marks
from smstracker.database_problems import cause
from smstracker.extensions import settings
from smstracker.logs import name_request
from smstracker.webhooks.evidence import Refusal, raw_target
from smstracker.webhooks.forms import read_callback
from smstracker.webhooks.quarantine import current_quarantine
from smstracker.webhooks.writer import current_writer

log = logging.getLogger(__name__)
bp = Blueprint("webhooks", __name__, url_prefix="/webhooks/twilio")

RETRY_AFTER = 5  # seconds
REFUSALS = {
    400: Refusal.UNREADABLE,
    403: Refusal.SIGNATURE,
    404: Refusal.ADDRESS,
    413: Refusal.TOO_LARGE,
    415: Refusal.NOT_A_FORM,
}


@bp.before_request
def only_from_twilio() -> None:
    """Refuse whatever is not a form or not signed with one of our tokens."""
    current_quarantine().tell_of_flood()
    request.get_data()  # first, or reading the form would leave nothing to keep
    if request.mimetype != "application/x-www-form-urlencoded":
        abort(415)
    if request.endpoint == "webhooks.elsewhere":
        abort(404)
    signature = request.headers.get("X-Twilio-Signature", "")
    url = settings().public_base_url + raw_target()
    g.signer = current_carrier().signatures.signer(url, request.form, signature)
    if g.signer is None:
        abort(403)


# With or without a slash at the end: the signature covers the path as it was sent, so there must be
# no redirect.
@bp.post("/status", strict_slashes=False, provide_automatic_options=False)
def status() -> ResponseReturnValue:
    """The callback URL of a Messaging Service: the message is found by its SID alone."""
    return _store(None)


@bp.post("/status/<public_id>", strict_slashes=False, provide_automatic_options=False)
def status_of_message(public_id: str) -> ResponseReturnValue:
    """The callback URL of one message. An id that is not ours is no reason to lose what came."""
    return _store(uuid_or_none(public_id))


@bp.post("/", defaults={"rest": ""}, strict_slashes=False, provide_automatic_options=False)
@bp.post("/<path:rest>", provide_automatic_options=False)
def elsewhere(rest: str) -> ResponseReturnValue:
    """An address that is none of ours, so that what Twilio sends there is kept as refused too."""
    abort(404)


def uuid_or_none(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _store(public_id: uuid.UUID | None) -> ResponseReturnValue:
    token = request.headers.get("I-Twilio-Idempotency-Token")
    mark = token_marks(settings()).get(g.signer.token)
    news = read_callback(request.form, g.signer, token, token_mark=mark)
    if news is None:
        abort(400)
    current_writer().store(public_id, news)
    name_request("callback_stored", message_sid=news.twilio_sid)
    return "", 204


@bp.errorhandler(HTTPException)
def refused(error: HTTPException) -> ResponseReturnValue:
    code = error.code or 400
    plain = {"Content-Type": "text/plain; charset=utf-8"}
    current_quarantine().name_request(error.name)
    reason = None if isinstance(error, ClientDisconnected) else REFUSALS.get(code)
    if reason and not current_quarantine().keep(reason):
        return "Not stored\n", 503, {"Retry-After": str(RETRY_AFTER), **plain}
    return f"{error.name}\n", code, plain


@bp.errorhandler(Exception)
def not_stored(error: Exception) -> ResponseReturnValue:
    """Anything but 503 would lose the callback: Twilio repeats it, as the callback URL asks."""
    log.error("callback_not_stored", exc_info=error, extra={"reason": cause(error)})
    headers = {"Retry-After": str(RETRY_AFTER), "Content-Type": "text/plain; charset=utf-8"}
    return "Not stored\n", 503, headers
