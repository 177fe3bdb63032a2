"""The sign-in mail: who gets one, and its words."""

import logging
from dataclasses import dataclass

from flask import Flask, render_template

from smstracker.addresses import absolute
from smstracker.extensions import db
from smstracker.mailer import MailError, current_mailer
from smstracker.models import SignInToken
from smstracker.models.sign_in import may_sign_in

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a sign-in mail: for whom, by which browser, from where, for which page."""

    email: str
    browser: str
    next_path: str | None
    client_address: str
    user_agent: str


def answer(app: Flask, asked: Asked) -> None:
    """Send the mail if the address may sign in. Runs in the background and raises nothing."""
    try:
        with app.app_context():
            _answer(asked)
    except MailError as error:
        log.error("mail_failed", extra={"reason": str(error)})
    except Exception:
        log.exception("sign_in_mail_failed")


def _answer(asked: Asked) -> None:
    if not may_sign_in(asked.email):
        db.session.rollback()
        log.info("sign_in_not_allowed")
        return
    issued = SignInToken.issue(asked.email, asked.browser, asked.next_path)
    db.session.commit()
    link = absolute("auth.link", token=issued.token)
    text = render_template("mail/sign_in.txt", link=link, code=issued.code, asked=asked)
    current_mailer().send(asked.email, f"{issued.code} is your smstracker sign-in code", text)
    log.info("sign_in_mail_sent")
