"""Sending a failed message again: asks once, makes one new message, never two."""

import uuid
from dataclasses import replace

from flask import Blueprint, abort, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.auth.gate import only_signed_in
from smstracker.carrier import NoSlotError
from smstracker.clock import utcnow
from smstracker.dashboard.explaining import refusal_to_send_again
from smstracker.dashboard.forms import sender_choices
from smstracker.dashboard.sending import save_and_hand_over
from smstracker.dashboard.wording import busy_notice, limit_notice
from smstracker.extensions import db
from smstracker.models import Message, SendLimitError
from smstracker.models.notes import Notes, notes_on
from smstracker.segments import count_segments
from smstracker.sms.picture_pages import hint_on_page

bp = Blueprint("again", __name__)
bp.before_request(only_signed_in)


@bp.get("/messages/<uuid:public_id>/again")
def ask(public_id: uuid.UUID) -> ResponseReturnValue:
    original = _own(public_id)
    made = original.second_try()
    if made is not None:
        return _show(made, 302)
    refusal = _refusal(original)
    return _page(original, 409 if refusal else 200, refusal)


@bp.post("/messages/<uuid:public_id>/again")
def send(public_id: uuid.UUID) -> ResponseReturnValue:
    # Locked, so that neither a second click nor a receipt can come between looking and saving.
    original = _own(public_id, lock=True)
    made = original.second_try()
    if made is not None:
        db.session.rollback()
        return _show(made)
    refusal = _refusal(original)
    if refusal:
        return _page(original, 409, refusal)
    try:
        message = Message.draft_again(original)
    except SendLimitError as error:
        db.session.rollback()
        return _page(_own(public_id), 429, limit_notice(error), may_try=True)
    try:
        save_and_hand_over(message)
    except NoSlotError as error:
        page, code = _page(_own(public_id), 503, busy_notice(error), may_try=True)
        return page, code, {"Retry-After": "10"}
    return _show(message)


def _own(public_id: uuid.UUID, lock: bool = False) -> Message:
    wanted = Message.of_owner(current_user.id).where(Message.public_id == public_id)
    found = db.session.scalar(wanted.with_for_update() if lock else wanted)
    if found is None:
        abort(404)
    return found


def _refusal(original: Message) -> str | None:
    refusal = refusal_to_send_again(original, utcnow())
    if refusal is None and not _is_offered(original):
        return "The sender of this message is no longer offered here. Choose another one."
    return refusal


def _news_on(original: Message) -> Notes:
    """What was learned since: an opt-out, the same text sent once more in another way."""
    notes = notes_on(original.owner_id, original.content, utcnow())
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
            page_hints=[
                f"Picture {number} {hint}"
                for number, address in enumerate(original.media_urls or [], start=1)
                if (hint := hint_on_page(address))
            ],
            now=utcnow(),
        ),
        status,
    )
