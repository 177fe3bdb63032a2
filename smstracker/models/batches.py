"""Batches: files of people, the rows of each, and how far they are sent.

The key of a row's message follows from the batch and the number of the row, so a row becomes one
message, whoever queues it and however often.
"""

import uuid
import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    ForeignKey,
    Index,
    LargeBinary,
    Select,
    SQLColumnExpression,
    String,
    Text,
    UniqueConstraint,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, aliased, mapped_column

from smstracker.clock import HOUR, has_come, is_within, utcnow
from smstracker.database.engine import UtcDateTime, affected_rows
from smstracker.extensions import Model, db, settings
from smstracker.models.messages import BigId, Message
from smstracker.models.users import User
from smstracker.sms.batch_states import OVER as OVER
from smstracker.sms.batch_states import STARTED as STARTED
from smstracker.sms.batch_states import UNDER_WAY as UNDER_WAY
from smstracker.sms.batch_states import UNSENT as UNSENT
from smstracker.sms.batch_states import BatchState as BatchState
from smstracker.sms.quiet_hours import QuietHours

CHECK_LEASE = timedelta(minutes=1)
# Of one owner, what is uploaded and not sent: so many batches, and so many bytes of compressed
# files and of rows.
MAX_DRAFTS = 50
MAX_DRAFT_BYTES = 200 * 1024 * 1024
# Of the rows of one batch. A small spreadsheet may hold one long text in all of its cells.
MAX_ROWS_BYTES = 100 * 1024 * 1024
ROW_BYTES = 50  # that a row takes beside its cells and its problem
DRAFT_LIFETIME = timedelta(days=30)  # then it is deleted
PART_BYTES = 1024 * 1024
NAME_LENGTH = 100
LINES = "lines"  # the encoding of pasted lines, a person each
COLUMN_NAME_LENGTH = 200


class RowWarning(NamedTuple):
    """A bit of `BatchRow.warnings`, and what it means."""

    bit: int
    name: str


OPTED_OUT = RowWarning(1, "opted out")
LANDLINE = RowWarning(2, "landline")
DUPLICATE = RowWarning(4, "duplicate")
COSTLY = RowWarning(8, "costs more")
ROW_WARNINGS = (OPTED_OUT, LANDLINE, DUPLICATE, COSTLY)


