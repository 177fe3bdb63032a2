"""What several views of the dashboard share: one's own message, the log and the send form."""

import uuid
from collections.abc import Mapping

from flask import abort, render_template, request
from flask_login import current_user

from smstracker.clock import utcnow
from smstracker.dashboard import form_check
from smstracker.dashboard.forms import MessageForm
from smstracker.extensions import db, settings
from smstracker.messages import state_counts
from smstracker.messages.filter_conditions import SearchFilters
from smstracker.messages.filter_links import LogFilters
from smstracker.messages.filter_reading import MAX_TEXT_LENGTH
from smstracker.messages.pagination import LogPage
from smstracker.messages.send_pauses import find_message_pauses
from smstracker.messages.senders import sender_choices
from smstracker.messages.state_counts import CappedCount
from smstracker.messages.timeline import build_timeline
from smstracker.models import ApiToken, Batch, Message, SavedText, StatusEvent, event_feed
from smstracker.simulator.scenarios import SCENARIOS
from smstracker.sms.countries import region_in_a_sentence
from smstracker.sms.gsm_replacements import cost_advice
from smstracker.sms.identifiers import ERROR_CODE_LENGTH
from smstracker.sms.segments import count_segments
from smstracker.sms.status import State
from smstracker.sms.text_rules import MAX_CHARACTERS, length_problem
from smstracker.web.send_time import MAX_AHEAD
from smstracker.web.time_range import CUSTOM, PERIODS, TimeRange
from smstracker.web.time_zones import place_names

MAX_SAVED_TEXTS = 50  # that the send form offers
PERIOD_CHOICES = {name: label for name, (_, label) in PERIODS.items()} | {
    CUSTOM: "Between these days"
}


def get_own_message(public_id: uuid.UUID, lock: bool = False) -> Message:
    """The signed-in user's message, locked for update if wanted; a 404 if it is not theirs."""
    query = Message.select_owned(current_user.id).where(Message.public_id == public_id)
    return db.session.scalar(query.with_for_update() if lock else query) or abort(404)


def get_saved_text(public_id: uuid.UUID) -> SavedText:
    """The signed-in user's saved text; a 404 if it is not theirs."""
    query = SavedText.select_owned(current_user.id).where(SavedText.public_id == public_id)
    return db.session.scalar(query) or abort(404)


def render_message(
    public_id: uuid.UUID, code: int = 200, notice: str | None = None
) -> tuple[str, int]:
    """The page of the signed-in user's message."""
    position = event_feed.settled_position(db.session.connection())
    message = get_own_message(public_id)
    events = db.session.scalars(StatusEvent.select_for_message(message.id)).all()
    now = utcnow()
    context: dict[str, object] = {
        "message": message,
        "notice": notice,
        "events": events,
        "steps": build_timeline(message, events),
        "count": count_segments(message.body, message.sender),
        "original": message.original(),
        "resend": message.resend(),
        "pauses": find_message_pauses([message], now),
        "batch": db.session.get(Batch, message.batch_id) if message.batch_id else None,
        "token_name": ApiToken.find_name(message.token_id),
        "position": position,
        "now": now,
    }
    return render_template("dashboard/message.html", **context), code


def render_send_form(
    form: MessageForm, code: int, notice: str | None = None, edited: Message | None = None
) -> tuple[str, int]:
    """The form of a new message, or of one that is edited while it waits here."""
    text, is_post = form.body.data or "", request.method == "POST"
    saved_texts = SavedText.select_owned(current_user.id).limit(MAX_SAVED_TEXTS)
    edited_id = edited.public_id if edited else None
    context: dict[str, object] = {
        "form": form,
        "saved_texts": () if is_post or edited else db.session.scalars(saved_texts).all(),
        "notice": notice,
        "edited": edited,
        "max_days_ahead": MAX_AHEAD.days,
        "zones": place_names(),
        "count": count_segments(text, form.sender.data),
        "max_characters": MAX_CHARACTERS,
        "length_problem": length_problem(text),
        "warnings": form_check.find_form_warnings(form, edited_id) if is_post else None,
        "page_hints": form_check.find_page_hints(form),
        "recipient": form_check.describe_recipient(form.recipient.data or "")[0],
        # An MMS has no segments to save.
        "advice": None if form.pictures else cost_advice(text, form.sender.data),
        "home_region": region_in_a_sentence(settings().default_region),
        "scenarios": SCENARIOS if settings().demo else (),
        "now": utcnow(),
    }
    return render_template("dashboard/new_message.html", **context), code


def render_log(log_filters: LogFilters, page: LogPage, position: int) -> str:
    """The log, filtered; `position` is that of the event feed, before the page was read."""
    filters = log_filters.search_filters
    # The number is in none of the arguments, but the reader sees it. An id has no field of its own.
    number = f"{'+' if filters.is_full else ''}{filters.digits or ''}"
    text = filters.text or filters.id_or_sid or ""
    return _render_log(
        log_filters,
        fields=log_filters.arguments | {"number": number, "text": text},
        page=page,
        counts=state_counts.count_states(filters),
        position=position,
    )


def render_log_problem(fields: Mapping[str, str], problem: str, faulty_field: str = "") -> str:
    """The search form as it was filled in, with what is wrong; nothing was searched."""
    log_filters = LogFilters(SearchFilters(current_user.id), TimeRange(), {})
    return _render_log(
        log_filters,
        fields=fields,
        problem=problem,
        faulty_field=faulty_field,
        page=LogPage([], None),
        counts={},
    )


def _render_log(
    log_filters: LogFilters,
    page: LogPage,
    counts: Mapping[State, CappedCount],
    **context: object,
) -> str:
    return render_template(
        "dashboard/messages.html",
        log_filters=log_filters,
        counts=counts,
        total=state_counts.sum_counts(counts),
        senders=sender_choices(),
        periods=PERIOD_CHOICES,
        max_text_length=MAX_TEXT_LENGTH,
        max_code_length=ERROR_CODE_LENGTH,
        now=log_filters.search_filters.at,
        page=page,
        pauses=find_message_pauses(page.messages, log_filters.search_filters.at),
        **context,
    )
