"""The only file that sends mail: by SMTP with certificates checked, or into the demo mailbox."""

import logging
import smtplib
import ssl
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from flask import Flask, current_app

from config import Config, MailConfig
from smstracker.clock import utcnow

log = logging.getLogger(__name__)

TIMEOUT = 15.0  # seconds, for each step of the conversation with the server
WAITING_MAILS = 200


class MailError(Exception):
    """The mail could not be handed to the server."""


class Mailer:
    """Sends in the background, so that no answer tells by its time whether there was a mail."""

    def __init__(self, config: Config) -> None:
        self._config = config.mail
        self._is_demo = config.demo
        self._threads = ThreadPoolExecutor(2, "mail")
        self._under_way: deque[Future[None]] = deque(maxlen=WAITING_MAILS)
        self.mailbox: deque[EmailMessage] = deque(maxlen=20)

    def in_background(self, task: Callable[[], None]) -> None:
        """Run `task` on a mail thread. When too many are waiting, it is dropped and logged."""
        while self._under_way and self._under_way[0].done():
            self._under_way.popleft()
        if len(self._under_way) == WAITING_MAILS:
            log.error("mail_dropped")
            return
        self._under_way.append(self._threads.submit(task))

    def drain(self) -> None:
        """Wait until everything in the background is done."""
        wait(list(self._under_way))

    def close(self) -> None:
        """Finish what is under way and end the threads."""
        self._threads.shutdown()

    def check(self) -> None:
        """Go as far as a mail would, and send none. Raises MailError, named after its cause."""
        if self._config.server:
            with _signed_in(self._config, self._config.server) as smtp:
                smtp.noop()

    def send(self, to: str, subject: str, text: str) -> None:
        """Send one mail of plain text. Raises MailError."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self._config.default_sender, to, subject
        mail["Date"] = format_datetime(utcnow())
        mail["Message-ID"] = make_msgid(domain=self._config.default_sender.rpartition("@")[2])
        mail.set_content(text)
        if self._is_demo:
            self.mailbox.appendleft(mail)
            sys.stdout.write(f"\n--- Demo mail to {to} ---\n{text}\n---\n")
            sys.stdout.flush()
        if self._config.server:
            _submit(self._config, self._config.server, mail)
        elif not self._is_demo:
            raise MailError("MAIL_SERVER is not set")


def _submit(config: MailConfig, server: str, mail: EmailMessage) -> None:
    with _signed_in(config, server) as smtp:
        smtp.send_message(mail)


@contextmanager
def _signed_in(config: MailConfig, server: str) -> Iterator[smtplib.SMTP]:
    """A conversation with the server, encrypted and logged in as set. Raises MailError."""
    context = ssl.create_default_context()
    try:
        with _connect(config, server, context) as smtp:
            if config.use_tls:
                smtp.starttls(context=context)
            if config.username and config.password:
                smtp.login(config.username, config.password)
            yield smtp
    # A password that is not ASCII raises ValueError, whose text holds it.
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise MailError(type(error).__name__) from None


def _connect(config: MailConfig, server: str, context: ssl.SSLContext) -> smtplib.SMTP:
    if config.use_ssl:
        return smtplib.SMTP_SSL(server, config.port, timeout=TIMEOUT, context=context)
    return smtplib.SMTP(server, config.port, timeout=TIMEOUT)


def init_app(app: Flask) -> None:
    app.extensions["mailer"] = Mailer(app.config["SETTINGS"])


def current_mailer() -> Mailer:
    mailer: Mailer = current_app.extensions["mailer"]
    return mailer
