"""A real SMTP server that records the mails it receives."""

import re
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class SmtpHandler:
    """Appends each mail to the inbox."""

    def __init__(self, inbox: "Inbox") -> None:
        self.inbox = inbox

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: object
    ) -> str:
        if self.inbox.refusals:
            return self.inbox.refusals.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        mail = message_from_bytes(content, EmailMessage, policy=policy.default)
        text = mail.get_content().replace("\r\n", "\n")
        self.inbox.mails.append((str(envelope.rcpt_tos[0]), text))
        self.inbox.subjects.append(mail["Subject"])
        self.inbox.arrived.set()
        return "250 OK"


class Inbox:
    """Mails as (recipient, text), oldest first; `refusals` are the replies to the next ones."""

    def __init__(self, port: int) -> None:
        self.mails: list[tuple[str, str]] = []
        self.subjects: list[str] = []
        self.refusals: list[str] = []
        self.arrived = threading.Event()
        self.controller = Controller(SmtpHandler(self), "127.0.0.1", port)

    @property
    def newest(self) -> str:
        return self.mails[-1][1]

    @property
    def link(self) -> str:
        """The path of the newest sign-in link."""
        match = re.search(r"https?://[^/\s]+(/auth/link/\S+)", self.newest)
        assert match, self.newest
        return match[1]

    @property
    def code(self) -> str:
        match = re.search(r"^(\d{6})$", self.newest, re.MULTILINE)
        assert match, self.newest
        return match[1]
