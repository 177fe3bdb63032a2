"""Sending a failed message again: asks once, makes one new message, never two."""

import uuid
from dataclasses import replace

from flask import Blueprint, abort, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.auth.sign_in_guard import require_sign_in
from smstracker.carrier import TooManyRequestsError
from smstracker.clock import utcnow
from smstracker.dashboard.forms import sender_choices
from smstracker.extensions import db
from smstracker.messages.describe import BUSY, limit_notice
from smstracker.messages.failure_advice import refusal_to_send_again
from smstracker.messages.send_warnings import SendWarnings, find_warnings
from smstracker.messages.sending import save_and_submit
from smstracker.models import Message, SendLimitError
from smstracker.sms.segments import count_segments

bp = Blueprint("again", __name__)
bp.before_request(require_sign_in)


@bp.get("/messages/<uuid:public_id>/again")
def ask(public_id: uuid.UUID) -> ResponseReturnValue:
    original = _own(public_id)
    made = original.resend()
    if made is not None:
        return _show(made, 302)
    refusal = _refusal(original)
    return _page(original, 409 if refusal else 200, refusal)


@bp.post("/messages/<uuid:public_id>/again")
def send(public_id: uuid.UUID) -> ResponseReturnValue:
    # Locked, so that neither a second click nor a receipt can come between looking and saving.
    original = _own(public_id, lock=True)
    made = original.resend()
    if made is not None:
        db.session.rollback()
        return _show(made)
    refusal = _refusal(original)
    if refusal:
        return _page(original, 409, refusal)
    try:
        message = Message.create_resend(original)
    except SendLimitError as error:
        db.session.rollback()
        return _page(_own(public_id), 429, limit_notice(error), may_try=True)
    try:
        save_and_submit(message)
    except TooManyRequestsError:
        page, code = _page(_own(public_id), 503, BUSY, may_try=True)
        return page, code, {"Retry-After": "10"}
    return _show(message)


def _own(public_id: uuid.UUID, lock: bool = False) -> Message:
    wanted = Message.select_owned(current_user.id).where(Message.public_id == public_id)
    found = db.session.scalar(wanted.with_for_update() if lock else wanted)
    if found is None:
        abort(404)
    return found


def _refusal(original: Message) -> str | None:
    refusal = refusal_to_send_again(original, utcnow())
    if refusal is None and not _is_offered(original):
        return "The sender of this message is no longer offered here. Choose another one."
    return refusal


def _news_on(original: Message) -> SendWarnings:
    """What was learned since: an opt-out, the same text sent once more in another way."""
    notes = find_warnings(original.owner_id, original.content, utcnow())
    same = notes.same_text
    is_news = same is not None and same.id != original.id
    return notes if is_news else replace(notes, same_text=None)


def _is_offered(original: Message) -> bool:
    return original.content.sender in dict(sender_choices())


def _show(message: Message, status: int = 303) -> ResponseReturnValue:
    return redirect(url_for("dashboard.message", public_id=message.public_id), status)


def _page(
    original: Message, status: int, notice: str | None = None, *, may_try: bool = False
) -> tuple[str, int]:
    return (
        render_template(
            "dashboard/again.html",
            message=original,
            notice=notice,
            may_send=notice is None or may_try,
            lacks_sender=not refusal_to_send_again(original, utcnow())
            and not _is_offered(original),
            count=count_segments(original.body),
            notes=_news_on(original),
            now=utcnow(),
        ),
        status,
    )
