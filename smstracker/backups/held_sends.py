"""What a restored database must not send by itself: what of it was sent, changed or cancelled after
the backup, only Twilio and the former database know.
"""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Function,
    Select,
    Text,
    Update,
    case,
    cast,
    extract,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.engine import Connection, Dialect

from smstracker.batches.control import RESTORED
from smstracker.database.engine import affected_rows
from smstracker.database.row_sets import is_any_of
from smstracker.models import Batch, Message
from smstracker.models.batches import BatchState
from smstracker.models.messages import is_held, is_in_outbox
from smstracker.sms import status

Time = datetime | Function[datetime]


def read_scheduled(connection: Connection, now: datetime) -> set[str]:
    """The digests of messages that are scheduled for later, with all that would be sent."""
    return set(connection.scalars(_select_scheduled(connection.dialect, now)))


def hold_sends(connection: Connection, now: datetime, scheduled: Collection[str]) -> int:
    """Have due messages looked up at Twilio, hold scheduled messages that the former database lacks
    or has changed (`scheduled`: its digests), and hold all batches. Return the number of batches.
    """
    connection.execute(_hold_messages(now))
    query = _select_scheduled(connection.dialect, now).add_columns(Message.id)
    held_ids = [row.id for row in connection.execute(query) if row.digest not in scheduled]
    held = update(Message).where(is_any_of(connection.dialect.name, Message.id))
    connection.execute(held.values(**_held(now)), {"values": held_ids})
    return affected_rows(connection.execute(_hold_batches()))


def count_held(connection: Connection) -> int:
    """How many messages wait for people since a restore, this one or an earlier one."""
    return connection.scalar(select(func.count()).select_from(Message).where(is_held())) or 0


def hold_sends_script(dialect: Dialect, scheduled: Collection[str]) -> str:
    """Return the same for psql. A backup without these tables or columns holds nothing to send."""
    now = func.now()
    is_other = _digest(dialect).not_in(sorted(scheduled))
    hold_scheduled = update(Message).where(_is_scheduled(now), is_other).values(**_held(now))
    blocks = []
    for statement in (_hold_messages(now), hold_scheduled, _hold_batches()):
        sql = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        blocks.append(
            f"BEGIN {sql}; EXCEPTION WHEN undefined_table OR undefined_column THEN NULL; END;"
        )
    return f"DO $hold$BEGIN {' '.join(blocks)} END$hold$;\n"


def _select_scheduled(dialect: Dialect, now: Time) -> Select[tuple[str]]:
    return select(_digest(dialect).label("digest")).where(_is_scheduled(now))


def _held(now: Time) -> dict[str, Time | None]:
    """What changes of a message that is held: it waits for its sender from now on."""
    return {"send_at": None, "status_at": now}


def _is_at_once() -> ColumnElement[bool]:
    # As `outbox.find_misdated` knows it: a clock that was ahead may have saved it.
    return Message.send_at == Message.status_at


def _is_scheduled(now: Time) -> ColumnElement[bool]:
    return is_in_outbox() & (Message.send_at > now) & ~_is_at_once()


def _digest(dialect: Dialect) -> ColumnElement[str]:
    """What tells whether a message that waits was edited: on PostgreSQL a hash, which psql gets."""
    columns = (
        *(Message.recipient, Message.sender, Message.messaging_service_sid),
        *(extract("epoch", Message.send_at), Message.media_urls, Message.body),
    )
    digest: ColumnElement[str] = cast(Message.public_id, Text)
    for column in columns:
        digest = digest + literal("|") + func.coalesce(cast(column, Text), "")
    if dialect.name == "sqlite":
        return digest
    return func.encode(func.sha256(func.convert_to(digest, "UTF8")), "hex")


def _hold_messages(now: Time) -> Update:
    due = update(Message).where(is_in_outbox(), (Message.send_at <= now) | _is_at_once())
    handed_over_at = case((Message.send_at <= now, Message.send_at), else_=now)
    submitted = {"status": status.PENDING, "status_at": now, "handed_over_at": handed_over_at}
    return due.values(**submitted, claimed_until=None, next_lookup_at=now)


def _hold_batches() -> Update:
    is_unsent = Batch.state.in_((BatchState.CHECKING, BatchState.READY, BatchState.PAUSED))
    is_running = Batch.state == BatchState.RUNNING
    state = case((is_running, BatchState.PAUSED.value), else_=Batch.state)
    hold = update(Batch).where(is_unsent | is_running)
    return hold.values(state=state, start_count=None, problem=RESTORED)
