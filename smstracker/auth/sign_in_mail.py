"""Background tasks of the sign-in mail: the look-up of the address, and the sending."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from flask import Flask, render_template

from smstracker.extensions import db
from smstracker.mailer import Deliver, MailError, MailRefusedError, current_mailer
from smstracker.models import MailHealth, SignInToken, User
from smstracker.models.audit_log import AuditAction, count_audit
from smstracker.models.sign_in import may_sign_in
from smstracker.web.urls import sign_in_url

log = logging.getLogger(__name__)

# Minutes after the request. Greylisting asks to wait for one to five.
ATTEMPT_MINUTES: tuple[float, ...] = (0, 1, 5, 10)


@dataclass(frozen=True, slots=True)
class MailRequest:
    """A request for a sign-in mail.

    `browser` is the random id in its session, `network` ranks the mail in the queue.
    `client_address` and `browser_name` go into the mail, so neither quotes untrusted text.
    """

    email: str
    browser: str
    next_path: str | None
    client_address: str
    network: str
    browser_name: str


def look_up_address(app: Flask, mail_request: MailRequest) -> None:
    """Queue the mail if the address may sign in. Runs in the background; logs all errors.

    It does not use the mail server, so requests without a mail delay nobody's mail.
    """
    with _logging_errors(app, "sign_in_mail_failed"):
        if not may_sign_in(mail_request.email):
            log.info("sign_in_not_allowed")
            _record_refusal(mail_request.email)
            return
        is_newcomer = db.session.scalar(User.select_by_email(mail_request.email)) is None
        _queue(app, mail_request, is_newcomer)


def _record_refusal(email: str) -> None:
    """Count the refusal; only a user's address is stored, not what a stranger typed."""
    user = db.session.scalar(User.select_by_email(email))
    count_audit(AuditAction.SIGN_IN_REFUSED, subject=user.email if user else "")
    db.session.commit()


def check_mail_server(app: Flask) -> None:
    """Record whether the mail server accepts mail, for all requests alike; logs all errors."""
    with _logging_errors(app, "mail_check_failed"):
        problem = None
        try:
            current_mailer().check()
        except MailError as error:
            problem = str(error)
            log.error("mail_failed", extra={"reason": problem})
        MailHealth.record_server(problem)
        db.session.commit()


def _queue(app: Flask, mail_request: MailRequest, is_newcomer: bool, attempt: int = 0) -> None:
    """Have the mail sent when this attempt is due."""
    send = partial(_send, app, mail_request, is_newcomer, attempt)
    delay = 60.0 * (ATTEMPT_MINUTES[attempt] - ATTEMPT_MINUTES[max(attempt - 1, 0)])
    place = (mail_request.email, mail_request.network, is_newcomer)
    current_mailer().threads.send(send, *place, delay)


def _send(app: Flask, mail_request: MailRequest, is_newcomer: bool, attempt: int) -> None:
    """Send the mail; errors are only logged, as a page with them would show who gets a mail.

    If the server asks to wait, try again later.
    """
    with _logging_errors(app, "sign_in_mail_failed"):
        try:
            with current_mailer().connect() as deliver:
                _send_token(deliver, mail_request)
        except MailError as error:
            if error.is_temporary and attempt + 1 < len(ATTEMPT_MINUTES):
                log.warning("mail_postponed", extra={"reason": str(error)})
                _queue(app, mail_request, is_newcomer, attempt + 1)
            else:
                log.error("mail_failed", extra={"reason": str(error)})


@contextmanager
def _logging_errors(app: Flask, event: str) -> Iterator[None]:
    try:
        with app.app_context():
            yield
    except Exception:
        log.exception(event)


def _send_token(deliver: Deliver, mail_request: MailRequest) -> None:
    token = SignInToken.issue(mail_request.email, mail_request.browser, mail_request.next_path)
    db.session.commit()
    link, code = sign_in_url(token.token), token.code
    text = render_template("mail/sign_in.txt", link=link, code=code, mail_request=mail_request)
    subject = f"{code} is your smstracker sign-in code" if code else "Your smstracker sign-in link"
    try:
        deliver(current_mailer().compose(mail_request.email, subject, text))
    except MailRefusedError as error:
        MailHealth.record_mail(str(error))
        if error.is_temporary:
            SignInToken.withdraw(token)
        db.session.commit()
        raise
    MailHealth.record_mail(None)
    db.session.commit()
    log.info("sign_in_mail_sent")
