"""Status callbacks: verify, store, answer. A 2xx means durably stored."""

import hmac
import logging
import uuid
from concurrent.futures import wait
from hashlib import sha256
from typing import NoReturn

from flask import Blueprint, abort, g, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ClientDisconnected, HTTPException

from smstracker.callback_requests.body import read_beginning, read_callback_body
from smstracker.callback_requests.payload import FORM_TYPE, find_account, parse_uuid, read_form
from smstracker.callback_requests.status_callback import (
    Refusal,
    VerifiedCallback,
    find_refusal,
    read_callback,
)
from smstracker.carrier import current_carrier
from smstracker.carrier.signatures import SIGNATURE, SIGNATURE_SETTINGS
from smstracker.database.problems import log_reason
from smstracker.extensions import settings
from smstracker.logs import suppress_log_line
from smstracker.models.callback_store import Callback
from smstracker.view_marks import ViewMark
from smstracker.web.request_framing import MAX_BODY_BYTES
from smstracker.web.security import guard_reads_body
from smstracker.web.urls import CALLBACK_PREFIX, raw_target
from smstracker.webhooks.quarantine import current_quarantine
from smstracker.webhooks.writer import PendingWrite, current_writer

log = logging.getLogger(__name__)
bp = Blueprint("webhooks", __name__, url_prefix=CALLBACK_PREFIX)

PLAIN_TEXT = {"Content-Type": "text/plain; charset=utf-8"}
NOT_STORED = ("Not stored\n", 503, {"Retry-After": "5", **PLAIN_TEXT})
# The same as bytes, for a response that has to be replaced after its view.
NOT_STORED_BYTES = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 11\r\n\r\nNot stored\n"
)
# A refusal there is not kept: `flask doctor` would report its own test request.
keeps_no_refusal = ViewMark("keeps_no_refusal", True)
# A path of no view of ours: the address may be all that is wrong with a request.
is_unknown_address = ViewMark("is_unknown_address", True)
REFUSAL_BY_CODE = {
    400: Refusal.UNREADABLE,
    403: Refusal.SIGNATURE,
    404: Refusal.ADDRESS,
    413: Refusal.TOO_LARGE,
    415: Refusal.NOT_A_FORM,
}


@bp.before_request
def verify_signature() -> None:
    """Refuse whatever is not a form or not signed with one of our secrets.

    What cannot verify by its headers costs neither a parser nor a hash.
    """
    current_quarantine().log_suppressed_refusals()
    if (request.content_length or 0) > MAX_BODY_BYTES:
        abort(413)
    signature = request.headers.get(SIGNATURE, "")
    settings_header = request.headers.get(SIGNATURE_SETTINGS)
    signatures = current_carrier().signatures
    target = raw_target()
    url = settings().public_base_url + target
    is_form = request.mimetype == FORM_TYPE
    may_verify = signatures.may_verify(signature, settings_header)
    if not (is_form and may_verify):
        g.callback_body = read_beginning()
        account = find_account(g.callback_body.content)
        if may_verify and signatures.signs_address(url, account, signature, settings_header):
            g.refusal = Refusal.JSON
        abort(_refusal_code(403 if is_form else 415))
    g.callback_body = read_callback_body()
    form = read_form(g.callback_body.content)
    signer = signatures.identify_signer(url, form, signature, settings_header)
    if signer is None:
        abort(_refusal_code(403))
    g.verified_callback = VerifiedCallback(form, signer, target)


def _refusal_code(code: int) -> int:
    """404 instead of 403 for an unknown address."""
    return 404 if code == 403 and is_unknown_address.value_of_current() else code


def refuse_verified(code: int) -> NoReturn:
    """Refuse a verified request by its kind: texts of incoming messages are not kept."""
    callback: VerifiedCallback = g.verified_callback
    if refusal := find_refusal(callback.form, callback.target):
        g.refusal = refusal
    abort(code)


