"""The settings of mail, and who may sign in by it."""

import re
from dataclasses import dataclass, field
from email.headerregistry import Address

from smstracker.settings.addresses import is_loopback, parse_host
from smstracker.settings.mail_addresses import MailAddressError, normalize_email, normalize_entry
from smstracker.settings.reader import Reader

MAIL_SETTINGS = """
MAIL_SERVER MAIL_PORT MAIL_USERNAME MAIL_PASSWORD MAIL_USE_TLS MAIL_USE_SSL MAIL_DEFAULT_SENDER
"""
# `"Name" <address>` or `Name <address>`. An @ in a name that is not quoted is a second address.
_NAMED_SENDER = re.compile(r'(?:"((?:[^"\\]|\\.)*)"|((?:[^<>@"]|"[^<>@"]*")*?)) *<([^<>]*)>')
_NO_HEADER_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class MailConfig:
    """The settings of mail; `server` is None when no SMTP server is set."""

    server: str | None
    port: int
    username: str | None
    password: str | None = field(repr=False)
    use_tls: bool
    use_ssl: bool
    default_sender: str


def read_mail(reader: Reader, name: str) -> MailConfig:
    shape = "only the host name or IP address, such as smtp.example.org; "
    server = reader.parsed(name, None, parse_host, shape + "the port belongs in MAIL_PORT")
    tls, ssl = reader.flag("MAIL_USE_TLS"), reader.flag("MAIL_USE_SSL")
    username, password = reader.text("MAIL_USERNAME"), reader.text("MAIL_PASSWORD")
    sender = _read_sender(reader, "MAIL_DEFAULT_SENDER")
    if tls and ssl:
        reader.problem("MAIL_USE_TLS", "set this or MAIL_USE_SSL, not both")
    if server and not sender:
        reader.problem("MAIL_DEFAULT_SENDER", "required, because MAIL_SERVER is set")
    if bool(username) != bool(password):
        missing = "MAIL_PASSWORD" if username else "MAIL_USERNAME"
        reader.problem(missing, "MAIL_USERNAME and MAIL_PASSWORD go together")
    if server and password and not (tls or ssl or is_loopback(server)):
        reader.problem(
            "MAIL_PASSWORD", "would travel in the clear: set MAIL_USE_TLS or MAIL_USE_SSL"
        )
    port = reader.number("MAIL_PORT", 465 if ssl else 587 if tls else 25, 1, 65535)
    default_sender = sender or "smstracker@localhost"
    return MailConfig(server, port, username, password, tls, ssl, default_sender)


def _read_sender(reader: Reader, name: str) -> str | None:
    """Return MAIL_DEFAULT_SENDER for a header: a quoted name if needed, the domain as A-label."""
    raw = reader.text(name)
    if raw is None:
        return None
    match = None if _NO_HEADER_TEXT.search(raw) else _NAMED_SENDER.fullmatch(raw)
    quoted, plain, address = match.groups() if match else (None, None, raw)
    display_name = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain or ""
    try:
        spelling = normalize_email(address)
    except MailAddressError:
        reader.problem(
            name,
            'must be one address, such as smstracker@example.org or "SMS Team" '
            "<smstracker@example.org>; quote a name that has an @",
        )
        return raw
    return str(Address(display_name, addr_spec=spelling))


def read_sign_in_allow(reader: Reader, name: str) -> tuple[str, ...] | None:
    """Return addresses and @domains in their one spelling; None, demo mode's default, for all."""
    entries: list[str] = []
    for number, entry in enumerate(reader.words(name), start=1):
        try:
            entries.append(normalize_entry(entry))
        except MailAddressError:
            problem = (
                f"must be a comma list of addresses and @domains; entry {number} is neither: for a "
                "whole domain write @example.org, with its dot, and each subdomain as an entry of "
                "its own"
            )
            reader.problem(name, problem)
    return None if reader.demo and not entries else tuple(entries)
