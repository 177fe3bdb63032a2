"""Sign-in pages. A GET never redeems a token, as mail scanners open links."""

import logging
import secrets
from collections.abc import Callable
from functools import partial

from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user
from flask_wtf.csrf import CSRFError

from smstracker.auth.browser_name import name_browser
from smstracker.auth.forms import CodeForm, ConfirmForm, SignInForm
from smstracker.auth.next_path import safe_next_path
from smstracker.auth.sign_in_limits import count_mail, network_key, parse_client
from smstracker.auth.sign_in_mail import MailRequest, check_mail_server, look_up_address
from smstracker.database.engine import UNAVAILABLE
from smstracker.extensions import writing
from smstracker.mailer import current_mailer
from smstracker.models import MailHealth, SignInToken, UserSession
from smstracker.models.audit_log import AuditAction, record_audit
from smstracker.models.sign_in import CODE_ATTEMPTS, find_signed_in_user
from smstracker.plurals import format_count
from smstracker.web.error_pages import error_page, too_many_requests
from smstracker.web.guards import answers_stale_form, stale_form_answer
from smstracker.web.urls import AUTH_PREFIX

log = logging.getLogger(__name__)
bp = Blueprint("auth", __name__, url_prefix=AUTH_PREFIX)


@bp.errorhandler(CSRFError)
def stale_form(_error: CSRFError) -> ResponseReturnValue:
    """Show a form whose CSRF token expired again, as it was filled in."""
    return (stale_form_answer() or _stale_sign_in)()


def _stale_sign_in() -> ResponseReturnValue:
    return render_template("auth/sign_in.html", form=SignInForm(), is_stale=True), 400


def _stale_link() -> ResponseReturnValue:
    # The path holds the token. Another site gains nothing by posting: it could link here too.
    token = (request.view_args or {})["token"]
    return render_template("auth/link.html", form=ConfirmForm(), token=token, is_stale=True), 400


def _stale_code() -> ResponseReturnValue:
    if "browser" not in session:
        return _stale_sign_in()
    return _code_page(CodeForm(), is_stale=True), 400


@bp.get("/sign-in")
def sign_in() -> ResponseReturnValue:
    if current_user.is_authenticated:
        return redirect(url_for("dashboard.messages"))
    if request.args.get("step") == "code" and "browser" in session:
        return _code_page(CodeForm())
    form = SignInForm(next=safe_next_path(request.args.get("next")))
    return render_template("auth/sign_in.html", form=form)


@bp.post("/sign-in")
def ask_for_mail() -> ResponseReturnValue:
    """Give the same answer in the same time, whoever the address belongs to."""
    if not current_mailer().can_send:
        return redirect(url_for(".sign_in"), 303)
    form = SignInForm()
    if not form.validate():
        return render_template("auth/sign_in.html", form=form), 422
    if not current_mailer().threads.has_room:
        return _busy_page(form)
    client = parse_client(request.remote_addr)
    wait = count_mail(form.address, client)
    if wait:
        return too_many_requests(wait)
    mail_request = MailRequest(
        email=form.address,
        browser=secrets.token_urlsafe(32),
        next_path=safe_next_path(form.next.data),
        client_address=str(client or "an unknown address"),
        network=network_key(client),
        browser_name=name_browser(request.user_agent.string),
    )
    if not _queue_mail(mail_request):
        return _busy_page(form)
    session["browser"] = mail_request.browser
    session["address"] = form.email.data
    session["tries"] = 0
    return redirect(url_for(".sign_in", step="code"), 303)


def _queue_mail(mail_request: MailRequest) -> bool:
    """Queue the look-up and wait briefly for the check of the mail server; False if full."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    threads = current_mailer().threads
    is_queued = threads.look_up(partial(look_up_address, app, mail_request))
    if is_queued:
        threads.wait_briefly(threads.check(partial(check_mail_server, app)))
    return is_queued


def _busy_page(form: SignInForm) -> ResponseReturnValue:
    """The form with a notice that the queue is full; the request is not counted."""
    return render_template("auth/sign_in.html", form=form, is_busy=True), 503


# Some mail programs add a slash.
@bp.get("/link/<token>", strict_slashes=False)
def link(token: str) -> ResponseReturnValue:
    try:
        is_live = SignInToken.is_live_link(token)
    except UNAVAILABLE:
        is_live = True  # unknown until the button is pressed; that error page keeps the form
    if not is_live:
        return _dead_link_page()
    return render_template("auth/link.html", form=ConfirmForm(), token=token)


@bp.post("/link/<token>")
@answers_stale_form(_stale_link)
def follow_link(token: str) -> ResponseReturnValue:
    redeem = partial(SignInToken.redeem_link, token)
    return _start_session(redeem, AuditAction.SIGNED_IN_BY_LINK) or _dead_link_page()


def _dead_link_page() -> tuple[str, int]:
    return render_template("auth/invalid_link.html"), 410


@bp.post("/code")
@answers_stale_form(_stale_code)
def enter_code() -> ResponseReturnValue:
    if "browser" not in session:
        return redirect(url_for(".sign_in"), 303)
    form = CodeForm()
    if not form.validate():
        return _code_page(form), 422
    session["tries"] = session.get("tries", 0) + 1
    code = form.code.data or ""
    redeem = partial(SignInToken.redeem_code, code, session["browser"])
    response = _start_session(redeem, AuditAction.SIGNED_IN_BY_CODE)
    if response is None:
        form.code.errors = [_wrong_code_error(CODE_ATTEMPTS - session["tries"])]
        return _code_page(form), 422
    return response


@bp.post("/sign-out")
@answers_stale_form(partial(error_page, 400))
def sign_out() -> ResponseReturnValue:
    if current_user.is_authenticated:
        email = current_user.email
        with writing():
            UserSession.end(current_user.get_id())
            record_audit(AuditAction.SIGNED_OUT, actor=email)
    logout_user()
    session.clear()
    return redirect(url_for(".sign_in"), 303)


def _start_session(
    redeem: Callable[[], SignInToken | None], action: AuditAction
) -> ResponseReturnValue | None:
    """Redeem a token and sign its user in; None, after committing the try, without one."""
    browser_name = name_browser(request.user_agent.string)
    with writing():
        token = redeem()
        user = find_signed_in_user(token, browser_name) if token else None
        if user:
            record_audit(action, actor=user.email)
    if user is None or token is None:
        log.info("sign_in_failed")
        return None
    # Clear the session, so that a prepared one cannot be taken over.
    session.clear()
    session.permanent = True
    login_user(user)
    log.info("signed_in")
    return redirect(safe_next_path(token.next_path) or url_for("dashboard.messages"), 303)


def _code_page(form: CodeForm, is_stale: bool = False) -> str:
    health = MailHealth.latest()
    return render_template(
        "auth/code.html",
        form=form,
        is_stale=is_stale,
        mail_is_down=health.has_server_problem and not health.asks_to_wait,
        mail_waits=health.asks_to_wait,
        address=session.get("address"),
    )


def _wrong_code_error(tries_left: int) -> str:
    if tries_left < 1:
        return "That was the last try. Request a new mail."
    tries = format_count(tries_left, "try", "tries")
    return f"This is not the code from the newest mail. {tries} left."
