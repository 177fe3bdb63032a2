"""Who may ask for how many sign-in mails an hour: no client floods, nobody locks others out."""

import hashlib
import re
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

from smstracker.clock import utcnow
from smstracker.database import READS_ONLY
from smstracker.extensions import db
from smstracker.models.rate_limits import Limit, RateLimit

MAILS_OF_CLIENT = 20
MAILS_OF_CLIENT_TO_ADDRESS = 5
# Strangers can use it up, so it is far above what one person asks for.
MAILS_TO_ADDRESS = 50

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
    """A client as a limit counts it: one IPv6 customer has a whole /64."""
    if address is None:
        return "unknown"
    if isinstance(address, IPv6Address) and not address.is_loopback:
        return f"{int(address) >> 64:016x}/64"
    return str(address)


def count_mail(email: str, client: IPAddress | None) -> timedelta | None:
    """Count a request for a mail, `email` in its one spelling; how long to wait if refused.

    A refusal counts against nobody and only reads: whoever goes on asking keeps nobody from
    writing.
    """
    limits = _limits(email, client_key(client))
    with db.engine.connect().execution_options(**{READS_ONLY: True}) as connection:
        wait = RateLimit.wait(connection, limits)
    if wait:
        return wait
    with db.engine.connect() as connection:
        RateLimit.hit(connection, limits)
        wait = RateLimit.wait(connection, limits, own=1)  # others were counted meanwhile
        if wait is None:
            RateLimit.purge(connection, utcnow())
            connection.commit()
    return wait


def _limits(email: str, client: str) -> tuple[Limit, ...]:
    address = hashlib.sha256(email.encode()).hexdigest()
    return (
        Limit(f"sign-in/client/{client}", MAILS_OF_CLIENT),
        Limit(f"sign-in/client-address/{client}/{address}", MAILS_OF_CLIENT_TO_ADDRESS),
        Limit(f"sign-in/address/{address}", MAILS_TO_ADDRESS),
    )
