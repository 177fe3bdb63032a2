"""Status callbacks: verified first, then stored, then answered. A 2xx means durably stored."""

import logging
import uuid
from urllib.parse import urlsplit

from flask import Blueprint, abort, g, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from smstracker.carrier import current_carrier
from smstracker.extensions import settings
from smstracker.logs import name_request
from smstracker.webhooks.forms import read_callback
from smstracker.webhooks.writer import current_writer

log = logging.getLogger(__name__)
bp = Blueprint("webhooks", __name__, url_prefix="/webhooks/twilio")

RETRY_AFTER = 5  # seconds


@bp.before_request
def only_from_twilio() -> None:
    """Refuse whatever is not a form or not signed with one of our tokens."""
    if request.mimetype != "application/x-www-form-urlencoded":
        abort(415)
    signature = request.headers.get("X-Twilio-Signature", "")
    g.signer = current_carrier().signatures.signer(_url_as_requested(), request.form, signature)
    if g.signer is None:
        abort(403)


@bp.post("/status", provide_automatic_options=False)
def status() -> ResponseReturnValue:
    """The callback URL of a Messaging Service: the message is found by its SID alone."""
    return _store(None)


@bp.post("/status/<public_id>", provide_automatic_options=False)
def status_of_message(public_id: str) -> ResponseReturnValue:
    """The callback URL of one message. An id that is not ours is no reason to lose what came."""
    return _store(_uuid(public_id))


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _store(public_id: uuid.UUID | None) -> ResponseReturnValue:
    token = request.headers.get("I-Twilio-Idempotency-Token")
    news = read_callback(request.form, g.signer, token)
    if news is None:
        abort(400)
    current_writer().store(public_id, news)
    name_request("callback_stored", message_sid=news.twilio_sid)
    return "", 204


@bp.errorhandler(HTTPException)
def refused(error: HTTPException) -> ResponseReturnValue:
    code = error.code or 400
    name_request("callback_refused", reason=error.name)
    return f"{error.name}\n", code, {"Content-Type": "text/plain; charset=utf-8"}


@bp.errorhandler(Exception)
def not_stored(error: Exception) -> ResponseReturnValue:
    """Anything but 503 would lose the callback: Twilio repeats it, as the callback URL asks."""
    log.error("callback_not_stored", exc_info=error)
    headers = {"Retry-After": str(RETRY_AFTER), "Content-Type": "text/plain; charset=utf-8"}
    return "Not stored\n", 503, headers


def _url_as_requested() -> str:
    """The URL that Twilio signed: the configured base, then path and query as they were sent.

    `request.url` is decoded and rests on the Host header; both break signatures.
    """
    raw = urlsplit(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI", ""))
    query = f"?{raw.query}" if raw.query else ""
    return settings().public_base_url + raw.path + query
