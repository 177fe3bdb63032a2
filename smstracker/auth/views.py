"""The pages of sign-in. A GET never spends a token: mail scanners open links."""

import logging
import secrets
from functools import partial

from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user
from flask_wtf.csrf import CSRFError

from smstracker.auth.browser_name import browser_name
from smstracker.auth.forms import CodeForm, ConfirmForm, SignInForm
from smstracker.auth.sign_in_limits import count_mail, network_key, parse_client
from smstracker.auth.sign_in_mail import MailRequest, check_server, look_up
from smstracker.database.engine import UNAVAILABLE
from smstracker.extensions import db
from smstracker.mailer import can_mail, current_mailer
from smstracker.models import MailHealth, SignInToken, UserSession
from smstracker.models.sign_in import CODE_ATTEMPTS, find_signed_in_user
from smstracker.web.error_pages import error_page, too_many_requests
from smstracker.web.urls import safe_next_path

log = logging.getLogger(__name__)
bp = Blueprint("auth", __name__, url_prefix="/auth")


@bp.errorhandler(CSRFError)
def stale_form(_error: CSRFError) -> ResponseReturnValue:
    """The form was open for too long: here it is again, as it was filled in."""
    if request.endpoint == "auth.sign_out":
        return error_page(400)
    if request.endpoint == "auth.follow_link":
        # The path is the whole form. A stranger's page gains nothing: it could link here as well.
        token = (request.view_args or {})["token"]
        page = render_template("auth/link.html", form=ConfirmForm(), token=token, is_stale=True)
    elif request.endpoint == "auth.enter_code" and "browser" in session:
        page = _code_page(CodeForm(), is_stale=True)
    else:
        page = render_template("auth/sign_in.html", form=SignInForm(), is_stale=True)
    return page, 400


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
    """Same answer, same work and so the same time, whoever the address belongs to."""
    if not can_mail():
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
    asked = MailRequest(
        email=form.address,
        browser=secrets.token_urlsafe(32),
        next_path=safe_next_path(form.next.data),
        client_address=str(client or "an unknown address"),
        network=network_key(client),
        browser_name=browser_name(request.user_agent.string),
    )
    if not _answer_in_background(asked):
        return _busy_page(form)
    session["browser"] = asked.browser
    session["tries"] = 0
    return redirect(url_for(".sign_in", step="code"), 303)


def _answer_in_background(asked: MailRequest) -> bool:
    """Hand the request over; return once it is known whether the server can be used, or soon."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    threads = current_mailer().threads
    is_taken = threads.look_up(partial(look_up, app, asked))
    if is_taken:
        threads.wait_briefly(threads.check(partial(check_server, app)))
    return is_taken


def _busy_page(form: SignInForm) -> ResponseReturnValue:
    """Nobody's request can be taken now; this one was not counted."""
    return render_template("auth/sign_in.html", form=form, is_busy=True), 503


@bp.get("/link/<token>")
def link(token: str) -> ResponseReturnValue:
    try:
        is_live = SignInToken.is_live_link(token)
    except UNAVAILABLE:
        is_live = True  # unknown until the button is pressed, and the page for that keeps the form
    if not is_live:
        return _dead_link()
    return render_template("auth/link.html", form=ConfirmForm(), token=token)


@bp.post("/link/<token>")
def follow_link(token: str) -> ResponseReturnValue:
    return _signed_in(SignInToken.redeem_link(token)) or _dead_link()


def _dead_link() -> tuple[str, int]:
    return render_template("auth/link_is_dead.html"), 410


@bp.post("/code")
def enter_code() -> ResponseReturnValue:
    if "browser" not in session:
        return redirect(url_for(".sign_in"), 303)
    form = CodeForm()
    if not form.validate():
        return _code_page(form), 422
    session["tries"] = session.get("tries", 0) + 1
    done = _signed_in(SignInToken.redeem_code(form.code.data or "", session["browser"]))
    if done is None:
        form.code.errors = [_wrong_code(CODE_ATTEMPTS - session["tries"])]
        return _code_page(form), 422
    return done


@bp.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    if current_user.is_authenticated:
        UserSession.end(current_user.get_id())
        db.session.commit()
    logout_user()
    session.clear()
    return redirect(url_for(".sign_in"), 303)


def _signed_in(token: SignInToken | None) -> ResponseReturnValue | None:
    """Start a session for a spent token; None (after counting the try) if it cannot be had."""
    user = find_signed_in_user(token) if token else None
    db.session.commit()
    if user is None or token is None:
        log.info("sign_in_failed")
        return None
    # Nothing of what the browser brought along survives, so no prepared session can be taken over.
    session.clear()
    session.permanent = True
    login_user(user)
    log.info("signed_in")
    return redirect(safe_next_path(token.next_path) or url_for("dashboard.messages"), 303)


def _code_page(form: CodeForm, is_stale: bool = False) -> str:
    mail_is_down = MailHealth.latest().has_server_problem
    return render_template(
        "auth/code.html", form=form, is_stale=is_stale, mail_is_down=mail_is_down
    )


def _wrong_code(tries_left: int) -> str:
    if tries_left < 1:
        return "That was the last try. Ask for a new mail."
    noun = "try" if tries_left == 1 else "tries"
    return f"That is not the code from the newest mail. {tries_left} {noun} left."
