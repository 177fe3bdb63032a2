"""Mail by SMTP with verified certificates, or into the demo mailbox."""

import re
import smtplib
import socket
import ssl
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid, parseaddr
from functools import partial
from threading import Event, Timer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Flask, current_app

from smstracker.clock import utcnow
from smstracker.mail_threads import MailThreads
from smstracker.network_errors import TEMPORARY, first_cause, is_temporary
from smstracker.settings.mail import MailConfig

if TYPE_CHECKING:
    from config import Config

STEP_TIMEOUT = 30.0  # seconds for each step; some servers greet late on purpose
SESSION_TIMEOUT = 60.0  # seconds for all steps, however slowly the server writes
AUTHENTICATION_REQUIRED = 530  # RFC 4954, RFC 3207

Deliver = Callable[[EmailMessage], None]


class MailError(Exception):
    """The mail server did not accept a mail; the text is the class name of the cause."""

    @property
    def is_temporary(self) -> bool:
        """Whether the server asks to try again later, as in greylisting."""
        return is_temporary(str(self))


class MailRefusedError(MailError):
    """The mail server works, but refused this mail."""


class Mailer:
    """Sends mail, and holds the threads for sign-in mails and the demo mailbox."""

    def __init__(self, config: "Config") -> None:
        self._config = config.mail
        self._is_demo = config.demo
        self._own_name = _own_name(config.public_base_url)
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
        session = _smtp_session(self._config, server, self._own_name) if server else nullcontext()
        with session as smtp:
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
        raise error(_name(cause)) from None


def _name(error: BaseException) -> str:
    """What network_errors.toml knows a failure by: a class name, or one with a reply code."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _reply in error.recipients.values()]
    else:
        codes = [getattr(error, "smtp_code", 0)]
    if any(400 <= code < 500 for code in codes):
        return f"{TEMPORARY} {max(codes)}"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return type(first_cause(error)).__name__  # a timeout, for example
    return type(error).__name__


@contextmanager
def _smtp_session(config: MailConfig, server: str, own_name: str | None) -> Iterator[smtplib.SMTP]:
    """An SMTP session: encrypted, logged in, with our sender accepted."""
    with ExitStack() as stack:
        with _raise_as(MailError):
            smtp = _new_client(config, server, own_name)
            stack.enter_context(_time_limit(smtp))
            _require(smtp.connect(server, config.port), smtplib.SMTPConnectError)
            stack.callback(_quit, smtp)
            _greet(smtp)
            if config.use_tls:
                smtp.starttls(context=ssl.create_default_context())
                _greet(smtp)
            if config.username and config.password:
                smtp.login(config.username, config.password)
            code, reason = smtp.mail(parseaddr(config.default_sender)[1])
            if code == AUTHENTICATION_REQUIRED:
                raise MailError("SMTPAuthenticationRequired")
            if code != 250:
                raise smtplib.SMTPSenderRefused(code, reason, "")
            smtp.rset()
        yield smtp


def _greet(smtp: smtplib.SMTP) -> None:
    """Say our name; of a server that does not know EHLO, smtplib then asks with HELO."""
    code, reason = smtp.ehlo()
    if 400 <= code < 500:
        raise smtplib.SMTPHeloError(code, reason)
    smtp.ehlo_or_helo_if_needed()


def _require(reply: tuple[int, bytes], error: type[smtplib.SMTPResponseException]) -> None:
    code, reason = reply
    if code != 220:
        raise error(code, reason)


@contextmanager
def _time_limit(smtp: smtplib.SMTP) -> Iterator[None]:
    """End the connection after SESSION_TIMEOUT; the step that waits then fails as a timeout."""
    is_late = Event()

    def end() -> None:
        is_late.set()
        if smtp.sock:
            with suppress(OSError):
                smtp.sock.shutdown(socket.SHUT_RDWR)

    timer = Timer(SESSION_TIMEOUT, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, smtplib.SMTPException, MailError) as error:
        if not is_late.is_set():
            raise
        late = TimeoutError.__name__
        raise (type(error)(late) if isinstance(error, MailError) else MailError(late)) from None
    finally:
        timer.cancel()
        smtp.close()


def _quit(smtp: smtplib.SMTP) -> None:
    with suppress(OSError, smtplib.SMTPException):
        smtp.quit()


def _new_client(config: MailConfig, server: str, own_name: str | None) -> smtplib.SMTP:
    """A client that is not connected yet, and says that this machine is `own_name`."""
    if config.use_ssl:
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(
            timeout=STEP_TIMEOUT, context=ssl.create_default_context(), local_hostname=own_name
        )
    else:
        smtp = smtplib.SMTP(timeout=STEP_TIMEOUT, local_hostname=own_name)
    # Compared with the name in the certificate. smtplib sets it only if it connects at once.
    smtp._host = server  # type: ignore[attr-defined]
    return smtp


def _own_name(public_base_url: str) -> str | None:
    """The name of this machine for mail servers, if it is one: some refuse mere addresses."""
    host = urlsplit(public_base_url).hostname or ""
    return host if re.search(r"\.[a-z][a-z0-9-]*$", host) else None


def init_app(app: Flask) -> None:
    app.extensions["mailer"] = Mailer(app.config["SETTINGS"])


def current_mailer() -> Mailer:
    mailer: Mailer = current_app.extensions["mailer"]
    return mailer
