"""Hourly limits of sign-in mails: no client can flood an address or lock its owner out.

A client may request 20 mails, 5 of them to one address. An IPv6 customer may own a /56 or a /48,
which have two and four times these limits: 40 and 80, and 10 and 20 to one address. All clients
together have 50 to one address; beyond these each network (/48, or /24 of IPv4) has one more, 150
in all. So one address gets at most 5 mails an hour from an IPv4 client, 20 from an IPv6 site and
150 in total, and blocking its sign-in by mail takes a hundred networks.
"""

import hmac
import re
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db, settings
from smstracker.models.rate_limits import RateLimit, RateLimitRule

MAILS_OF_CLIENT = 20
MAILS_OF_CLIENT_TO_ADDRESS = 5
# Strangers can use this limit up, so it is far above what one person needs.
MAILS_TO_ADDRESS = 50
# When that limit is used up: one more for each network.
EXTRA_MAILS_OF_NETWORK = 1
EXTRA_MAILS_TO_ADDRESS = 100

# Prefix lengths that one IPv6 customer may own, and the multiple of a client's limit.
IPV6_NETWORK_SHARES = ((64, 1), (56, 2), (48, 4))

# A client as proxies write it: with a port, IPv6 in brackets, both in quotes.
_ADDRESS = re.compile(r'"?(?:\[(?P<bracketed>[^\]]*)\]|(?P<plain>[^:\[\]"]*))(?::[^:\]"]*)?"?')

IPAddress = IPv4Address | IPv6Address


def parse_client(text: str | None) -> IPAddress | None:
    """Parse a client's address as the server or a proxy wrote it, without port and zone.

    None for a name without an address, such as "unknown" or an obfuscated "_hidden" (RFC 7239).
    """
    text = (text or "").strip()
    match = _ADDRESS.fullmatch(text)
    address_text = (match["bracketed"] or match["plain"] or "") if match else text
    try:
        address = ip_address(address_text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def network_key(address: IPAddress | None) -> str:
    """The key of the largest network that one customer may own: a /48, or a /24 of IPv4."""
    if isinstance(address, IPv4Address) and not address.is_loopback:
        return f"{int(address) >> 8:06x}/24"
    return network_shares(address)[-1][0]


def network_shares(address: IPAddress | None) -> list[tuple[str, int]]:
    """The keys of a client and the networks around it, each with its multiple of the limit.

    The client itself comes first: of IPv6 its /64, the least that a customer has.
    """
    if address is None:
        return [("unknown", 1)]
    if isinstance(address, IPv6Address) and not address.is_loopback:
        return [
            (f"{int(address) >> 128 - width:0{width // 4}x}/{width}", times)
            for width, times in IPV6_NETWORK_SHARES
        ]
    return [(str(address), 1)]


def count_mail(email: str, client: IPAddress | None) -> timedelta | None:
    """Count a request for a mail to a normalized address; the time to wait if it is refused.

    A refusal is not counted and only reads, so repeated requests never block writers.
    """
    address_hash = hmac.digest(settings().secret_key.encode(), email.encode(), "sha256").hex()
    client_rules = _client_rules(address_hash, client)
    address_rule = RateLimitRule(f"sign-in/address/{address_hash}", MAILS_TO_ADDRESS)
    wait = _count_or_wait([*client_rules, address_rule])
    if wait is None:
        return None
    extra_rules = (
        RateLimitRule(f"sign-in/more/{network_key(client)}/{address_hash}", EXTRA_MAILS_OF_NETWORK),
        RateLimitRule(f"sign-in/more/{address_hash}", EXTRA_MAILS_TO_ADDRESS),
    )
    extra_wait = _count_or_wait([*client_rules, *extra_rules])
    return extra_wait and min(wait, extra_wait)


def _client_rules(address_hash: str, client: IPAddress | None) -> list[RateLimitRule]:
    rules = []
    for key, times in network_shares(client):
        rules.append(RateLimitRule(f"sign-in/client/{key}", MAILS_OF_CLIENT * times))
        max_mails = MAILS_OF_CLIENT_TO_ADDRESS * times
        rules.append(RateLimitRule(f"sign-in/client-address/{key}/{address_hash}", max_mails))
    return rules


def _count_or_wait(rules: list[RateLimitRule]) -> timedelta | None:
    """Count against all rules, or against none; the time to wait if one is reached."""
    with reading_connection(db.engine) as connection:
        wait = RateLimit.retry_after(connection, rules)
    if wait:
        return wait
    with db.engine.connect() as connection:
        RateLimit.hit(connection, rules)
        # Other requests may have been counted.
        wait = RateLimit.retry_after(connection, rules, own_hits=1)
        if wait is None:
            RateLimit.purge(connection, utcnow())
            connection.commit()
    return wait
