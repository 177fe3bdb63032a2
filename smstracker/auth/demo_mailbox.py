"""The mailbox of demo mode: the newcomer signs in without leaving the browser."""

from urllib.parse import urlsplit

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from config import is_loopback
from smstracker.extensions import settings
from smstracker.mailer import current_mailer
from smstracker.web.security import SENT_HOST

bp = Blueprint("mailbox", __name__)

# A tunnel or proxy on this machine makes strangers look like loopback, but it says so in these.
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via")


@bp.before_request
def only_from_this_machine() -> None:
    sent = request.environ[SENT_HOST]
    came_directly = not any(name in request.headers for name in FORWARDED)
    host = _host_name(sent)
    # Behind a proxy that says nothing of itself, the public address gives it away.
    is_public = not is_loopback(urlsplit(settings().public_base_url).hostname or "")
    if is_public or not (
        is_loopback(request.remote_addr or "") and is_loopback(host) and came_directly
    ):
        abort(404)


def _host_name(sent: str) -> str:
    """The name in a Host header, without a port; empty for what is none."""
    try:
        return urlsplit(f"//{sent}").hostname or ""
    except ValueError:
        return ""


@bp.get("/auth/mailbox")
def mailbox() -> ResponseReturnValue:
    mails = [(mail["To"], mail["Subject"], mail.get_content()) for mail in current_mailer().mailbox]
    return render_template("auth/mailbox.html", mails=mails)
