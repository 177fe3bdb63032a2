"""What is to be blanked or deleted, how far that is, and the receipts of erasures."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ForeignKey,
    Index,
    LargeBinary,
    SQLColumnExpression,
    String,
    case,
    delete,
    exists,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column

from smstracker.database.engine import UtcDateTime, dialect_insert, excluded, upsert
from smstracker.extensions import Model
from smstracker.models.messages import BigId


class RemovalKind(StrEnum):
    """What a row of PendingRemoval names, and what is done to it."""

    BLANK = "blank"  # a message: its text, pictures and payloads
    DELETE = "delete"  # a message
    ERASE = "erase"  # a message of an erased person
    EVENT = "event"  # a callback without a message
    REFUSED = "refused"  # a refused callback
    # The receipt, as a number, of an erasure that has not come to all rows of batches. Only whoever
    # erases can go on: no worker knows the number.
    ROWS = "rows"


class CounterName(StrEnum):
    """The names of RemovalCounter: what was done, and up to which message id."""

    BLANKED = "texts deleted"
    DELETED = "messages deleted"
    REDACTED_AT_TWILIO = "redacted at Twilio"
    DELETED_AT_TWILIO = "deleted at Twilio"
    BLANK_POSITION = "position of texts"
    DELETE_POSITION = "position of messages"
    CLEANED = "texts out of the index"


class RemovalCounter(Model):
    """A number that grows: a count, or how far the retention has come."""

    __tablename__ = "removal_counter"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)

    @classmethod
    def read(cls, connection: Connection, name: CounterName) -> int:
        """Return a counter; 0 before it is first set."""
        return connection.scalar(select(cls.value).where(cls.name == name)) or 0

    @classmethod
    def add(cls, connection: Connection, name: CounterName, count: int) -> None:
        changes = {"value": cls.value + excluded("value")}
        statement = upsert(connection.dialect.name, cls, ("name",), changes)
        connection.execute(statement.values(name=name, value=count))

    @classmethod
    def advance(cls, connection: Connection, name: CounterName, old: int, new: int) -> None:
        """Set a position, unless another process has moved it since it was `old`."""
        insert = dialect_insert(connection.dialect.name, cls).values(name=name, value=0)
        connection.execute(insert.on_conflict_do_nothing())
        is_old = (cls.name == name, cls.value == old)
        connection.execute(update(cls).where(*is_old).values(value=new))


class Erasure(Model):
    """The receipt of an erasure: when, how much, and only a keyed hash of the number."""

    __tablename__ = "erasure"

    receipt: Mapped[str] = mapped_column(String(16), primary_key=True)
    number_hash: Mapped[bytes] = mapped_column(LargeBinary)
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    at_twilio: Mapped[bool]
    messages: Mapped[int] = mapped_column(default=0)
    events: Mapped[int] = mapped_column(default=0)
    refused_callbacks: Mapped[int] = mapped_column(default=0)
    searches: Mapped[int] = mapped_column(default=0)
    batch_rows: Mapped[int] = mapped_column(default=0, server_default="0")
    # Messages. None: of a version that did not count them.
    deleted_at_twilio: Mapped[int | None] = mapped_column(default=0)

    @classmethod
    def find_newest(
        cls, connection: Connection, number_hash: bytes, asks_twilio: bool
    ) -> str | None:
        """Return the newest receipt of a number, with `asks_twilio` rather one that asks it too."""
        query = select(cls.receipt).where(cls.number_hash == number_hash)
        order = (case((cls.at_twilio & asks_twilio, 0), else_=1), cls.requested_at.desc())
        return connection.scalar(query.order_by(*order).limit(1))

    @classmethod
    def count(cls, connection: Connection, receipt: str, counts: Mapping[str, int]) -> None:
        """Add to the counts of a receipt, by the names of their columns."""
        sums = {name: cls.__table__.c[name] + count for name, count in counts.items()}
        connection.execute(update(cls).where(cls.receipt == receipt).values(sums))


class PendingRemoval(Model):
    """A row to be blanked or deleted as soon as it may be, looked at again at `check_at`.

    A message is left alone while its outcome is open. On SQLite a trigger deletes the
    pending rows of each row that is deleted, whoever deletes it.
    """

    __tablename__ = "pending_removal"
    __table_args__ = (Index(None, "check_at"), Index(None, "receipt"))

    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    row_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    receipt: Mapped[str | None] = mapped_column(ForeignKey("erasure.receipt"))
    check_at: Mapped[datetime] = mapped_column(UtcDateTime)

    @classmethod
    def add(
        cls,
        connection: Connection,
        kind: RemovalKind,
        ids: Iterable[int],
        check_at: datetime,
        receipt: str | None = None,
    ) -> None:
        """Store rows to be removed, next looked at at `check_at`.

        One that is stored already gets this receipt too, unless its own asks Twilio to delete.
        """
        # Of the stored row: as a column, the table would be another one in the subquery.
        stored_receipt: ColumnElement[str] = literal_column(f"{cls.__tablename__}.receipt")
        asks_twilio = select(Erasure.receipt).where(Erasure.receipt == stored_receipt)
        strongest = asks_twilio.where(Erasure.at_twilio).scalar_subquery()
        receipts = (strongest, excluded("receipt"), cls.receipt)
        changes = {"receipt": func.coalesce(*receipts), "check_at": excluded("check_at")}
        shared = {"kind": kind, "receipt": receipt, "check_at": check_at}
        rows = [{"row_id": row_id, **shared} for row_id in sorted(ids)]
        if rows:
            statement = upsert(connection.dialect.name, cls, ("kind", "row_id"), changes)
            connection.execute(statement, rows)

    @classmethod
    def note_rows(
        cls, connection: Connection, number_hash: bytes, receipt: str, now: datetime, are_left: bool
    ) -> None:
        """Note whether rows of batches are left of an erasure, and so of all of the number."""
        is_noted = cls.is_of_number(number_hash) & (cls.kind == RemovalKind.ROWS)
        connection.execute(delete(cls).where(is_noted))
        if are_left:
            cls.add(connection, RemovalKind.ROWS, [int(receipt, 16)], now, receipt)

    @classmethod
    def has_left_rows(cls, connection: Connection, number_hash: bytes) -> bool:
        """Whether rows of batches may hold the number still: an erasure was interrupted."""
        is_left = cls.is_of_number(number_hash) & (cls.kind == RemovalKind.ROWS)
        return connection.scalar(select(cls.row_id).where(is_left).limit(1)) is not None

    @classmethod
    def is_of_number(cls, number_hash: bytes) -> ColumnElement[bool]:
        """Match the rows of all erasures of a number."""
        receipts = select(Erasure.receipt).where(Erasure.number_hash == number_hash)
        return cls.receipt.in_(receipts)

    @classmethod
    def is_stored(
        cls,
        kind: RemovalKind,
        row_id: InstrumentedAttribute[int],
        number_hash: bytes,
        asks_twilio: bool,
    ) -> ColumnElement[bool]:
        """Match what an erasure of the number removes already, with `asks_twilio` there too."""
        is_row = (cls.kind == kind, cls.row_id == row_id)
        stored = select(cls.row_id).join(Erasure).where(Erasure.number_hash == number_hash, *is_row)
        if asks_twilio:
            stored = stored.where(Erasure.at_twilio)
        return stored.correlate_except(cls, Erasure).exists()

    @classmethod
    def hasten(cls, connection: Connection, number_hash: bytes, now: datetime) -> None:
        """Have the messages of a number looked at now; not those that are being removed."""
        waiting = select(cls.row_id).where(
            cls.kind == RemovalKind.ERASE, cls.is_of_number(number_hash), cls.check_at > now
        )
        unlocked = waiting.with_for_update(skip_locked=True).cte()
        is_waiting = (cls.kind == RemovalKind.ERASE) & cls.row_id.in_(select(unlocked.c.row_id))
        connection.execute(update(cls).where(is_waiting).values(check_at=now))

    @classmethod
    def is_erased(cls, message_id: SQLColumnExpression[int]) -> ColumnElement[bool]:
        """The condition that a message is to be deleted because its recipient was erased."""
        return exists().where(cls.kind == RemovalKind.ERASE, cls.row_id == message_id)

    @classmethod
    def find_asking_twilio(
        cls, connection: Connection, message_ids: Sequence[int]
    ) -> dict[int, str]:
        """Return the receipts of those of the messages that are to be deleted at Twilio too."""
        query = select(cls.row_id, Erasure.receipt).join(Erasure).where(Erasure.at_twilio)
        is_message = (cls.kind == RemovalKind.ERASE, cls.row_id.in_(message_ids))
        return {row.row_id: row.receipt for row in connection.execute(query.where(*is_message))}

    @classmethod
    def postpone(
        cls, connection: Connection, kind: RemovalKind, ids: Iterable[int], until: datetime
    ) -> None:
        is_row = (cls.kind == kind) & cls.row_id.in_(list(ids))
        connection.execute(update(cls).where(is_row).values(check_at=until))

    @classmethod
    def finish(cls, connection: Connection, kind: RemovalKind, ids: Iterable[int]) -> None:
        connection.execute(delete(cls).where(cls.kind == kind, cls.row_id.in_(list(ids))))
