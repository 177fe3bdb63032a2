"""Callback URLs, with the connection overrides in their fragment.

Keys, ranges and defaults are those of Twilio's "Webhook(s) connection overrides".
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from smstracker.simulator.api_errors import ApiError, require

INVALID_URL = 21609
MAX_LENGTH = 4000

# Printable ASCII only, and no underscore in the host, as at Twilio.
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:[^/?#@\s]*@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:[/?][!\"$-~]*)?)"
    r"(?:#(?P<fragment>[!-~]*))?"
)
_DEFAULTS = {"ct": "5000", "rt": "15000", "tt": "15000", "rc": "1", "rp": "ct"}
# Milliseconds, and a count of retries.
_RANGES = {"ct": (100, 10_000), "rt": (100, 15_000), "tt": (100, 15_000), "rc": (0, 5)}
_POLICIES = frozenset({"4xx", "5xx", "ct", "rt", "all"})
# Accepted without effect: the receiver is on the same machine.
_IGNORED_OVERRIDES = frozenset({"e", "sni"})


@dataclass(frozen=True, slots=True)
class ConnectionOverrides:
    """Time-outs in seconds; `total` limits all attempts together."""

    connect: float
    read: float
    total: float
    retries: int
    policy: frozenset[str]

    def retries_on(self, failure: str) -> bool:
        return "all" in self.policy or failure in self.policy


@dataclass(frozen=True, slots=True)
class CallbackUrl:
    """A parsed callback URL; `path` is the path and query verbatim, possibly empty."""

    scheme: str
    host: str
    port: int | None
    path: str
    overrides: ConnectionOverrides

    @property
    def signed(self) -> str:
        """The URL that the signature covers: no fragment, no user, the port as written."""
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.path}"

    @property
    def target(self) -> str:
        """The request target: path and query, byte for byte."""
        return self.path if self.path.startswith("/") else f"/{self.path}"


def parse_callback_url(url: str) -> CallbackUrl:
    """Parse and check a callback URL. Raises ApiError."""
    match = _URL.fullmatch(url)
    if match is None or len(url) > MAX_LENGTH:
        raise ApiError(INVALID_URL)
    port = int(match["port"]) if match["port"] else None
    require(port is None or 0 < port < 65536, INVALID_URL)
    overrides = _parse_overrides(match["fragment"] or "")
    return CallbackUrl(match["scheme"], match["host"], port, match["path"], overrides)


def _parse_overrides(fragment: str) -> ConnectionOverrides:
    parts = [unquote(part).partition("=") for part in fragment.split("&") if fragment]
    require(all(equals for _, equals, _ in parts), INVALID_URL)
    overrides = _DEFAULTS | {key: value for key, _, value in parts}
    require(overrides.keys() <= _DEFAULTS.keys() | _IGNORED_OVERRIDES, INVALID_URL)
    policy = frozenset(overrides["rp"].split(","))
    require(policy <= _POLICIES, INVALID_URL)
    connect, read, total, retries = (
        _parse_integer(overrides[key], *limits) for key, limits in _RANGES.items()
    )
    return ConnectionOverrides(connect / 1000, read / 1000, total / 1000, retries, policy)


def _parse_integer(value: str, low: int, high: int) -> int:
    require(re.fullmatch(r"[0-9]{1,6}", value) and low <= int(value) <= high, INVALID_URL)
    return int(value)
