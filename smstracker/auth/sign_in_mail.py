"""The sign-in mail: who gets one, and its words."""

import logging
from dataclasses import dataclass
from functools import partial

from flask import Flask, render_template

from smstracker.extensions import db
from smstracker.mailer import MailError, MailRefusedError, Outgoing, current_mailer
from smstracker.models import MailHealth, SignInToken, User
from smstracker.models.sign_in import may_sign_in
from smstracker.web.urls import external_url

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MailRequest:
    """A request for a sign-in mail: for whom, by which browser, from where, for which page.

    `network` is where the client is, for the turn of the mail. `client_address` and `browser_name`
    go into the mail, so neither quotes what a stranger sent.
    """

    email: str
    browser: str
    next_path: str | None
    client_address: str
    network: str
    browser_name: str


def look_up(app: Flask, asked: MailRequest) -> None:
    """Have the mail sent if the address may sign in. Runs in the background and raises nothing.

    It leaves the mail server alone, so strangers who get no mail keep nobody's mail waiting.
    """
    try:
        with app.app_context():
            if not may_sign_in(asked.email):
                log.info("sign_in_not_allowed")
                return
            is_newcomer = db.session.scalar(User.select_by_email(asked.email)) is None
            current_mailer().threads.send(
                partial(_send, app, asked), asked.email, asked.network, is_newcomer
            )
    except Exception:
        log.exception("sign_in_mail_failed")


def check_server(app: Flask) -> None:
    """Find out for all who ask alike whether the server takes mail. Raises nothing."""
    try:
        with app.app_context():
            problem = None
            try:
                current_mailer().check()
            except MailError as error:
                problem = str(error)
                log.error("mail_failed", extra={"reason": problem})
            MailHealth.record_server(problem)
            db.session.commit()
    except Exception:
        log.exception("mail_check_failed")


def _send(app: Flask, asked: MailRequest) -> None:
    """Send the mail. What goes wrong is no matter for the page: it would tell who gets one."""
    try:
        with app.app_context(), current_mailer().connect() as outgoing:
            _write(outgoing, asked)
    except MailError as error:
        log.error("mail_failed", extra={"reason": str(error)})
    except Exception:
        log.exception("sign_in_mail_failed")


def _write(outgoing: Outgoing, asked: MailRequest) -> None:
    issued = SignInToken.issue(asked.email, asked.browser, asked.next_path)
    db.session.commit()
    link = external_url("auth.link", token=issued.token)
    text = render_template("mail/sign_in.txt", link=link, code=issued.code, asked=asked)
    code = issued.code
    subject = f"{code} is your smstracker sign-in code" if code else "Your smstracker sign-in link"
    try:
        outgoing.send(asked.email, subject, text)
    except MailRefusedError as error:
        MailHealth.record_mail(str(error))
        db.session.commit()
        raise
    MailHealth.record_mail(None)
    db.session.commit()
    log.info("sign_in_mail_sent")
