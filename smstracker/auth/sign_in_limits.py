"""Who may ask for how many sign-in mails an hour: no client floods, nobody locks others out.

A client has 20, and 5 to one address. An IPv6 customer may own a /56 or a /48, so these have twice
and four times as many: 40 and 80, and 10 and 20 to one address. All clients together have 50 to one
address, and beyond these each network (/48, or /24 of IPv4) has one more, 150 in all. So one person
gets at most 5 mails an hour from an IPv4 address, 20 from an IPv6 site, 150 from the whole world;
and keeping somebody from signing in by mail takes a hundred networks.
"""

import hashlib
import re
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

from smstracker.clock import utcnow
from smstracker.database.engine import READS_ONLY
from smstracker.extensions import db
from smstracker.models.rate_limits import RateLimit, RateLimitRule

MAILS_OF_CLIENT = 20
MAILS_OF_CLIENT_TO_ADDRESS = 5
# Strangers can use it up, so it is far above what one person asks for.
MAILS_TO_ADDRESS = 50
# For those who find it used up: one for each network.
MORE_MAILS_OF_NETWORK = 1
MORE_MAILS_TO_ADDRESS = 100

# Networks that one IPv6 customer may own, and how many times the mails of a client they have.
IPV6_SHARES = ((64, 1), (56, 2), (48, 4))

# How proxies write a client: with a port, brackets around IPv6, quotes around both.
_WITH_PORT = re.compile(r'"?(?:\[(?P<bracketed>[^\]]*)\]|(?P<plain>[^:\[\]"]*))(?::[^:\]"]*)?"?')

IPAddress = IPv4Address | IPv6Address


def parse_client(text: str | None) -> IPAddress | None:
    """The address of a client as the server or a proxy wrote it, without port and zone.

    None for what names no address, such as "unknown" or an obfuscated "_hidden" (RFC 7239).
    """
    text = (text or "").strip()
    match = _WITH_PORT.fullmatch(text)
    bare = (match["bracketed"] or match["plain"] or "") if match else text
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def client_key(address: IPAddress | None) -> str:
    """A client as a limit counts it: one IPv6 customer has a /64 at least."""
    return _shares(address)[0][0]


def network_key(address: IPAddress | None) -> str:
    """The largest network that one customer is likely to own: a /48, or a /24 of IPv4."""
    if isinstance(address, IPv4Address) and not address.is_loopback:
        return f"{int(address) >> 8:06x}/24"
    return _shares(address)[-1][0]


def _shares(address: IPAddress | None) -> list[tuple[str, int]]:
    """A client and the networks around it, each with how many times the mails of a client."""
    if address is None:
        return [("unknown", 1)]
    if isinstance(address, IPv6Address) and not address.is_loopback:
        return [
            (f"{int(address) >> 128 - width:0{width // 4}x}/{width}", times)
            for width, times in IPV6_SHARES
        ]
    return [(str(address), 1)]


def count_mail(email: str, client: IPAddress | None) -> timedelta | None:
    """Count a request for a mail, `email` in its one spelling; how long to wait if refused.

    A refusal counts against nobody and only reads: whoever goes on asking keeps nobody from
    writing.
    """
    address = hashlib.sha256(email.encode()).hexdigest()
    own = _limits_of_client(address, client)
    wait = _count([*own, RateLimitRule(f"sign-in/address/{address}", MAILS_TO_ADDRESS)])
    if wait is None:
        return None
    more = (
        RateLimitRule(f"sign-in/more/{network_key(client)}/{address}", MORE_MAILS_OF_NETWORK),
        RateLimitRule(f"sign-in/more/{address}", MORE_MAILS_TO_ADDRESS),
    )
    longer_wait = _count([*own, *more])
    return longer_wait and min(wait, longer_wait)


def _limits_of_client(address: str, client: IPAddress | None) -> list[RateLimitRule]:
    limits = []
    for key, times in _shares(client):
        limits.append(RateLimitRule(f"sign-in/client/{key}", MAILS_OF_CLIENT * times))
        most = MAILS_OF_CLIENT_TO_ADDRESS * times
        limits.append(RateLimitRule(f"sign-in/client-address/{key}/{address}", most))
    return limits


def _count(limits: list[RateLimitRule]) -> timedelta | None:
    """Count against all of the limits, or against none; how long to wait if one is reached."""
    with db.engine.connect().execution_options(**{READS_ONLY: True}) as connection:
        wait = RateLimit.retry_after(connection, limits)
    if wait:
        return wait
    with db.engine.connect() as connection:
        RateLimit.hit(connection, limits)
        wait = RateLimit.retry_after(
            connection, limits, own_hits=1
        )  # others were counted meanwhile
        if wait is None:
            RateLimit.purge(connection, utcnow())
            connection.commit()
    return wait