class Batch(Model):
    """One file and one text. `report` holds what the check has counted, by names of
    `batches.row_check.FileReport`; rows up to `queued_number` have their message,
    `queued_count` of them could be sent.
    """

    __tablename__ = "batch"
    __table_args__ = (
        UniqueConstraint("owner_id", "idempotency_key", name="uq_batch_owner_id_idempotency_key"),
        Index(None, "owner_id", "created_at", "id"),
        Index(None, "state", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[uuid.UUID] = mapped_column(unique=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    idempotency_key: Mapped[uuid.UUID]
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    text: Mapped[str] = mapped_column(Text)
    sender: Mapped[str] = mapped_column(String(34))
    state: Mapped[str] = mapped_column(String(16), default=BatchState.CHECKING)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # None also of one that a restore has paused: its backup may know no such column.
    paused_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    content_deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Keyed hashes: of the file with text and sender, and of all numbers with their texts.
    upload_hash: Mapped[bytes] = mapped_column(LargeBinary)
    content_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    # What people chose where the file leaves it open, and what was found. `encoding` is LINES of
    # what is no table.
    sheet_name: Mapped[str | None] = mapped_column(String(COLUMN_NAME_LENGTH))
    phone_column: Mapped[str | None] = mapped_column(String(COLUMN_NAME_LENGTH))
    encoding: Mapped[str | None] = mapped_column(String(16))
    has_heading: Mapped[bool | None]
    once_per_number: Mapped[bool] = mapped_column(default=False)
    problem: Mapped[str | None] = mapped_column(Text)
    choices: Mapped[list[str]] = mapped_column(JSON, default=list)
    column_names: Mapped[list[str]] = mapped_column(JSON, default=list)
    phone_position: Mapped[int] = mapped_column(default=0)
    field_positions: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    row_count: Mapped[int] = mapped_column(default=0)
    # As stored. Of an older version: 0.
    row_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    good_count: Mapped[int] = mapped_column(default=0)
    segments: Mapped[int] = mapped_column(default=0)
    report: Mapped[dict[str, object]] = mapped_column(JSON, default=dict)
    queued_number: Mapped[int] = mapped_column(default=0)
    queued_count: Mapped[int] = mapped_column(default=0)
    quiet_from: Mapped[int | None]  # minutes after midnight
    quiet_until: Mapped[int | None]
    quiet_zone: Mapped[str | None] = mapped_column(String(64))
    # Of a program's request: it starts by itself if so many messages can be sent.
    start_count: Mapped[int | None]
    # It does so also if numbers repeat, and if an equal batch was sent before.
    allows_repeats: Mapped[bool] = mapped_column(default=False, server_default=false())
    allows_equal: Mapped[bool] = mapped_column(default=False, server_default=false())
    token_id: Mapped[int | None]  # of the program; it may be deleted
    # The batch whose failed messages this one sends again.
    resend_of_id: Mapped[int | None] = mapped_column(BigInteger)

    @property
    def draft_ends_at(self) -> datetime | None:
        """When a batch that is not sent is deleted; None while it is checked or once it is sent."""
        if self.state not in (BatchState.READY, BatchState.REFUSED):
            return None
        kept_days = (settings().keep_text_days, settings().keep_message_days)
        lifetimes = [timedelta(days=days) for days in kept_days if days is not None]
        return self.created_at + min([DRAFT_LIFETIME, *lifetimes])

    @property
    def holds_lines(self) -> bool:
        """Whether people have pasted lines of a person each, instead of a table."""
        return self.encoding == LINES

    @property
    def check_delay(self) -> str | None:
        """Why the check could not begin yet, in sentences."""
        delay = self.report.get("delay") if self.state == BatchState.CHECKING else None
        return str(delay) if delay else None

    @property
    def bad_count(self) -> int:
        return self.row_count - self.good_count

    @property
    def is_started(self) -> bool:
        return self.state in STARTED

    @property
    def quiet_hours(self) -> QuietHours | None:
        if self.quiet_from is None or self.quiet_until is None or self.quiet_zone is None:
            return None
        return QuietHours(self.quiet_from, self.quiet_until, self.quiet_zone)

    def quiet_end(self, now: datetime) -> datetime | None:
        """When the quiet hours end that keep a batch waiting; None if none do."""
        quiet = self.quiet_hours if self.state == BatchState.RUNNING else None
        return quiet.ends_after(now) if quiet and quiet.holds(now) else None

    def set_quiet_hours(self, quiet: QuietHours | None) -> None:
        self.quiet_from = quiet.start if quiet else None
        self.quiet_until = quiet.end if quiet else None
        self.quiet_zone = quiet.zone if quiet else None

    def message_key(self, number: int) -> uuid.UUID:
        """The idempotency key of the message of a row."""
        return uuid.uuid5(self.public_id, str(number))

    @classmethod
    def select_owned(cls, owner_id: int) -> Select[tuple["Batch"]]:
        is_kept = cls.state != BatchState.DISCARDED
        return select(cls).where(cls.owner_id == owner_id, is_kept)

    @classmethod
    def lock(cls, batch_id: int) -> "Batch":
        """Read a batch anew; nobody else changes it until the transaction ends."""
        query = select(cls).where(cls.id == batch_id).with_for_update()
        return db.session.scalars(query.execution_options(populate_existing=True)).one()

    @classmethod
    def find_by_key(cls, owner_id: int, key: uuid.UUID) -> "Batch | None":
        """Return the batch that a form or a request has made, also one that is given up.

        One owner's uploads wait for each other until the transaction ends.
        """
        db.session.execute(select(User.id).where(User.id == owner_id).with_for_update())
        is_made = (cls.owner_id == owner_id, cls.idempotency_key == key)
        return db.session.scalar(select(cls).where(*is_made))

    @classmethod
    def find_unsent(cls, owner_id: int, upload_hash: bytes) -> "Batch | None":
        """Return the first batch of an equal upload that is not sent yet."""
        is_equal = (cls.upload_hash == upload_hash, cls.resend_of_id.is_(None))
        query = cls.select_owned(owner_id).where(*is_equal, cls.state.in_(UNSENT))
        return db.session.scalar(query.order_by(cls.id).limit(1))

    @classmethod
    def count_drafts(cls, owner_id: int) -> int:
        """Count an owner's batches that are not sent."""
        query = cls.select_owned(owner_id).where(cls.state.in_(UNSENT))
        return db.session.scalar(query.with_only_columns(func.count())) or 0

    @classmethod
    def sum_unsent_bytes(cls, connection: Connection, owner_id: int) -> int:
        """Add up what is stored and not sent of an owner's batches: files, and rows without their
        message, also of batches that are stopped, or given up and not deleted yet.

        After DRAFT_LIFETIME, only stopped ones are left, which their owner cannot delete.
        """
        is_recent = is_within(cls.created_at, utcnow(), DRAFT_LIFETIME)
        sent_share = cls.queued_count * 1.0 / func.nullif(cls.good_count, 0)
        rows = select(func.sum(cls.row_bytes * (1 - func.coalesce(sent_share, 0))))
        files = select(func.sum(func.length(BatchFile.data)))
        files = files.join(cls, cls.id == BatchFile.batch_id)
        sums = (query.where(cls.owner_id == owner_id, is_recent) for query in (rows, files))
        return sum(int(connection.scalar(query) or 0) for query in sums)

    def find_equal(self) -> "Batch | None":
        """Return the first batch of the same owner that sent the same texts to the same people;
        None for one whose very purpose is to send again.
        """
        if self.content_hash is None or self.resend_of_id is not None:
            return None
        is_equal = (Batch.content_hash == self.content_hash, Batch.state.in_(STARTED))
        query = Batch.select_owned(self.owner_id).where(*is_equal, Batch.id != self.id)
        return db.session.scalar(query.order_by(Batch.id).limit(1))

    @classmethod
    def select_unchecked(cls, now: datetime) -> Select[tuple[int]]:
        """Select the ids of batches that wait to be checked and that no worker has.

        Those of who has uploaded least of late come first: nobody's files hold up all others.
        """
        lease_end, recent = cls.claimed_until, aliased(cls)
        is_free = or_(lease_end.is_(None), has_come(lease_end, now, CHECK_LEASE))
        is_own = (recent.owner_id == cls.owner_id, is_within(recent.created_at, now, HOUR))
        recent_count = select(func.count()).where(*is_own).scalar_subquery()
        query = select(cls.id).where(cls.state == BatchState.CHECKING, is_free)
        return query.order_by(recent_count, cls.id)

    @classmethod
    def claim_check(cls, connection: Connection) -> tuple[int, datetime] | None:
        """Lease a batch that is to be checked; return its id and the end of the lease."""
        now = utcnow()
        query = cls.select_unchecked(now).limit(1).with_for_update(skip_locked=True)
        batch_id = connection.scalar(query)
        if batch_id is None:
            return None
        until = now + CHECK_LEASE
        connection.execute(update(cls).where(cls.id == batch_id).values(claimed_until=until))
        return batch_id, until

    @classmethod
    def extend_check(
        cls,
        connection: Connection,
        batch_id: int,
        until: datetime,
        row_count: int,
        row_bytes: int,
    ) -> datetime | None:
        """Extend a lease that ends at `until`, and store how much is read; None if another worker
        has the batch, or nobody wants it checked any more.
        """
        is_own = (cls.id == batch_id, cls.state == BatchState.CHECKING, cls.claimed_until == until)
        new_end = utcnow() + CHECK_LEASE
        changes = {"claimed_until": new_end, "row_count": row_count, "row_bytes": row_bytes}
        extend = update(cls).where(*is_own).values(changes).returning(cls.id)
        return new_end if connection.scalar(extend) is not None else None

    @classmethod
    def is_running(cls, batch_id: SQLColumnExpression[int | None]) -> ColumnElement[bool]:
        """The condition that messages with this `batch_id` may be handed over."""
        batch = (cls.id == batch_id) & (cls.state == BatchState.RUNNING)
        return or_(batch_id.is_(None), exists().where(batch))

    @property
    def is_its_message(self) -> ColumnElement[bool]:
        """The condition of its messages, as their index needs it."""
        return (Message.owner_id == self.owner_id) & (Message.batch_id == self.id)


class BatchRow(Model):
    """A row of the file, by its `number` there. `recipient` is E.164, None if there is none."""

    __tablename__ = "batch_row"

    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    recipient: Mapped[str | None] = mapped_column(String(16))
    cells: Mapped[list[str]] = mapped_column(JSON)
    problem: Mapped[str | None] = mapped_column(Text)
    warnings: Mapped[int] = mapped_column(default=0)

    @classmethod
    def select_next(cls, batch_id: int, after: int, size: int) -> Select[tuple["BatchRow"]]:
        """Select the rows after a number, in the order of the file."""
        query = select(cls).where(cls.batch_id == batch_id, cls.number > after)
        return query.order_by(cls.number).limit(size)

    @classmethod
    def remove_some(cls, connection: Connection, batch_id: int, size: int) -> int:
        """Delete up to `size` rows of a batch; return how many."""
        numbers = select(cls.number).where(cls.batch_id == batch_id).limit(size)
        is_row = (cls.batch_id == batch_id, cls.number.in_(numbers))
        return affected_rows(connection.execute(delete(cls).where(*is_row)))


class BatchFile(Model):
    """A part of an uploaded file, compressed, until its batch is started: it may be read anew."""

    __tablename__ = "batch_file"

    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"), primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary)

    @classmethod
    def store(cls, batch_id: int, parts: Iterable[bytes]) -> None:
        """Store parts that are compressed already."""
        for number, data in enumerate(parts):
            row = {"batch_id": batch_id, "part": number, "data": data}
            db.session.execute(insert(cls).values(row))

    @classmethod
    def read_parts(cls, connection: Connection, batch_id: int) -> Iterable[bytes]:
        numbers = select(cls.part).where(cls.batch_id == batch_id).order_by(cls.part)
        for number in connection.scalars(numbers).all():
            is_part = (cls.batch_id == batch_id, cls.part == number)
            yield zlib.decompress(connection.scalars(select(cls.data).where(*is_part)).one())

    @classmethod
    def read_all(cls, batch_id: int) -> bytes:
        """Return a whole file; nothing if it is deleted."""
        return b"".join(cls.read_parts(db.session.connection(), batch_id))

    @classmethod
    def exists(cls, batch_id: int) -> bool:
        query = select(cls.part).where(cls.batch_id == batch_id).limit(1)
        return db.session.scalar(query) is not None

    @classmethod
    def remove(cls, connection: Connection, batch_ids: Sequence[int]) -> None:
        connection.execute(delete(cls).where(cls.batch_id.in_(batch_ids)))


class SavedText(Model):
    """A text with fields that its owner keeps for batches and the form."""

    __tablename__ = "saved_text"
    __table_args__ = (
        UniqueConstraint("owner_id", "name", name="uq_saved_text_owner_id_name"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[uuid.UUID] = mapped_column(unique=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    @classmethod
    def select_owned(cls, owner_id: int) -> Select[tuple["SavedText"]]:
        return select(cls).where(cls.owner_id == owner_id).order_by(cls.name)


def running_batch_ids(connection: Connection) -> list[int]:
    """The batches whose messages may be handed over now: running, and not in quiet hours."""
    now = utcnow()
    return [
        row.id
        for row in connection.execute(_select_running())
        if row.quiet_zone is None
        or not QuietHours(row.quiet_from, row.quiet_until, row.quiet_zone).holds(now)
    ]


@cache
def _select_running() -> Select[tuple[int, int | None, int | None, str | None]]:
    columns = (Batch.id, Batch.quiet_from, Batch.quiet_until, Batch.quiet_zone)
    return select(*columns).where(Batch.state == BatchState.RUNNING)
