"""The check of the send form while it is filled in: the recipient, the same text, an opt-out."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.clock import utcnow
from smstracker.dashboard.forms import MAX_PICTURES, describe_recipient, unix_lines
from smstracker.extensions import settings
from smstracker.messages.send_warnings import SendWarnings, find_warnings
from smstracker.models.messages import Content
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError
from smstracker.sms.picture_addresses import find_address_problem, split_addresses
from smstracker.sms.picture_pages import describe_page
from smstracker.web.guards import require_sign_in

bp = Blueprint("form_check", __name__)
bp.before_request(require_sign_in)


# By POST, because a number may not stand in a URL.
@bp.post("/messages/check")
def check() -> ResponseReturnValue:
    recipient, problem = describe_form_recipient()
    return render_template(
        "dashboard/_form_check.html",
        recipient=recipient,
        problem=problem,
        warnings=find_form_warnings(),
        page_hints=find_form_page_hints(),
        now=utcnow(),
    )


def describe_form_recipient() -> tuple[str | None, str | None]:
    """Country and number of the recipient field, or what is wrong with it; neither if empty."""
    text = request.form.get("recipient", "")
    try:
        return (describe_recipient(text), None) if text.strip() else (None, None)
    except PhoneNumberError as error:
        return None, str(error)


def find_form_warnings() -> SendWarnings:
    """Warnings about the message in the form; none until its recipient is a number."""
    form = request.form
    try:
        number = parse_recipient(form.get("recipient", ""), settings().default_region)
    except PhoneNumberError:
        return SendWarnings()
    # PostgreSQL takes no NUL, and the form refuses it.
    if "\0" in form.get("body", "") + form.get("sender", ""):
        return SendWarnings()
    body = unix_lines(form.get("body", ""))
    addresses = split_addresses(unix_lines(form.get("media_urls", "")))
    pictures = tuple(address for _line, address in addresses)
    content = Content(number, form.get("sender", ""), body if body.strip() else "", pictures)
    return find_warnings(current_user.id, content, utcnow())


def find_form_page_hints() -> list[str]:
    """Return a sentence for each line whose address is a page; other faults are refused later."""
    addresses = split_addresses(unix_lines(request.form.get("media_urls", "")))
    return [
        f"Picture line {line} {hint}"
        for line, address in addresses[:MAX_PICTURES]
        if not find_address_problem(address) and (hint := describe_page(address))
    ]
