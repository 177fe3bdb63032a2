"""The only file that sends mail: by SMTP with certificates checked, or into the demo mailbox."""

import smtplib
import ssl
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid, parseaddr

from flask import Flask, current_app

from config import Config, MailConfig
from smstracker.auth.mail_threads import MailThreads
from smstracker.clock import utcnow
from smstracker.extensions import settings

TIMEOUT = 15.0  # seconds, for each step of the conversation with the server
LOGIN_OR_TLS_FIRST = 530  # RFC 4954, RFC 3207


class MailError(Exception):
    """The mail could not be handed to the server; the text is the name of the cause."""


class MailRefusedError(MailError):
    """The server can be used, but did not take this mail."""


class Outgoing:
    """An open conversation with the server, or the demo mailbox: takes mails."""

    def __init__(self, mailer: "Mailer", smtp: smtplib.SMTP | None) -> None:
        self._mailer = mailer
        self._smtp = smtp

    def send(self, to: str, subject: str, text: str) -> None:
        """Send one mail of plain text. Raises MailRefusedError."""
        self.deliver(self._mailer.compose(to, subject, text))

    def deliver(self, mail: EmailMessage) -> None:
        """Hand one mail over. Raises MailRefusedError."""
        self._mailer.show(mail)
        if self._smtp:
            with _named(MailRefusedError):
                self._smtp.send_message(mail)


class Mailer:
    """Sends in the background, so that no answer tells by its time whether there was a mail."""

    def __init__(self, config: Config) -> None:
        self._config = config.mail
        self._is_demo = config.demo
        self.threads = MailThreads()
        self.mailbox: deque[EmailMessage] = deque(maxlen=20)

    def drain(self) -> None:
        """Wait until everything in the background is done."""
        self.threads.drain()

    def close(self) -> None:
        """Finish what is under way and end the threads."""
        self.threads.close()

    def check(self) -> None:
        """Go as far as a mail would, and send none. Raises MailError, named after its cause."""
        if self._config.server:
            with self.connect():
                pass

    def send(self, to: str, subject: str, text: str) -> None:
        """Send one mail of plain text. Raises MailError."""
        mail = self.compose(to, subject, text)
        with self.connect() as outgoing:
            outgoing.deliver(mail)

    @contextmanager
    def connect(self) -> Iterator[Outgoing]:
        """Open the way as far as the recipient, whose address is not needed. Raises MailError."""
        if self._config.server:
            with _signed_in(self._config, self._config.server) as smtp:
                yield Outgoing(self, smtp)
        elif self._is_demo:
            yield Outgoing(self, None)
        else:
            raise MailError("MAIL_SERVER is not set")

    def compose(self, to: str, subject: str, text: str) -> EmailMessage:
        """One mail of plain text, not sent yet."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self._config.default_sender, to, subject
        mail["Date"] = format_datetime(utcnow())
        mail["Message-ID"] = make_msgid(domain=_sender(self._config).rpartition("@")[2])
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office note comes back
        mail.set_content(text)
        return mail

    def show(self, mail: EmailMessage) -> None:
        """Put a mail into the mailbox of a demo and print it; nothing in a live installation."""
        if self._is_demo:
            self.mailbox.appendleft(mail)
            sys.stdout.write(f"\n--- Demo mail to {mail['To']} ---\n{mail.get_content()}---\n")
            sys.stdout.flush()


def _sender(config: MailConfig) -> str:
    """The address of the sender, without a name."""
    return parseaddr(config.default_sender)[1]


@contextmanager
def _named(error: type[MailError]) -> Iterator[None]:
    """Raise what goes wrong as `error`, named after its cause."""
    try:
        yield
    # A password that is not ASCII raises ValueError, whose text holds it.
    except (OSError, smtplib.SMTPException, ValueError) as cause:
        raise error(type(cause).__name__) from None


@contextmanager
def _signed_in(config: MailConfig, server: str) -> Iterator[smtplib.SMTP]:
    """A conversation with the server, encrypted, logged in and with our sender accepted."""
    context = ssl.create_default_context()
    with ExitStack() as stack:
        with _named(MailError):
            smtp = _connect(config, server, context)
            stack.callback(_hang_up, smtp)
            if config.use_tls:
                smtp.starttls(context=context)
            if config.username and config.password:
                smtp.login(config.username, config.password)
            smtp.ehlo_or_helo_if_needed()
            code, reason = smtp.mail(_sender(config))
            if code == LOGIN_OR_TLS_FIRST:
                raise MailError("SMTPAuthenticationRequired")
            if code != 250:
                raise smtplib.SMTPSenderRefused(code, reason, "")
            smtp.rset()
        yield smtp


def _hang_up(smtp: smtplib.SMTP) -> None:
    with suppress(OSError, smtplib.SMTPException):
        smtp.quit()
    smtp.close()


def _connect(config: MailConfig, server: str, context: ssl.SSLContext) -> smtplib.SMTP:
    if config.use_ssl:
        return smtplib.SMTP_SSL(server, config.port, timeout=TIMEOUT, context=context)
    return smtplib.SMTP(server, config.port, timeout=TIMEOUT)


def init_app(app: Flask) -> None:
    app.extensions["mailer"] = Mailer(app.config["SETTINGS"])


def can_mail() -> bool:
    """Whether there is a way for mail at all: a server, or the mailbox of a demo."""
    config = settings()
    return config.demo or config.mail.server is not None


def current_mailer() -> Mailer:
    mailer: Mailer = current_app.extensions["mailer"]
    return mailer
