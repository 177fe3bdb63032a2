"""Notes beside the send form, before anything is sent: the same text lately, an opt-out."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.auth.sign_in_guard import require_sign_in
from smstracker.clock import utcnow
from smstracker.dashboard.forms import describe_recipient, unix_lines
from smstracker.extensions import settings
from smstracker.messages.send_warnings import SendWarnings, find_warnings
from smstracker.models.messages import Content
from smstracker.sms.phone_numbers import PhoneNumberError, parse_recipient
from smstracker.sms.picture_addresses import split_addresses

bp = Blueprint("notes", __name__)
bp.before_request(require_sign_in)


# By POST, because a number may not stand in an address.
@bp.post("/messages/check")
def check() -> ResponseReturnValue:
    recipient, problem = recipient_of_form()
    return render_template(
        "dashboard/_check.html",
        recipient=recipient,
        problem=problem,
        notes=notes_on_form(),
        now=utcnow(),
    )


def recipient_of_form() -> tuple[str | None, str | None]:
    """How the recipient in the form is understood, or why it is not; nothing of an empty one."""
    typed = request.form.get("recipient", "")
    try:
        return (describe_recipient(typed), None) if typed.strip() else (None, None)
    except PhoneNumberError as error:
        return None, str(error)


def notes_on_form() -> SendWarnings:
    """The notes on what stands in the form; none while it names no number."""
    typed = request.form
    try:
        number = parse_recipient(typed.get("recipient", ""), settings().default_region)
    except PhoneNumberError:
        return SendWarnings()
    # PostgreSQL takes no NUL, and the form refuses it.
    if "\0" in typed.get("body", "") + typed.get("sender", ""):
        return SendWarnings()
    body = unix_lines(typed.get("body", ""))
    addresses = split_addresses(unix_lines(typed.get("media_urls", "")))
    pictures = tuple(address for _line, address in addresses)
    content = Content(number, typed.get("sender", ""), body if body.strip() else "", pictures)
    return find_warnings(current_user.id, content, utcnow())
