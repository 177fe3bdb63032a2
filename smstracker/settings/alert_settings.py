"""The settings of alerts: who gets them, and where a sign of life goes."""

import base64
import binascii
import re
from urllib.parse import urlsplit

from smstracker.settings.addresses import is_loopback, parse_host
from smstracker.settings.mail_addresses import MailAddressError, normalize_email
from smstracker.settings.reader import Reader

SECRET_PREFIX = "whsec_"  # noqa: S105
SECRET_BYTES = range(24, 65)  # Standard Webhooks, "Signature scheme"
_URL_SHAPE = "an address that begins with https:// unless it is a loopback address"


def read_alert_email(reader: Reader, name: str) -> tuple[str, ...]:
    """Return the addresses in their one spelling, each once."""
    addresses: list[str] = []
    for number, entry in enumerate(reader.words(name), start=1):
        try:
            addresses.append(normalize_email(entry))
        except MailAddressError:
            problem = (
                "must be a comma list of whole addresses, such as ops@example.org; "
                f"entry {number} is none"
            )
            reader.problem(name, problem)
    if addresses and not (reader.demo or reader.text("MAIL_SERVER")):
        reader.problem("MAIL_SERVER", f"required, because {name} is set")
    return tuple(dict.fromkeys(addresses))


def read_webhook_url(reader: Reader, name: str) -> str | None:
    return reader.parsed(name, None, _parse_url, _URL_SHAPE)


def read_webhook_secret(reader: Reader, name: str) -> str | None:
    shape = "whsec_ and 24 to 64 bytes in base64: whsec_$(openssl rand -base64 32)"
    secret = reader.parsed(name, None, _parse_secret, shape)
    names = ("ALERT_WEBHOOK_URL", name)
    present = [other for other in names if reader.text(other)]
    if len(present) == 1:
        [missing] = set(names) - set(present)
        reader.problem(missing, f"required, because {present[0]} is set")
    return secret


def read_heartbeat_url(reader: Reader, name: str) -> str | None:
    return reader.parsed(name, None, _parse_url, _URL_SHAPE)


def _parse_url(raw: str) -> str | None:
    """Return an address with any path and query; None for another one, or one with a user."""
    try:
        parts = urlsplit(raw)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        return None
    is_plain = re.fullmatch(r"[!-~]+", raw) and "@" not in parts.netloc and port != 0
    is_secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    return raw if is_plain and is_secure and host and parse_host(host) else None


def _parse_secret(raw: str) -> str | None:
    try:
        key = base64.b64decode(raw.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if raw.startswith(SECRET_PREFIX) and len(key) in SECRET_BYTES else None
