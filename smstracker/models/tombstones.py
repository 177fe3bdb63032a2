"""Keyed hashes of deleted messages, so that none comes back by a callback or is sent again.

The key comes from SECRET_KEY: whoever has the database alone cannot try out all phone numbers. With
a new SECRET_KEY the hashes match nothing any more.
"""

import hmac
from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from sqlalchemy import Index, LargeBinary, bindparam, case, select
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.clock import utcnow
from smstracker.database.engine import UtcDateTime, delete_unlocked, excluded, upsert
from smstracker.extensions import Model

HASH_BYTES = 16
HASH_KEY = "smstracker_hash_key"  # an execution option


class HashedKind(StrEnum):
    """What a hash stands for; no two kinds have equal hashes."""

    SID = "sid"  # of a message that was ours
    CALLBACK_SID = "callback sid"  # of a callback, which may name a message of anybody
    PUBLIC_ID = "public id"
    FORM = "form"
    CONTENT = "content"
    NUMBER = "number"
    ADDRESS = "address"
    REQUEST = "request"  # of a program, to be told from another one under the same key


def use_secret_key(engine: Engine, secret_key: str) -> None:
    """Have the connections of an engine compute hashes with this key, also outside of an app."""
    key = hmac.digest(secret_key.encode(), b"hashes of deleted messages", sha256)
    engine.update_execution_options(**{HASH_KEY: key})


def keyed_hash(connection: Connection, kind: HashedKind, *parts: object) -> bytes:
    """Return the hash of a value, of HASH_BYTES bytes."""
    text = "\0".join([kind, *map(str, parts)])
    key: bytes = connection.get_execution_options()[HASH_KEY]
    return hmac.digest(key, text.encode(errors="surrogatepass"), sha256)[:HASH_BYTES]


def sid_hashes(connection: Connection, sid: str | None) -> set[bytes]:
    """The hashes that keep callbacks with this SID out."""
    kinds = (HashedKind.SID, HashedKind.CALLBACK_SID)
    return {keyed_hash(connection, kind, sid) for kind in kinds}


class Tombstone(Model):
    """The hash of something that a deleted message or callback had, until `expires_at`."""

    __tablename__ = "tombstone"
    __table_args__ = (Index(None, "expires_at"),)

    key_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)

    @classmethod
    def add(cls, connection: Connection, ends: Mapping[bytes, datetime]) -> None:
        """Store hashes until their ends; of one that is stored already, the later end holds."""
        # All at once and in one order: two deletions cannot lock each other out.
        rows = [{"key_hash": key_hash, "expires_at": end} for key_hash, end in sorted(ends.items())]
        if rows:
            end = excluded("expires_at")
            later = case((end > cls.expires_at, end), else_=cls.expires_at)
            changes = {"expires_at": later}
            statement = upsert(connection.dialect.name, cls, ("key_hash",), changes)
            connection.execute(statement, rows)

    @classmethod
    def find(cls, connection: Connection, hashes: Collection[bytes]) -> set[bytes]:
        """Return those of the hashes that are stored and not expired."""
        if not hashes:
            return set()
        parameters = {"hashes": list(hashes), "now": utcnow()}
        return set(connection.scalars(_SELECT_UNEXPIRED, parameters))

    @classmethod
    def purge(cls, connection: Connection, now: datetime, limit: int = 500) -> int:
        """Delete up to `limit` expired ones; return how many."""
        expired = select(cls.key_hash).where(cls.expires_at < now).limit(limit)
        return delete_unlocked(connection, cls, expired)


# Made once, as each callback and each send runs it.
_SELECT_UNEXPIRED = select(Tombstone.key_hash).where(
    Tombstone.key_hash.in_(bindparam("hashes", expanding=True)),
    Tombstone.expires_at > bindparam("now", type_=UtcDateTime()),
)
