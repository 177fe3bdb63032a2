"""The message log, the send form and the page of one message: one's own, always."""

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flask import (
    Blueprint,
    abort,
    current_app,
    jsonify,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf.csrf import CSRFError

from smstracker.carrier import NoSlotError
from smstracker.clock import utcnow
from smstracker.dashboard import exporting, wording
from smstracker.dashboard.filters import (
    Chosen,
    FilterError,
    arguments_of_form,
    read_filters,
    read_strictly,
)
from smstracker.dashboard.forms import MAX_CHARACTERS, MessageForm, length_problem, sender_choices
from smstracker.dashboard.listing import Page, as_json, listing
from smstracker.dashboard.notes import notes_on_form, page_hints_on_form, recipient_of_form
from smstracker.dashboard.sending import save_and_hand_over
from smstracker.database import UNAVAILABLE
from smstracker.errors import database_error, error_page
from smstracker.extensions import db, login_manager, settings
from smstracker.models import AlreadySentError, Message, SendLimitError, StatusEvent, feed, log
from smstracker.models.log import Filter
from smstracker.period import Period
from smstracker.plain_text import cost_advice, plain
from smstracker.segments import count_segments
from smstracker.simulator.stories import STORIES
from smstracker.sms.regions import region_in_a_sentence
from smstracker.web.guards import for_programs, is_for_programs, sign_in_guard

bp = Blueprint("dashboard", __name__)


@bp.before_request
@sign_in_guard
def only_signed_in() -> ResponseReturnValue | None:
    if current_user.is_authenticated or request.endpoint == "dashboard.home":
        return None
    if is_for_programs(current_app, request.endpoint):
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
    if not is_signed_in and request.endpoint == "dashboard.send":
        return render_template("dashboard/signed_out.html", typed=request.form), 401
    if not is_signed_in:
        return error_page(400)
    if request.endpoint == "dashboard.filter_messages":
        return _log_page(request.form, "This page was out of date. Press Search again."), 400
    notice = "This page was out of date, so nothing was sent. Check your message and send it again."
    return _form_page(MessageForm(), 400, notice)


@bp.get("/")
def home() -> ResponseReturnValue:
    return redirect(url_for(".messages"))


@bp.get("/messages")
def messages() -> ResponseReturnValue:
    try:
        chosen = read_filters(current_user.id, request.args, utcnow())
    except FilterError as error:
        return _log_page(request.args, str(error)), 422
    position = feed.settled_position()  # before the rows: what changes meanwhile is told again
    page = listing(chosen.filter, request.args.get("before"), request.args.get("after"))
    return _log_page(_typed(chosen), None, chosen, page, position), 200


@bp.post("/messages/filter")
def filter_messages() -> ResponseReturnValue:
    """To the address of the filtered log; a number that was typed is stored, never in a URL."""
    try:
        arguments = arguments_of_form(current_user.id, request.form, utcnow())
    except FilterError as error:
        return _log_page(request.form, str(error)), 422
    db.session.commit()
    address = url_for(".messages") + (f"?{urlencode(arguments)}" if arguments else "")
    return redirect(address, 303)


@bp.get("/messages.json")
@for_programs
def messages_json() -> ResponseReturnValue:
    now = utcnow()
    try:
        chosen = read_strictly(current_user.id, request.args, now, "before")
    except FilterError as error:
        return {"error": str(error)}, 422
    page = listing(chosen.filter, request.args.get("before"))
    return jsonify(messages=[as_json(m, now) for m in page.messages], next=page.next)


@bp.get("/messages/export.<any(csv, json):kind>")
@for_programs
def export(kind: str) -> ResponseReturnValue:
    """What is filtered, and all of it; made while it is sent."""
    now = utcnow()
    try:
        chosen = read_strictly(current_user.id, request.args, now)
        return exporting.response(chosen.filter, kind, now)
    except FilterError as error:
        return {"error": str(error)}, 422
    except exporting.BusyError as error:
        return {"error": str(error)}, 503, {"Retry-After": "60"}


@bp.get("/messages/new")
def new_message() -> ResponseReturnValue:
    return _form_page(MessageForm(), 200)


@bp.post("/messages")
def send() -> ResponseReturnValue:
    """Save, commit, hand over with no transaction open, show."""
    form = MessageForm()
    if "plain" in request.form:
        form.body.data = plain(form.body.data or "")
        return _form_page(form, 200)
    if "check" in request.form:
        form.validate()
        return _form_page(form, 200)
    if not form.validate():
        return _form_page(form, 422)
    try:
        message = Message.draft(current_user.id, form.instance, form.content)
    except AlreadySentError as error:
        return _already_sent(form, error)
    except SendLimitError as error:
        db.session.rollback()
        return _form_page(form, 429, wording.limit_notice(error))
    try:
        save_and_hand_over(message)
    except NoSlotError as error:
        return *_form_page(form, 503, wording.busy_notice(error)), {"Retry-After": "10"}
    return redirect(url_for(".message", public_id=message.public_id), 303)


@bp.get("/messages/<uuid:public_id>")
def message(public_id: uuid.UUID) -> ResponseReturnValue:
    position = feed.settled_position()
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
        first_try=found.first_try(),
        second_try=found.second_try(),
        position=position,
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
    context["longest"], context["too_long"] = MAX_CHARACTERS, length_problem(form.body.data or "")
    context["notes"] = notes_on_form() if request.method == "POST" else None
    context["page_hints"] = page_hints_on_form()
    context["understood"] = recipient_of_form()[0] if request.method == "POST" else None
    # An MMS has no segments to save.
    context["advice"] = None if form.pictures else cost_advice(form.body.data or "")
    context["home"] = region_in_a_sentence(settings().default_region)
    context["now"] = utcnow()
    context["stories"] = STORIES if settings().demo else ()
    return render_template("dashboard/new_message.html", **context), code


def _typed(chosen: Chosen) -> dict[str, str]:
    """The fields of the form; the number is in none of its addresses, but the reader sees it."""
    digits, plus = chosen.filter.digits or "", "+" if chosen.filter.is_full else ""
    return chosen.arguments | {"number": f"{plus}{digits}"}


def _log_page(
    typed: Mapping[str, str],
    problem: str | None,
    chosen: Chosen | None = None,
    page: Page | None = None,
    position: int | None = None,
) -> str:
    counts = log.counts(chosen.filter) if chosen else {}
    chosen = chosen or Chosen(Filter(current_user.id), Period(), {})
    return render_template(
        "dashboard/messages.html",
        typed=typed,
        problem=problem,
        chosen=chosen,
        page=page or Page([], None),
        counts=counts,
        total=log.total(counts),
        senders=sender_choices(),
        position=position,
        now=chosen.filter.at,
    )
