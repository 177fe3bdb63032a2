"""The message log, the send form and the page of one message: one's own, always."""

import uuid
from functools import partial
from urllib.parse import urlencode

from flask import Blueprint, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf.csrf import CSRFError

from smstracker.carrier import TooManyRequestsError
from smstracker.clock import utcnow
from smstracker.dashboard import pages
from smstracker.dashboard.forms import MessageForm
from smstracker.database.engine import UNAVAILABLE
from smstracker.extensions import db, writing
from smstracker.messages import describe, log_export
from smstracker.messages.filter_links import FilterError
from smstracker.messages.filter_reading import (
    form_to_arguments,
    read_filters,
    read_filters_strictly,
)
from smstracker.messages.pagination import message_to_json, read_page
from smstracker.messages.sending import create_and_submit
from smstracker.models import AlreadySentError, Message, SendLimitError, event_feed, message_drafts
from smstracker.models.audit_log import AuditAction, count_audit
from smstracker.sms.gsm_replacements import replace_characters
from smstracker.web import guards
from smstracker.web.error_pages import database_error, error_page
from smstracker.web.form_drafts import redirect_accepted

bp = Blueprint("dashboard", __name__)
bp.before_request(guards.require_sign_in)


@bp.errorhandler(CSRFError)
def stale_form(_error: CSRFError) -> ResponseReturnValue:
    """Show the form of an ended session again: nothing is sent, nothing typed is lost."""
    try:
        is_signed_in = current_user.is_authenticated
    except UNAVAILABLE as error:  # Flask looks for no handler of what another handler raises
        return database_error(error)
    if not is_signed_in:
        answer = guards.signed_out_answer()
        return answer() if answer else error_page(400)
    answer = guards.stale_form_answer() or _stale_message
    return answer()


def _stale_search() -> ResponseReturnValue:
    problem = "This page was out of date. Press Search again."
    return pages.render_log_problem(request.form, problem), 400


def _stale_message() -> ResponseReturnValue:
    notice = "This page was out of date, so nothing was sent. Check your message and send it again."
    return pages.render_send_form(MessageForm(), 400, notice)


def _signed_out_json() -> ResponseReturnValue:
    return {"error": "Sign in first."}, 401


def _signed_out_page() -> ResponseReturnValue:
    """The message as it was typed, to be sent after a new sign-in."""
    return render_template("dashboard/signed_out.html", fields=request.form), 401


@bp.get("/")
@guards.open_to_all
def home() -> ResponseReturnValue:
    return redirect(url_for(".messages"))


@bp.get("/messages")
def messages() -> ResponseReturnValue:
    try:
        log_filters = read_filters(current_user.id, request.args, utcnow())
    except FilterError as error:
        return pages.render_log_problem(request.args, str(error), error.field), 422
    # Before the rows are read: what changes meanwhile is streamed again.
    position = event_feed.settled_position(db.session.connection())
    before, after = request.args.get("before"), request.args.get("after")
    page = read_page(log_filters.search_filters, before, after)
    return pages.render_log(log_filters, page, position)


@bp.post("/messages/filter")
@guards.answers_stale_form(_stale_search)
def filter_messages() -> ResponseReturnValue:
    """Redirect to the URL of the filtered log, in which a handle stands for a number."""
    try:
        arguments = form_to_arguments(current_user.id, request.form, utcnow())
    except FilterError as error:
        return pages.render_log_problem(request.form, str(error), error.field), 422
    query = f"?{urlencode(arguments)}" if arguments else ""
    return redirect(url_for(".messages") + query, 303)


@bp.get("/messages.json")
@guards.for_programs
@guards.answers_signed_out(_signed_out_json)
def messages_json() -> ResponseReturnValue:
    now = utcnow()
    try:
        log_filters = read_filters_strictly(current_user.id, request.args, now, "before")
    except FilterError as error:
        return {"error": str(error)}, 422
    page = read_page(log_filters.search_filters, request.args.get("before"))
    messages = [message_to_json(message, now) for message in page.messages]
    return jsonify(messages=messages, next=page.older_cursor)


@bp.get("/messages/export.<any(csv, json):kind>")
@guards.for_programs
@guards.answers_signed_out(_signed_out_json)
def export(kind: str) -> ResponseReturnValue:
    """The whole filtered log as a file, made while it is sent."""
    now = utcnow()
    try:
        log_filters = read_filters_strictly(current_user.id, request.args, now)
        with writing():
            count_audit(AuditAction.EXPORTED_LOG, actor=current_user.email)
        return log_export.export_response(log_filters.search_filters, kind, now)
    except FilterError as error:
        return {"error": str(error)}, 422
    except log_export.TooManyExportsError as error:
        return {"error": str(error)}, 503, {"Retry-After": "60"}


@bp.get("/messages/new")
def new_message() -> ResponseReturnValue:
    form = MessageForm()
    if public_id := request.args.get("text_of", type=uuid.UUID):
        form.take_along(pages.get_own_message(public_id).content)
    if public_id := request.args.get("saved", type=uuid.UUID):
        form.body.data = pages.get_saved_text(public_id).text
    return pages.render_send_form(form, 200)


@bp.post("/messages")
@guards.shows_typed_fields
@guards.answers_signed_out(_signed_out_page)
def send() -> ResponseReturnValue:
    """Save, submit with no transaction open unless it is for later, redirect to the message."""
    form = MessageForm()
    if "plain" in request.form:
        form.body.data = replace_characters(form.body.data or "", form.sender.data)
        return pages.render_send_form(form, 200)
    if "check" in request.form:
        form.validate()
        return pages.render_send_form(form, 200)
    if not form.validate():
        return pages.render_send_form(form, 422)
    try:
        message = _save_and_send(form)
    except AlreadySentError as error:
        return _already_sent(form, error)
    except SendLimitError as error:
        return pages.render_send_form(form, 429, describe.send_limit_notice(error))
    except TooManyRequestsError as error:
        page, code = pages.render_send_form(form, 503, describe.busy_notice(error))
        return page, code, {"Retry-After": "10"}
    return redirect_accepted(url_for(".message", public_id=message.public_id))


@bp.get("/messages/<uuid:public_id>")
def message(public_id: uuid.UUID) -> ResponseReturnValue:
    return pages.render_message(public_id)


def _save_and_send(form: MessageForm) -> Message:
    """Save the message and submit it, or leave it to the workers if it is to be sent later."""
    arguments = (current_user.id, form.instance, form.content)
    if form.send_at is None:
        return create_and_submit(partial(message_drafts.create_pending, *arguments))
    with writing():
        return message_drafts.create_queued(*arguments, send_at=form.send_at)


def _already_sent(form: MessageForm, error: AlreadySentError) -> ResponseReturnValue:
    if error.message is not None and error.is_same_content:
        return redirect_accepted(url_for(".message", public_id=error.message.public_id))
    form.renew()
    notice = (
        "This form has sent its message already, so nothing was sent now. "
        "To send this as another message, press Send."
    )
    return pages.render_send_form(form, 409, notice)
