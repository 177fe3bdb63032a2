"""The message log, the send form and the page of one message: one's own, always."""

import uuid
from typing import Any

from flask import Blueprint, abort, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf.csrf import CSRFError

from smstracker.clock import utcnow, waiting_time
from smstracker.dashboard import wording
from smstracker.dashboard.forms import MessageForm
from smstracker.dashboard.listing import as_json, chosen_state, listing
from smstracker.dashboard.sending import hand_over
from smstracker.database import UNAVAILABLE
from smstracker.errors import database_error
from smstracker.extensions import db, login_manager, settings
from smstracker.models import AlreadySentError, Message, SendLimitError, StatusEvent
from smstracker.segments import count_segments
from smstracker.simulator.stories import STORIES

bp = Blueprint("dashboard", __name__)


@bp.before_request
def only_signed_in() -> ResponseReturnValue | None:
    if current_user.is_authenticated or request.endpoint == "dashboard.home":
        return None
    if request.endpoint == "dashboard.messages_json":
        return {"error": "Sign in first."}, 401
    if request.endpoint == "dashboard.send":
        return render_template("dashboard/signed_out.html", typed=request.form), 401
    unauthorized: ResponseReturnValue = login_manager.unauthorized()
    return unauthorized


@bp.errorhandler(CSRFError)
def stale_form(_error: CSRFError) -> ResponseReturnValue:
    """The form came from a session that has ended: nothing is sent, nothing typed is lost."""
    try:
        is_signed_in = current_user.is_authenticated
    except UNAVAILABLE as error:  # Flask looks for no handler of what another handler raises
        return database_error(error)
    if not is_signed_in:
        return render_template("dashboard/signed_out.html", typed=request.form), 401
    notice = "This page was out of date, so nothing was sent. Check your message and send it again."
    return _form_page(MessageForm(), 400, notice)


@bp.get("/")
def home() -> ResponseReturnValue:
    return redirect(url_for(".messages"))


@bp.get("/messages")
def messages() -> ResponseReturnValue:
    state = chosen_state(request.args)
    page = listing(current_user.id, state, request.args.get("before"))
    counts = Message.counts(current_user.id)
    return render_template(
        "dashboard/messages.html", page=page, counts=counts, state=state, now=utcnow()
    )


@bp.get("/messages.json")
def messages_json() -> ResponseReturnValue:
    page = listing(current_user.id, chosen_state(request.args), request.args.get("before"))
    now = utcnow()
    return jsonify(messages=[as_json(m, now) for m in page.messages], next=page.next)


@bp.get("/messages/new")
def new_message() -> ResponseReturnValue:
    return _form_page(MessageForm(), 200)


@bp.post("/messages")
def send() -> ResponseReturnValue:
    """Save, commit, hand over with no transaction open, show."""
    form = MessageForm()
    if "check" in request.form:
        return _form_page(form, 200)
    if not form.validate():
        return _form_page(form, 422)
    try:
        message = Message.draft(current_user.id, form.instance, form.content)
    except AlreadySentError as error:
        return _already_sent(form, error)
    except SendLimitError as error:
        db.session.rollback()
        return _form_page(form, 429, _limit_notice(error))
    db.session.commit()
    hand_over(message)
    return redirect(url_for(".message", public_id=message.public_id), 303)


@bp.get("/messages/<uuid:public_id>")
def message(public_id: uuid.UUID) -> ResponseReturnValue:
    found = db.session.scalar(
        Message.of_owner(current_user.id).where(Message.public_id == public_id)
    )
    if found is None:
        abort(404)
    events = db.session.scalars(StatusEvent.of_message(found.id)).all()
    return render_template(
        "dashboard/message.html",
        message=found,
        events=events,
        steps=wording.timeline(found, events),
        count=count_segments(found.body),
        now=utcnow(),
    )


def _already_sent(form: MessageForm, error: AlreadySentError) -> ResponseReturnValue:
    db.session.rollback()
    if error.same:
        return redirect(url_for(".message", public_id=error.message.public_id), 303)
    form.renew()
    notice = "This form has already sent a message, so nothing was sent now. "
    return _form_page(form, 409, notice + "To send what stands here as another one, press Send.")


def _form_page(form: MessageForm, code: int, notice: str | None = None) -> tuple[str, int]:
    context: dict[str, Any] = {"form": form, "notice": notice}
    context["count"] = count_segments(form.body.data or "")
    context["stories"] = STORIES if settings().demo else ()
    return render_template("dashboard/new_message.html", **context), code


def _limit_notice(error: SendLimitError) -> str:
    return (
        f"You have sent {error.limit:,} messages in a {error.period}, which is the limit. "
        f"Nothing was sent; try again in {waiting_time(error.wait)}."
    )
