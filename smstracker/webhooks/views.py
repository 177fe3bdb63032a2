"""Status callbacks: verified first, then stored, then answered. A 2xx means durably stored."""

import logging
import uuid
from typing import NoReturn

from flask import Blueprint, abort, g, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ClientDisconnected, HTTPException

from smstracker.carrier import current_carrier
from smstracker.carrier.signatures import SIGNATURE, SIGNATURE_SETTINGS
from smstracker.carrier.token_marks import token_marks
from smstracker.database.problems import log_reason
from smstracker.extensions import settings
from smstracker.logs import set_log_event
from smstracker.refused.payload import Refusal, find_misfit, read_callback, read_form
from smstracker.refused.request import raw_target
from smstracker.web.request_framing import LARGEST_BODY
from smstracker.webhooks.body import read_beginning, read_callback_body
from smstracker.webhooks.quarantine import current_quarantine
from smstracker.webhooks.writer import current_writer

log = logging.getLogger(__name__)
bp = Blueprint("webhooks", __name__, url_prefix="/webhooks/twilio")

RETRY_AFTER = 5  # seconds
# What `flask doctor` posts is no callback: were it kept, the doctor would report its own question.
PROBE = "webhooks.probe"
REFUSALS = {
    400: Refusal.UNREADABLE,
    403: Refusal.SIGNATURE,
    404: Refusal.ADDRESS,
    413: Refusal.TOO_LARGE,
    415: Refusal.NOT_A_FORM,
}


@bp.before_request
def only_from_twilio() -> None:
    """Refuse whatever is not a form or not signed with one of our secrets.

    The headers alone refuse what cannot verify, so that it costs neither a parser nor a hash.
    """
    current_quarantine().log_suppressed_refusals()
    if (request.content_length or 0) > LARGEST_BODY:
        abort(413)
    signature = request.headers.get(SIGNATURE, "")
    settings_header = request.headers.get(SIGNATURE_SETTINGS)
    signatures = current_carrier().signatures
    url = settings().public_base_url + raw_target()
    is_form = request.mimetype == "application/x-www-form-urlencoded"
    may_verify = signatures.may_verify(signature, settings_header)
    if not (is_form and may_verify):
        g.callback_body = read_beginning()
        if may_verify and signatures.signs_address(url, signature, settings_header):
            g.refusal = Refusal.JSON
        abort(_refusal_code(403 if is_form else 415))
    g.callback_body = read_callback_body()
    g.callback_form = read_form(g.callback_body.content)
    g.signer = signatures.identify_signer(url, g.callback_form, signature, settings_header)
    if g.signer is None:
        abort(_refusal_code(403))


def _refusal_code(code: int) -> int:
    """An address that is none of ours is said first: it may be all that is wrong."""
    return 404 if request.endpoint == "webhooks.unknown_path" and code == 403 else code


def refuse_misfit(code: int) -> NoReturn:
    """Refuse what is signed, as that what it is: a text that was sent to us is not kept."""
    misfit = find_misfit(g.callback_form, raw_target())
    if misfit:
        g.refusal = misfit
    abort(code)


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
def unknown_path(rest: str) -> ResponseReturnValue:
    """An address that is none of ours, so that what Twilio sends there is kept as refused too."""
    refuse_misfit(404)


def uuid_or_none(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _store(public_id: uuid.UUID | None) -> ResponseReturnValue:
    token = request.headers.get("I-Twilio-Idempotency-Token")
    mark = token_marks(settings()).get(g.signer.token)
    news = read_callback(g.callback_form, g.signer, token, raw_target(), token_mark=mark)
    if news is None:
        refuse_misfit(400)
    current_writer().store(public_id, news)
    set_log_event("callback_stored", message_sid=news.twilio_sid)
    return "", 204


@bp.errorhandler(HTTPException)
def refused(error: HTTPException) -> ResponseReturnValue:
    code = error.code or 400
    plain = {"Content-Type": "text/plain; charset=utf-8"}
    current_quarantine().name_request(error.name)
    is_kept = request.endpoint != PROBE and not isinstance(error, ClientDisconnected)
    reason = g.get("refusal", REFUSALS.get(code)) if is_kept else None
    if reason and not current_quarantine().keep(reason):
        return "Not stored\n", 503, {"Retry-After": str(RETRY_AFTER), **plain}
    return f"{error.name}\n", code, plain


@bp.errorhandler(Exception)
def not_stored(error: Exception) -> ResponseReturnValue:
    """Anything but 503 would lose the callback: Twilio repeats it, as the callback URL asks."""
    # Whoever can make us fail without a signature must not fill the log by it.
    if g.get("signer") or current_quarantine().may_log():
        log.error("callback_not_stored", exc_info=error, extra={"reason": log_reason(error)})
    headers = {"Retry-After": str(RETRY_AFTER), "Content-Type": "text/plain; charset=utf-8"}
    return "Not stored\n", 503, headers
