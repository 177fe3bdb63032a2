"""Mail by SMTP with verified certificates, or into the demo mailbox."""

import smtplib
import ssl
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid, parseaddr
from functools import partial
from typing import TYPE_CHECKING

from flask import Flask, current_app

from smstracker.clock import utcnow
from smstracker.mail_threads import MailThreads
from smstracker.settings.mail import MailConfig

if TYPE_CHECKING:
    from config import Config

STEP_TIMEOUT = 15.0  # seconds for each step of the SMTP session
AUTHENTICATION_REQUIRED = 530  # RFC 4954, RFC 3207

Deliver = Callable[[EmailMessage], None]


class MailError(Exception):
    """The mail server did not accept a mail; the text is the class name of the cause."""


class MailRefusedError(MailError):
    """The mail server works, but refused this mail."""


class Mailer:
    """Sends mail, and holds the threads for sign-in mails and the demo mailbox."""

    def __init__(self, config: "Config") -> None:
        self._config = config.mail
        self._is_demo = config.demo
        self.threads = MailThreads()
        self.mailbox: deque[EmailMessage] = deque(maxlen=20)

    @property
    def can_send(self) -> bool:
        """Whether mail can be sent: there is a server, or the demo mailbox."""
        return self._is_demo or self._config.server is not None

    def check(self) -> None:
        """Check the mail server by a session without a mail. Raises MailError."""
        if self._config.server:
            with self.connect():
                pass

    def send(self, to: str, subject: str, text: str) -> None:
        """Send one mail of plain text. Raises MailError."""
        mail = self.compose(to, subject, text)
        with self.connect() as deliver:
            deliver(mail)

    @contextmanager
    def connect(self) -> Iterator[Deliver]:
        """Open a session, with the sender accepted by the server, to deliver mails in.

        Raises MailError, the delivery MailRefusedError.
        """
        if not self.can_send:
            raise MailError("MAIL_SERVER is not set")
        server = self._config.server
        with _smtp_session(self._config, server) if server else nullcontext() as smtp:
            yield partial(self._deliver, smtp)

    def compose(self, to: str, subject: str, text: str) -> EmailMessage:
        """Compose a mail of plain text."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self._config.default_sender, to, subject
        mail["Date"] = format_datetime(utcnow())
        _, address = parseaddr(self._config.default_sender)
        mail["Message-ID"] = make_msgid(domain=address.rpartition("@")[2])
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office note comes back
        # Unless it must be, a text is not encoded: some programs cut a link that is wrapped.
        mail.set_content(text, cte="7bit" if text.isascii() else None)
        return mail

    def _deliver(self, smtp: smtplib.SMTP | None, mail: EmailMessage) -> None:
        """Send a mail; in a demo put it into the mailbox and print it."""
        if self._is_demo:
            self.mailbox.appendleft(mail)
            sys.stdout.write(f"\n--- Demo mail to {mail['To']} ---\n{mail.get_content()}---\n")
            sys.stdout.flush()
        if smtp:
            with _raise_as(MailRefusedError):
                smtp.send_message(mail)


@contextmanager
def _raise_as(error: type[MailError]) -> Iterator[None]:
    """Convert failures to `error`, with the class name of the cause."""
    try:
        yield
    # A password that is not ASCII raises ValueError with the password in its text.
    except (OSError, smtplib.SMTPException, ValueError) as cause:
        raise error(type(cause).__name__) from None


@contextmanager
def _smtp_session(config: MailConfig, server: str) -> Iterator[smtplib.SMTP]:
    """An SMTP session: encrypted, logged in, with our sender accepted."""
    with ExitStack() as stack:
        with _raise_as(MailError):
            smtp = _connect(config, server)
            stack.callback(_quit, smtp)
            if config.use_tls:
                smtp.starttls(context=ssl.create_default_context())
            if config.username and config.password:
                smtp.login(config.username, config.password)
            smtp.ehlo_or_helo_if_needed()
            code, reason = smtp.mail(parseaddr(config.default_sender)[1])
            if code == AUTHENTICATION_REQUIRED:
                raise MailError("SMTPAuthenticationRequired")
            if code != 250:
                raise smtplib.SMTPSenderRefused(code, reason, "")
            smtp.rset()
        yield smtp


def _quit(smtp: smtplib.SMTP) -> None:
    with suppress(OSError, smtplib.SMTPException):
        smtp.quit()
    smtp.close()


def _connect(config: MailConfig, server: str) -> smtplib.SMTP:
    if config.use_ssl:
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(server, config.port, timeout=STEP_TIMEOUT, context=context)
    return smtplib.SMTP(server, config.port, timeout=STEP_TIMEOUT)


def init_app(app: Flask) -> None:
    app.extensions["mailer"] = Mailer(app.config["SETTINGS"])


def current_mailer() -> Mailer:
    mailer: Mailer = current_app.extensions["mailer"]
    return mailer
