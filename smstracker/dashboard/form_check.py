"""The check of the send form while it is filled in: the recipient, the same text, an opt-out."""

import uuid

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.clock import utcnow
from smstracker.dashboard.forms import MessageForm
from smstracker.extensions import settings
from smstracker.messages.send_warnings import SendWarnings, find_warnings
from smstracker.sms.countries import describe_number
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError
from smstracker.sms.picture_addresses import find_address_problem
from smstracker.sms.picture_pages import describe_page
from smstracker.sms.text_rules import MAX_PICTURES
from smstracker.web.guards import require_sign_in

bp = Blueprint("form_check", __name__)
bp.before_request(require_sign_in)


# By POST, because a number may not stand in a URL.
@bp.post("/messages/check")
def check() -> ResponseReturnValue:
    form = MessageForm()
    recipient, problem = describe_recipient(form.recipient.data or "")
    return render_template(
        "dashboard/_form_check.html",
        recipient=recipient,
        problem=problem,
        warnings=find_form_warnings(form, request.args.get("edited", type=uuid.UUID)),
        page_hints=find_page_hints(form),
        now=utcnow(),
    )


def describe_recipient(text: str) -> tuple[str | None, str | None]:
    """Country and number of a recipient, or what is wrong with it; neither if it is empty."""
    if not text.strip():
        return None, None
    try:
        return describe_number(parse_recipient(text, settings().default_region)), None
    except PhoneNumberError as error:
        return None, str(error)


def find_form_warnings(form: MessageForm, edited_id: uuid.UUID | None = None) -> SendWarnings:
    """Warnings about the message in the form; none until its recipient is a number.

    `edited_id` is the public id of the waiting message that the form changes.
    """
    try:
        content = form.content
    except PhoneNumberError:
        return SendWarnings()
    # PostgreSQL takes no NUL, and the form refuses it.
    if "\0" in content.body + content.sender:
        return SendWarnings()
    return find_warnings(current_user.id, content, utcnow(), edited_id)


def find_page_hints(form: MessageForm) -> list[str]:
    """Return a sentence for each line whose address is a page; other faults are refused later."""
    return [
        f"Picture line {line} {hint}"
        for line, address in form.address_lines[:MAX_PICTURES]
        if not find_address_problem(address) and (hint := describe_page(address))
    ]
