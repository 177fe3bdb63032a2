"""Send a failed message again: after one question, as one new message."""

import uuid
from dataclasses import replace
from functools import partial

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from smstracker.carrier import TooManyRequestsError
from smstracker.clock import utcnow
from smstracker.dashboard.pages import get_own_message
from smstracker.messages.describe import busy_notice, send_limit_notice
from smstracker.messages.failure_advice import resend_refusal
from smstracker.messages.send_warnings import SendWarnings, find_warnings
from smstracker.messages.senders import offered_senders
from smstracker.messages.sending import create_and_submit
from smstracker.models import AlreadySentError, Message, SendLimitError, message_drafts
from smstracker.sms.picture_pages import describe_page
from smstracker.sms.segments import count_segments
from smstracker.web.guards import require_sign_in

bp = Blueprint("resend", __name__)
bp.before_request(require_sign_in)

_SENDER_IS_GONE = "The sender of this message is no longer available. Choose another one."

_RESEND_IS_DELETED = "It was sent again before. That second message is deleted."


@bp.get("/messages/<uuid:public_id>/again")
def confirm(public_id: uuid.UUID) -> ResponseReturnValue:
    original = get_own_message(public_id)
    resend = original.resend()
    if resend is not None:
        return _show_message(resend, 302)
    refusal = _refusal(original)
    return _render(original, 409 if refusal else 200, refusal)


@bp.post("/messages/<uuid:public_id>/again")
def send(public_id: uuid.UUID) -> ResponseReturnValue:
    original = get_own_message(public_id)
    if (resend := original.resend()) is not None:
        return _show_message(resend)
    if refusal := _refusal(original):
        return _render(original, 409, refusal)
    try:
        message = create_and_submit(partial(_create, public_id))
    except AlreadySentError as error:
        if error.message is None:
            return _render(get_own_message(public_id), 409, _RESEND_IS_DELETED)
        return _show_message(error.message)
    except _RefusedError as error:
        return _render(get_own_message(public_id), 409, str(error))
    except SendLimitError as error:
        return _render(get_own_message(public_id), 429, send_limit_notice(error), may_send=True)
    except TooManyRequestsError as error:
        page, code = _render(get_own_message(public_id), 503, busy_notice(error), may_send=True)
        return page, code, {"Retry-After": "10"}
    return _show_message(message)


class _RefusedError(Exception):
    """The message may not be sent again; the text says why."""


def _create(public_id: uuid.UUID) -> Message:
    """Save the resend, with the original locked: a second click or a receipt may come meanwhile.

    Raises AlreadySentError, _RefusedError or SendLimitError.
    """
    original = get_own_message(public_id, lock=True)
    refusal = _refusal(original)
    if refusal and original.resend() is None:
        raise _RefusedError(refusal)
    return message_drafts.create_resend(original)


def _refusal(original: Message) -> str | None:
    refusal = resend_refusal(original, utcnow())
    is_sender_offered = original.content.sender in offered_senders()
    return refusal if refusal or is_sender_offered else _SENDER_IS_GONE


def _new_warnings(original: Message) -> SendWarnings:
    """The warnings beside the original itself: an opt-out, the same text in a later message."""
    warnings = find_warnings(original.owner_id, original.content, utcnow())
    return replace(warnings, same_text=None) if warnings.same_text is original else warnings


def _show_message(message: Message, status: int = 303) -> ResponseReturnValue:
    return redirect(url_for("dashboard.message", public_id=message.public_id), status)


def _render(
    original: Message, status: int, notice: str | None = None, *, may_send: bool = False
) -> tuple[str, int]:
    page_hints = [
        f"Picture {number} {hint}"
        for number, address in enumerate(original.media_urls, start=1)
        if (hint := describe_page(address))
    ]
    html = render_template(
        "dashboard/resend.html",
        message=original,
        notice=notice,
        may_send=notice is None or may_send,
        lacks_sender=_refusal(original) == _SENDER_IS_GONE,
        count=count_segments(original.body, original.sender),
        warnings=_new_warnings(original),
        page_hints=page_hints,
        now=utcnow(),
    )
    return html, status
