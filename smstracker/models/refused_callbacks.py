"""Quarantine: callbacks that were refused, kept as they came so that they can be explained."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    Index,
    LargeBinary,
    Select,
    String,
    Text,
    Update,
    bindparam,
    delete,
    false,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.database.engine import UtcDateTime
from smstracker.extensions import Model, db, settings
from smstracker.models.messages import BigId


class RefusedCallback(Model):
    """One refused request; `count` tells how often the very same one came.

    `reason` is a word of `webhooks.forms.Refusal`. `target` is path and query as they were sent,
    `body` the first 16 KB, of an incoming message without text and numbers. `is_plausible` is false
    if it does not even claim to be for our account. What it claims (`account_sid`, `twilio_sid`,
    `status`) is not verified. `is_proven` tells that one of our secrets has signed it: so it is
    Twilio's, and a setting or a proxy is at fault. `signature_settings` is the header that names a
    shared key.
    """

    __tablename__ = "refused_callback"
    __table_args__ = (Index(None, "is_plausible", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    reason: Mapped[str] = mapped_column(String(16))
    is_plausible: Mapped[bool]
    target: Mapped[str] = mapped_column(String(2048))
    sent_host: Mapped[str | None] = mapped_column(String(255))
    forwarded_host: Mapped[str | None] = mapped_column(String(255))
    forwarded_proto: Mapped[str | None] = mapped_column(String(16))
    content_type: Mapped[str | None] = mapped_column(String(100))
    signature: Mapped[str | None] = mapped_column(String(128))
    signature_settings: Mapped[str | None] = mapped_column(String(255))
    idempotency_token: Mapped[str | None] = mapped_column(String(128))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    body_length: Mapped[int]
    account_sid: Mapped[str | None] = mapped_column(String(34))
    twilio_sid: Mapped[str | None] = mapped_column(String(64))
    status: Mapped[str | None] = mapped_column(String(64))
    count: Mapped[int] = mapped_column(default=1)
    first_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    diagnosis: Mapped[str | None] = mapped_column(Text)
    setting: Mapped[str | None] = mapped_column(String(64))
    is_proven: Mapped[bool] = mapped_column(default=False, server_default=false())
    replayed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @classmethod
    def newest(cls) -> Select[tuple["RefusedCallback"]]:
        return select(cls).order_by(cls.id.desc())

    @classmethod
    def waiting(cls, ids: Sequence[int] | None) -> Select[tuple[int]]:
        """Those of `ids` (None: of all) that were not applied yet, in the order of arrival."""
        waiting = select(cls.id).where(cls.replayed_at.is_(None))
        chosen = waiting if ids is None else waiting.where(cls.id.in_(ids))
        return chosen.order_by(cls.first_at, cls.id)

    @classmethod
    def locked(cls, ids: Sequence[int]) -> Select[tuple[int]]:
        """Those of `ids` that were not applied yet, and nobody else can apply them meanwhile."""
        mine = select(cls.id).where(cls.id.in_(ids), cls.replayed_at.is_(None))
        return mine.order_by(cls.fingerprint).with_for_update()

    @classmethod
    def replayed(cls, id: int, now: datetime | None) -> Update:
        """Note that it has been applied."""
        return update(cls).where(cls.id == id, cls.replayed_at.is_(None)).values(replayed_at=now)

    @classmethod
    def keep(cls, connection: Connection, row: Mapping[str, Any], now: datetime) -> bool:
        """Keep one that was refused, or count it if the very same came before; whether it is new.

        `row` has all columns that tell what came, and the fingerprint.
        """
        again = {"of_fingerprint": row["fingerprint"], "now": now}
        # An INSERT that meets a conflict would use up an id for each repeat.
        if connection.execute(_count_again(), again).rowcount:
            return False
        fresh = {**row, "count": 1, "first_at": now, "last_at": now}
        connection.execute(_insert(connection.dialect.name), fresh)
        return True

    @classmethod
    def explained(
        cls, id: int, diagnosis: str | None, setting: str | None, is_proven: bool
    ) -> Update:
        """Note why it is refused (None: to be explained), unless it has been applied meanwhile."""
        mine = (cls.id == id) & cls.replayed_at.is_(None)
        told = {"diagnosis": diagnosis, "setting": setting, "is_proven": is_proven}
        return update(cls).where(mine).values(told)

    @classmethod
    def evict(cls, connection: Connection, limit: int) -> int:
        """Delete what is over `limit`, what matters least first; how many more fit.

        Least matters what was applied, then what strangers sent, then what is not signed, and most
        what one of our tokens has signed; among equals, the oldest goes first.

        A little more is deleted, so that a full quarantine is not counted for each newcomer.
        """
        count = connection.execute(select(func.count()).select_from(cls)).scalar_one()
        if count <= limit:
            return limit - count
        is_signed = cls.signature.is_not(None)
        order = (cls.replayed_at.is_(None), cls.is_plausible, is_signed, cls.is_proven, cls.id)
        oldest = select(cls.id).order_by(*order).limit(count - limit + limit // 50)
        return limit - count + cls._delete(connection, oldest)

    @classmethod
    def purge(cls, now: datetime, limit: int = 500) -> int:
        """Delete some of what did not come again within REFUSED_CALLBACKS_DAYS; how many."""
        since = now - timedelta(days=settings().refused_callbacks_days)
        old = select(cls.id).where(cls.last_at < since).limit(limit)
        return cls._delete(db.session.connection(), old)

    @classmethod
    def _delete(cls, connection: Connection, doomed: Select[tuple[int]]) -> int:
        # What another transaction is just counting is left alone: waiting for it could deadlock.
        # A CTE, because PostgreSQL may ask a subselect twice and would then delete too many.
        free = doomed.with_for_update(skip_locked=True).cte()
        gone = delete(cls).where(cls.id.in_(select(free.c.id))).returning(cls.id)
        return len(connection.execute(gone).all())


@cache
def _count_again() -> Update:
    same = RefusedCallback.fingerprint == bindparam("of_fingerprint", type_=String())
    now = bindparam("now", type_=UtcDateTime())
    return update(RefusedCallback).where(same).values(count=RefusedCallback.count + 1, last_at=now)


@cache
def _insert(dialect: str) -> postgresql.Insert | sqlite.Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    fresh = insert(RefusedCallback)
    again = {"count": RefusedCallback.count + 1, "last_at": fresh.excluded["last_at"]}
    return fresh.on_conflict_do_update(index_elements=[RefusedCallback.fingerprint], set_=again)
