"""The demo mailbox, which shows mails in the browser, on this machine only."""

from urllib.parse import urlsplit

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from smstracker.alerts.alert_page import read_sent_mails
from smstracker.extensions import settings
from smstracker.mailer import current_mailer
from smstracker.settings.addresses import is_loopback
from smstracker.web.security import SENT_HOST

bp = Blueprint("mailbox", __name__)

# A tunnel or proxy on this machine connects from loopback, but sets one of these headers.
FORWARDING_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via")


@bp.before_request
def refuse_remote_clients() -> None:
    is_forwarded = any(name in request.headers for name in FORWARDING_HEADERS)
    # A proxy without such a header shows in the public address.
    public_host = urlsplit(settings().public_base_url).hostname
    requested_host = _parse_host_name(request.environ[SENT_HOST])
    hosts = (public_host, request.remote_addr, requested_host)
    if is_forwarded or not all(is_loopback(host or "") for host in hosts):
        abort(404)


def _parse_host_name(host_header: str) -> str:
    """The name in a Host header, without a port; empty if it is malformed."""
    try:
        return urlsplit(f"//{host_header}").hostname or ""
    except ValueError:
        return ""


@bp.get("/auth/mailbox")
def mailbox() -> ResponseReturnValue:
    mails = [(mail["To"], mail["Subject"], mail.get_content()) for mail in current_mailer().mailbox]
    # Those of alerts are sent by the worker, in another process.
    return render_template("auth/mailbox.html", mails=[*mails, *read_sent_mails()])
