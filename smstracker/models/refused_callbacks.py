"""Quarantine: refused callbacks, stored as received so that they can be explained and replayed."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import (
    ColumnElement,
    Index,
    LargeBinary,
    String,
    Text,
    bindparam,
    exists,
    false,
    func,
    select,
    text,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql import Select, Update

from smstracker.database.advisory_locks import try_to_lock_keys
from smstracker.database.engine import Insert, UtcDateTime, delete_unlocked, excluded, upsert
from smstracker.extensions import Model, db, settings
from smstracker.models.keep_settings import KeepSetting, days_in_force
from smstracker.models.messages import BigId, Message

_PENDING = text("diagnosis IS NULL AND replayed_at IS NULL")


class RefusedCallback(Model):
    """One refused request; `count` is how often the identical request was received.

    `reason` is a word of `Refusal`. `target` is path and query as sent, `body` the first 16 KB, of
    an incoming message without text and numbers. `is_plausible` is false if it does not even claim
    to be for our account. Its claims (`account_sid`, `twilio_sid`, `status`) are not verified.
    `is_proven` if one of our secrets signed it: it is Twilio's, and a setting or a proxy is at
    fault. `signature_settings` is the header that names a shared key.
    """

    __tablename__ = "refused_callback"
    __table_args__ = (
        Index(None, "is_plausible", "id"),
        # With is_proven, an alert finds callbacks of Twilio whatever strangers post.
        Index(None, "is_proven", "last_at"),
        # Holds the columns of its condition too: SQLite would read them from the rows.
        Index(
            "ix_refused_callback_pending",
            *("is_plausible", "id", "reason", "signature", "twilio_sid"),
            *("diagnosis", "replayed_at"),
            sqlite_where=_PENDING,
            postgresql_where=_PENDING,
        ),
    )

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
    twilio_sid: Mapped[str | None] = mapped_column(String(64), index=True)
    status: Mapped[str | None] = mapped_column(String(64))
    count: Mapped[int] = mapped_column(default=1)
    first_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    diagnosis: Mapped[str | None] = mapped_column(Text)
    setting: Mapped[str | None] = mapped_column(String(64))
    is_proven: Mapped[bool] = mapped_column(default=False, server_default=false())
    replayed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @classmethod
    def select_newest(cls) -> Select[tuple["RefusedCallback"]]:
        return select(cls).order_by(cls.id.desc())

    @classmethod
    def is_pending(cls) -> ColumnElement[bool]:
        """Match those that wait for a diagnosis."""
        return cls.diagnosis.is_(None) & cls.replayed_at.is_(None)

    @classmethod
    def names_message(cls) -> ColumnElement[bool]:
        """Match those with the SID of a message here, which strangers cannot guess."""
        return exists().where(Message.twilio_sid == cls.twilio_sid)

    @classmethod
    def select_by_sids(cls, sids: Collection[str]) -> Select[tuple[int]]:
        """Select the ids of those that claim one of the SIDs."""
        return select(cls.id).where(cls.twilio_sid.in_(sids))

    @classmethod
    def select_unapplied(cls, ids: Sequence[int] | None) -> Select[tuple[int]]:
        """Select those of `ids` (None for all) not applied yet, in order of receipt."""
        query = select(cls.id).where(cls.replayed_at.is_(None))
        if ids is not None:
            query = query.where(cls.id.in_(ids))
        return query.order_by(cls.first_at, cls.id)

    @classmethod
    def lock_unapplied(cls, ids: Sequence[int]) -> Select[tuple[int]]:
        """Select those of `ids` not applied yet, locked so that nobody else applies them.

        In the order of ids, like `set_diagnosis` of several: two must not wait for each other.
        """
        query = select(cls.id).where(cls.id.in_(ids), cls.replayed_at.is_(None))
        return query.order_by(cls.id).with_for_update()

    @classmethod
    def mark_replayed(cls, id: int, now: datetime | None) -> Update:
        """Return the UPDATE that marks one as applied."""
        return update(cls).where(cls.id == id, cls.replayed_at.is_(None)).values(replayed_at=now)

    @classmethod
    def try_to_lock(cls, connection: Connection, fingerprints: Collection[str]) -> set[str]:
        """Lock refused callbacks that may be stored yet or not, without waiting.

        Return the fingerprints of those that another transaction has locked.
        """
        if not fingerprints or connection.dialect.name != "postgresql":
            return set()
        being_stored = try_to_lock_keys(connection, fingerprints)
        stored = select(cls.fingerprint).where(cls.fingerprint.in_(fingerprints))
        locked_here = set(connection.scalars(stored.with_for_update(skip_locked=True)))
        return being_stored | (set(connection.scalars(stored)) - locked_here)

    @classmethod
    def store(cls, connection: Connection, row: Mapping[str, object], now: datetime) -> bool:
        """Store a refused callback, or count it if it repeats an earlier one; True if new.

        `row` has the fingerprint and all columns that describe the request.
        """
        repeat = {"repeated_fingerprint": row["fingerprint"], "now": now}
        # An INSERT that meets a conflict would use up an id for each repeat.
        if connection.execute(_COUNT_REPEAT, repeat).rowcount:
            return False
        new_row = {**row, "count": 1, "first_at": now, "last_at": now}
        connection.execute(_upsert(connection.dialect.name), new_row)
        return True

    @classmethod
    def set_diagnosis(
        cls, id: int, diagnosis: str | None, setting: str | None, is_proven: bool
    ) -> Update:
        """Return the UPDATE that stores why one was refused, unless it was applied meanwhile.

        A `diagnosis` of None leaves it to be diagnosed again.
        """
        columns = {"diagnosis": diagnosis, "setting": setting, "is_proven": is_proven}
        return update(cls).where(cls.id == id, cls.replayed_at.is_(None)).values(columns)

    @classmethod
    def evict(cls, connection: Connection, limit: int) -> int:
        """Delete the rows above `limit` and 2 % more; return how many more fit.

        Deletes applied ones first, then those of strangers, then unsigned ones, then those that
        name no message here, and last those that one of our tokens signed; the oldest first among
        equals. The 2 % spare a full quarantine a count for each new row.
        """
        count = connection.execute(select(func.count()).select_from(cls)).scalar_one()
        if count <= limit:
            return limit - count
        is_signed = cls.signature.is_not(None)
        order = (cls.replayed_at.is_(None), cls.is_plausible, is_signed, cls.is_proven)
        oldest = (
            select(cls.id)
            .order_by(*order, cls.names_message(), cls.id)
            .limit(count - limit + limit // 50)
        )
        return limit - count + delete_unlocked(connection, cls, oldest)

    @classmethod
    def purge(cls, now: datetime, limit: int = 500) -> int:
        """Delete up to `limit` not received again for REFUSED_CALLBACKS_DAYS; return how many.

        They hold numbers, so they are kept no longer than texts.
        """
        connection, days = db.session.connection(), settings().refused_callbacks_days
        text_days = days_in_force(connection, KeepSetting.TEXTS)
        oldest_kept = now - timedelta(days=min(days, text_days or days))
        outdated = select(cls.id).where(cls.last_at < oldest_kept).limit(limit)
        return delete_unlocked(connection, cls, outdated)


_COUNT_REPEAT = (
    update(RefusedCallback)
    .where(RefusedCallback.fingerprint == bindparam("repeated_fingerprint"))
    .values(count=RefusedCallback.count + 1, last_at=bindparam("now"))
)


@cache
def _upsert(dialect_name: str) -> Insert:
    changes = {"count": RefusedCallback.count + 1, "last_at": excluded("last_at")}
    return upsert(dialect_name, RefusedCallback, ("fingerprint",), changes)