# With or without a final slash: the signature covers the path as sent, so redirects would break it.
@bp.post("/status", strict_slashes=False, provide_automatic_options=False)
@guard_reads_body
def status() -> ResponseReturnValue:
    """Callback URL of a Messaging Service: its SID alone identifies the message."""
    return _store(None)


@bp.post("/status/<public_id>", strict_slashes=False, provide_automatic_options=False)
@guard_reads_body
def status_of_message(public_id: str) -> ResponseReturnValue:
    """Callback URL of one message; with an unknown id, the SID identifies the message."""
    return _store(parse_uuid(public_id))


@bp.post("/", defaults={"path": ""}, strict_slashes=False, provide_automatic_options=False)
@bp.post("/<path:path>", provide_automatic_options=False)
@guard_reads_body
@is_unknown_address
def unknown_path(path: str) -> ResponseReturnValue:
    """Refuse an unknown address, so that what Twilio sends there is kept too."""
    refuse_verified(404)


@bp.post("/probe", strict_slashes=False, provide_automatic_options=False)
@guard_reads_body
@keeps_no_refusal
def probe() -> ResponseReturnValue:
    """Answer the test request of `flask doctor`; the guard verifies it as a status callback.

    Refuse a status callback that comes here by mistake: it would not be stored.
    """
    nonce = g.verified_callback.form.get("Nonce")
    if not nonce:
        refuse_verified(404)
    proxies = [name for name in request.headers.get("X-Forwarded-For", "").split(",") if name]
    return {"proof": compute_proof(nonce), "proxies": len(proxies)}


def compute_proof(nonce: str) -> str:
    """HMAC of `nonce` with the SECRET_KEY, which only this installation can give."""
    key = settings().secret_key.encode()
    return hmac.new(key, f"probe:{nonce}".encode(errors="replace"), sha256).hexdigest()


def _store(public_id: uuid.UUID | None) -> ResponseReturnValue:
    callback: VerifiedCallback = g.verified_callback
    idempotency_token = request.headers.get("I-Twilio-Idempotency-Token")
    token_mark = current_carrier().signatures.token_marks.get(callback.signer.token)
    update = read_callback(callback, idempotency_token, token_mark)
    if update is None:
        refuse_verified(400)
    suppress_log_line()  # the writer logs each commit
    return _answer_after(current_writer().write(Callback(public_id, update)), ("", 204))


def _answer_after(write: PendingWrite, response: ResponseReturnValue) -> ResponseReturnValue:
    """Answer once `write` is done: 503 if it failed and Twilio has to repeat the request.

    The view waits for nothing where the server, as our gunicorn worker, can keep the response.
    """
    answer_after = getattr(request.environ.get("gunicorn.socket"), "answer_after", None)
    start = current_writer().start
    if answer_after:
        answer_after(write, start, lambda: NOT_STORED_BYTES if write.needs_repeat else None)
        return response
    start()
    wait([write])
    return NOT_STORED if write.needs_repeat else response


@bp.errorhandler(HTTPException)
def answer_refusal(error: HTTPException) -> ResponseReturnValue:
    code = error.code or 400
    current_quarantine().log_refusal(error.name)
    is_kept = not (keeps_no_refusal.value_of_current() or isinstance(error, ClientDisconnected))
    reason = g.get("refusal", REFUSAL_BY_CODE.get(code)) if is_kept else None
    write = current_quarantine().keep(reason) if reason else None
    response = f"{error.name}\n", code, PLAIN_TEXT
    return _answer_after(write, response) if write else response


@bp.errorhandler(Exception)
def answer_not_stored(error: Exception) -> ResponseReturnValue:
    """Answer 503, upon which Twilio repeats the callback; any other answer would lose it."""
    # Unsigned requests that make us fail must not fill the log.
    if "verified_callback" in g or current_quarantine().may_log():
        log.error("callback_not_stored", exc_info=error, extra={"reason": log_reason(error)})
    return NOT_STORED
