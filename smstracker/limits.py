"""Limits on sign-in: counted in the app's own database, so that every process counts together."""

import hashlib
import time
from ipaddress import IPv6Address, ip_address

from flask import request
from limits.storage import Storage
from sqlalchemy import case, delete, func, select
from sqlalchemy.exc import SQLAlchemyError

from smstracker.clock import utcnow
from smstracker.database import insert
from smstracker.extensions import db
from smstracker.models import RateLimit


def client_address() -> str:
    """The client's address as a limit sees it: one IPv6 customer has a whole /64."""
    try:
        address = ip_address(request.remote_addr or "::")
    except ValueError:  # a proxy may say "unknown", or add a port
        return (request.remote_addr or "")[:64]
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    if isinstance(address, IPv6Address) and not address.is_loopback:
        return f"{int(address) >> 64:016x}/64"
    return str(address)


def mail_address() -> str:
    """A digest of the address that a sign-in mail is asked for; the same for every spelling."""
    typed = request.form.get("email", "").strip().casefold()
    return hashlib.sha256(typed.encode(errors="replace")).hexdigest()


class DatabaseStorage(Storage):
    """Fixed windows for Flask-Limiter, in the table `rate_limit`."""

    STORAGE_SCHEME = ["appdb"]

    @property
    def base_exceptions(self) -> type[Exception]:
        return SQLAlchemyError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = time.time()
        over = RateLimit.expires_at <= now
        with db.engine.begin() as connection:
            fresh = insert(db.engine, RateLimit).values(
                key=key, hits=amount, expires_at=now + expiry
            )
            counted = fresh.on_conflict_do_update(
                index_elements=[RateLimit.key],
                set_={
                    "hits": case((over, amount), else_=RateLimit.hits + amount),
                    "expires_at": case((over, now + expiry), else_=RateLimit.expires_at),
                },
            ).returning(RateLimit.hits)
            hits = connection.execute(counted).scalar_one()
            RateLimit.purge(connection, utcnow())
        return hits

    def get(self, key: str) -> int:
        live = (RateLimit.key == key) & (RateLimit.expires_at > time.time())
        with db.engine.connect() as connection:
            return connection.execute(select(RateLimit.hits).where(live)).scalar() or 0

    def get_expiry(self, key: str) -> float:
        with db.engine.connect() as connection:
            ends = select(RateLimit.expires_at).where(RateLimit.key == key)
            return connection.execute(ends).scalar() or time.time()

    def check(self) -> bool:
        with db.engine.connect() as connection:
            connection.execute(select(1))
        return True

    def reset(self) -> int:
        with db.engine.begin() as connection:
            gone = connection.execute(select(func.count()).select_from(RateLimit)).scalar_one()
            connection.execute(delete(RateLimit))
        return gone

    def clear(self, key: str) -> None:
        with db.engine.begin() as connection:
            connection.execute(delete(RateLimit).where(RateLimit.key == key))
