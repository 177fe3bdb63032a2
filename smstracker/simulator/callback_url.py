"""The address of a status callback, with the connection overrides in its fragment.

The keys, their ranges and their defaults are those of Twilio's "Webhook(s) connection overrides".
"""

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import unquote

MAX_LENGTH = 4000

# Printable ASCII only, and no underscore in the host: Twilio refuses those addresses too.
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:[^/?#@\s]*@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:[/?][!\"$-~]*)?)"
    r"(?:#(?P<fragment>[!-~]*))?"
)
_MILLISECONDS = {"ct": (100, 10_000), "rt": (100, 15_000), "tt": (100, 15_000)}
_POLICIES = frozenset({"4xx", "5xx", "ct", "rt", "all"})
# Accepted, and without meaning for a carrier that runs on the receiver's own machine.
_IGNORED = frozenset({"e", "sni"})


class CallbackUrlError(ValueError):
    """The address, or the fragment with its overrides, is not one that Twilio accepts."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """Times in seconds. `total` is the budget of all attempts together."""

    connect: float = 5.0
    read: float = 15.0
    total: float = 15.0
    retries: int = 1
    policy: frozenset[str] = field(default=frozenset({"ct"}))

    def retries_on(self, failure: str) -> bool:
        return "all" in self.policy or failure in self.policy


@dataclass(frozen=True, slots=True)
class CallbackUrl:
    """`path` is the path and query as they were given, which may be nothing at all."""

    scheme: str
    host: str
    port: int | None
    path: str
    overrides: Overrides

    @property
    def signed(self) -> str:
        """The address that the signature covers: no fragment, no user, the port as it was given."""
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.path}"

    @property
    def target(self) -> str:
        """What the request line asks for: the path and query, byte for byte."""
        return self.path if self.path.startswith("/") else f"/{self.path}"

    @property
    def is_loopback(self) -> bool:
        """Whether the host can only be this machine, where the real Twilio would reach nothing."""
        name = self.host.strip("[]").rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or address.is_unspecified


def parse_callback_url(url: str) -> CallbackUrl:
    """Raises `CallbackUrlError`."""
    found = _URL.fullmatch(url)
    if found is None or len(url) > MAX_LENGTH:
        raise CallbackUrlError("not an http or https address")
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 0 < port < 65536:
        raise CallbackUrlError("no such port")
    overrides = _parse_overrides(found["fragment"] or "")
    return CallbackUrl(found["scheme"], found["host"], port, found["path"], overrides)


def _parse_overrides(fragment: str) -> Overrides:
    given = dict(_pair(part) for part in fragment.split("&")) if fragment else {}
    if given.keys() - _MILLISECONDS.keys() - _IGNORED - {"rc", "rp"}:
        raise CallbackUrlError("an unknown connection override")
    default = Overrides()
    return Overrides(
        connect=_seconds(given, "ct", default.connect),
        read=_seconds(given, "rt", default.read),
        total=_seconds(given, "tt", default.total),
        retries=_whole(given["rc"], 0, 5) if "rc" in given else default.retries,
        policy=_policy(given["rp"]) if "rp" in given else default.policy,
    )


def _pair(part: str) -> tuple[str, str]:
    key, equals, value = unquote(part).partition("=")
    if not equals:
        raise CallbackUrlError("a connection override without a value")
    return key, value


def _seconds(given: dict[str, str], key: str, default: float) -> float:
    return _whole(given[key], *_MILLISECONDS[key]) / 1000 if key in given else default


def _whole(value: str, low: int, high: int) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", value) or not low <= int(value) <= high:
        raise CallbackUrlError("a connection override out of its range")
    return int(value)


def _policy(value: str) -> frozenset[str]:
    policy = frozenset(value.split(","))
    if not policy <= _POLICIES:
        raise CallbackUrlError("an unknown retry policy")
    return policy
