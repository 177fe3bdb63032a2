"""Host names, IP addresses and base URLs."""

import re
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from smstracker.settings.reader import Reader, parsed

TWILIO_API = "https://api.twilio.com"
HTTPS_REQUIRED = "must begin with https:// unless it is a loopback address"
_HOST_NAME = re.compile(r"\w[\w-]*(\.\w[\w-]*)*\.?")
# A name that ends in a number is read as an address, and 127.1 or 0x7f.1 as another one.
NUMERIC_NAME = re.compile(r"(.*\.)?(\d+|0[xX][0-9A-Fa-f]*)\.?")


def parse_host(raw: str) -> str | None:
    """Return a host name or an IP address; None for 192.168.1.256, which is neither."""
    try:
        ip_address(raw)
    except ValueError:
        is_name = _HOST_NAME.fullmatch(raw) and not NUMERIC_NAME.fullmatch(raw)
        return raw if is_name else None
    return raw


def read_port(reader: Reader, name: str = "PORT") -> int:
    return reader.number(name, 8000, 1, 65535)


def read_simulator_port(reader: Reader, name: str = "SIMULATOR_PORT") -> int:
    port = read_port(reader)
    simulator_port = reader.number(name, port + 1 if port < 65535 else 65534, 1, 65535)
    if reader.demo and simulator_port == port:
        reader.problem(name, "must be another port than PORT")
    return simulator_port


def parse_bind_address(raw: str) -> str | None:
    """Return an IP address or a name that resolves here. The server checks that it is free."""
    if parse_host(raw) is None:
        return None
    try:
        socket.getaddrinfo(raw, None)
    except (OSError, UnicodeError):
        return None
    return raw


def read_public_base_url(reader: Reader, name: str) -> str:
    raw = reader.text(name)
    if raw is None:
        if not reader.demo:
            reader.problem(name, "required: the https address at which Twilio reaches this app")
        return f"http://127.0.0.1:{read_port(reader)}"
    base = parse_base_url(raw)
    if base is None:
        reader.problem(name, "must be like https://sms.example.org, with no path, query or user")
        return ""
    return _require_https(reader, name, base)


def read_api_base_url(reader: Reader, name: str) -> str:
    if reader.demo:
        return f"http://127.0.0.1:{read_simulator_port(reader)}"
    shape = "an address such as https://api.example.org"
    return _require_https(reader, name, reader.parsed(name, TWILIO_API, parse_base_url, shape))


def parse_base_url(raw: str) -> str | None:
    """Return `raw` as scheme://host[:port]; None if it is anything else or more."""
    try:
        parts = urlsplit(raw)
        port = parts.port
    except ValueError:
        return None
    extra = parts.path.rstrip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or not parts.hostname or extra or port == 0:
        return None
    if not re.fullmatch(r"[A-Za-z0-9.\-:\[\]]+", parts.netloc) or not parse_host(parts.hostname):
        return None
    return f"{parts.scheme}://{parts.netloc}"


def _require_https(reader: Reader, name: str, base: str) -> str:
    if not (base.startswith("https://") or is_loopback(urlsplit(base).hostname or "")):
        reader.problem(name, HTTPS_REQUIRED)
    return base


def is_loopback(host: str) -> bool:
    """Check that a host name or address can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def find_inner_address(host: str) -> str | None:
    """Find to what `host` leads on this machine: "loopback" or "private".

    None if it leads to public addresses only, or to none.
    """
    try:
        resolved = [ip_address(entry[4][0]) for entry in socket.getaddrinfo(host, None)]
    except (OSError, UnicodeError, ValueError):
        return None
    if any(address.is_loopback for address in resolved):
        return "loopback"
    return "private" if any(not address.is_global for address in resolved) else None


read_bind_address = parsed("127.0.0.1", parse_bind_address, "an IP address of this machine")
