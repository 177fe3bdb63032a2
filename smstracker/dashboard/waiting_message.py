"""Edit or cancel a message that waits here, until it is handed to Twilio."""

import uuid

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from smstracker.clock import utcnow
from smstracker.dashboard import pages
from smstracker.dashboard.forms import MessageForm
from smstracker.extensions import db, writing
from smstracker.models import outbox
from smstracker.sms.status import OUTBOX
from smstracker.web.form_drafts import redirect_accepted
from smstracker.web.guards import require_sign_in

bp = Blueprint("waiting", __name__)
bp.before_request(require_sign_in)

_TOO_LATE = "This message no longer waits here, so it cannot be {} any more."


@bp.get("/messages/<uuid:public_id>/edit")
def edit(public_id: uuid.UUID) -> ResponseReturnValue:
    message = pages.get_own_message(public_id)
    if message.status != OUTBOX:
        return pages.render_message(public_id, 409, _TOO_LATE.format("changed"))
    form = MessageForm()
    form.show_message(message)
    return pages.render_send_form(form, 200, edited=message)


@bp.post("/messages/<uuid:public_id>/edit")
def save(public_id: uuid.UUID) -> ResponseReturnValue:
    form, message = MessageForm(), pages.get_own_message(public_id)
    is_only_checked = "check" in request.form
    if not form.validate() or is_only_checked:
        code = 200 if is_only_checked else 422
        return pages.render_send_form(form, code, edited=message)
    with writing():
        message = pages.get_own_message(public_id, lock=True)
        is_waiting = message.status == OUTBOX
        if is_waiting:
            message.edit_queued(form.content, form.send_at)
    if not is_waiting:
        return pages.render_message(public_id, 409, _TOO_LATE.format("changed"))
    return _show(public_id)


@bp.get("/messages/<uuid:public_id>/cancel")
def confirm_cancel(public_id: uuid.UUID) -> ResponseReturnValue:
    message = pages.get_own_message(public_id)
    if message.status != OUTBOX:
        return pages.render_message(public_id, 409, _TOO_LATE.format("cancelled"))
    return render_template("dashboard/cancel.html", message=message, now=utcnow())


@bp.post("/messages/<uuid:public_id>/cancel")
def cancel(public_id: uuid.UUID) -> ResponseReturnValue:
    with writing():
        message = pages.get_own_message(public_id, lock=True)
        is_cancelled = outbox.cancel(db.session.connection(), message.id)
    if not is_cancelled:
        return pages.render_message(public_id, 409, _TOO_LATE.format("cancelled"))
    return _show(public_id)


def _show(public_id: uuid.UUID) -> ResponseReturnValue:
    return redirect_accepted(url_for("dashboard.message", public_id=public_id))
