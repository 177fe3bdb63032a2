"""The sign-in mail: who gets one, and its words."""

import logging
from dataclasses import dataclass
from threading import Event

from flask import Flask, render_template

from smstracker.addresses import absolute
from smstracker.extensions import db
from smstracker.mailer import MailError, MailRefusedError, Outgoing, current_mailer
from smstracker.models import MailHealth, SignInToken
from smstracker.models.sign_in import may_sign_in

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MailRequest:
    """A request for a sign-in mail: for whom, by which browser, from where, for which page.

    `client_address` and `browser_name` go into the mail, so neither quotes what a stranger sent.
    """

    email: str
    browser: str
    next_path: str | None
    client_address: str
    browser_name: str


def answer(app: Flask, asked: MailRequest, is_server_known: Event) -> None:
    """Send the mail if the address may sign in. Runs in the background and raises nothing.

    The server is tried first and for every address, so that what is known of it by then, and the
    time that took, say nothing about this one.
    """
    try:
        with app.app_context():
            _answer(asked, is_server_known)
    except MailError as error:
        log.error("mail_failed", extra={"reason": str(error)})
    except Exception:
        log.exception("sign_in_mail_failed")
    finally:
        is_server_known.set()


def _answer(asked: MailRequest, is_server_known: Event) -> None:
    try:
        with current_mailer().connect() as outgoing:
            MailHealth.record_server(None)
            db.session.commit()
            is_server_known.set()
            _send(outgoing, asked)
    except MailRefusedError as error:
        MailHealth.record_mail(str(error))
        db.session.commit()
        raise
    except MailError as error:
        MailHealth.record_server(str(error))
        db.session.commit()
        raise


def _send(outgoing: Outgoing, asked: MailRequest) -> None:
    if not may_sign_in(asked.email):
        db.session.rollback()
        log.info("sign_in_not_allowed")
        return
    issued = SignInToken.issue(asked.email, asked.browser, asked.next_path)
    db.session.commit()
    link = absolute("auth.link", token=issued.token)
    text = render_template("mail/sign_in.txt", link=link, code=issued.code, asked=asked)
    code = issued.code
    subject = f"{code} is your smstracker sign-in code" if code else "Your smstracker sign-in link"
    outgoing.send(asked.email, subject, text)
    MailHealth.record_mail(None)
    db.session.commit()
    log.info("sign_in_mail_sent")
