"""What a restored database must not send by itself: what of it was sent after the backup, only
Twilio knows.
"""

from datetime import datetime

from sqlalchemy import Function, Update, case, func, update
from sqlalchemy.engine import Connection, Dialect

from smstracker.batches.control import RESTORED
from smstracker.database.engine import affected_rows
from smstracker.models import Batch, Message
from smstracker.models.batches import BatchState
from smstracker.models.messages import is_in_outbox


def hold_sends(connection: Connection, now: datetime) -> int:
    """Have messages that were due looked up, and people look at batches; how many batches."""
    connection.execute(_hold_messages(now))
    return affected_rows(connection.execute(_hold_batches()))


def hold_sends_script(dialect: Dialect) -> str:
    """Return the same for psql. A backup without these tables or columns holds nothing to send."""
    blocks = []
    for statement in (_hold_messages(func.now()), _hold_batches()):
        sql = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        blocks.append(
            f"BEGIN {sql}; EXCEPTION WHEN undefined_table OR undefined_column THEN NULL; END;"
        )
    return f"DO $hold$BEGIN {' '.join(blocks)} END$hold$;\n"


def _hold_messages(now: datetime | Function[datetime]) -> Update:
    # What was to go at once is due, also if a clock that was ahead has saved it.
    is_due = (Message.send_at <= now) | (Message.send_at == Message.status_at)
    due = update(Message).where(is_in_outbox(), is_due)
    handed_over_at = case((Message.send_at <= now, Message.send_at), else_=now)
    submitted = {"status": "pending", "status_at": now, "handed_over_at": handed_over_at}
    return due.values(**submitted, claimed_until=None, next_lookup_at=now)


def _hold_batches() -> Update:
    is_unsent = Batch.state.in_((BatchState.CHECKING, BatchState.READY, BatchState.PAUSED))
    is_running = Batch.state == BatchState.RUNNING
    state = case((is_running, BatchState.PAUSED.value), else_=Batch.state)
    hold = update(Batch).where(is_unsent | is_running)
    return hold.values(state=state, start_count=None, problem=RESTORED)
