"""Status changes: one rule, derived from `status.RANK`, applied to messages whose rows are locked.

Whoever changes a status holds the lock from reading it to the commit, so that no status moves back,
in whatever order updates arrive, also when two arrive at once. PostgreSQL locks the rows; SQLite
has one writer, who holds the write lock already.
"""

import re
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TypeVar

from sqlalchemy import Executable, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import InstrumentedAttribute

from smstracker.database.row_sets import KEY, is_any_of, update_rows
from smstracker.models.events import StatusUpdate
from smstracker.models.messages import Message
from smstracker.sms import status
from smstracker.sms.lookup_schedule import NEVER_ASKED_ABOUT, first_lookup

ValueT = TypeVar("ValueT")
_SENDER = re.compile(r"[ -~]{1,34}")  # as long as the column


@dataclass(slots=True)
class LockedMessage:
    """The columns of a message that decide on an update; `changes` are not stored yet."""

    id: int
    public_id: uuid.UUID
    account_sid: str | None
    twilio_sid: str | None
    status: str
    status_at: datetime
    status_source: str | None
    error_code: str | None
    has_conflict: bool
    accepted_at: datetime | None
    final_at: datetime | None
    next_lookup_at: datetime | None
    sender: str | None
    content_deleted_at: datetime | None
    changes: dict[str, object] = field(default_factory=dict)

    def change(self, **values: object) -> None:
        """Set columns; those that have the value already are not written."""
        for name, value in values.items():
            if getattr(self, name) != value:
                setattr(self, name, value)
                self.changes[name] = value

    def apply(self, status_update: StatusUpdate, words: Collection[str]) -> bool:
        """Change the status if the update ranks higher; True if it did. Fill in a missing sender.

        `words` are the statuses of the message's events. The same outcome only fills in a missing
        error code. The opposite outcome sets `has_conflict`; it is looked for in the events too,
        because the status keeps only the last outcome (failed, delivered, read).
        """
        word, at = status_update.status, status_update.received_at
        # A Messaging Service chooses the sender, and its callbacks name it.
        sender = status_update.payload.get("From")
        if self.sender is None and isinstance(sender, str) and _SENDER.fullmatch(sender):
            self.change(sender=sender)
        if word not in status.RANK:
            return False
        opposite = status.contradicting(word)
        if self.status in opposite or any(other in opposite for other in words):
            self.change(has_conflict=True)
        is_ours = status_update.source is status.Source.APP
        if self.accepted_at is None and word not in status.NOT_ACCEPTED and not is_ours:
            self.change(accepted_at=at)
        if self.status not in status.lower_ranked(word):
            if self.error_code is None and self.status in status.same_outcome(word):
                self.change(error_code=status_update.error_code)
            return False
        self.change(
            next_lookup_at=self._next_lookup(word, at),
            status=word,
            status_at=at,
            status_source=str(status_update.source),
            error_code=status_update.error_code,
            final_at=at if word in status.FINAL else None,
        )
        return True

    def _next_lookup(self, word: str, at: datetime) -> datetime | None:
        """Return the next look-up: planned anew by the first answer of Twilio, and resumed if it
        was given up; any other update keeps it.
        """
        if word in NEVER_ASKED_ABOUT:
            return None
        if self.status in status.OUTCOME_OPEN or self.next_lookup_at is None:
            return first_lookup(word, at)
        return self.next_lookup_at


_COLUMNS = [name for name in LockedMessage.__slots__ if name != "changes"]


@cache
def select_locked(
    dialect_name: str, column: InstrumentedAttribute[ValueT], skips_locked: bool
) -> Executable:
    """Select messages by a list of `values`, in one order: no two transactions deadlock."""
    query = select(*(getattr(Message, name) for name in _COLUMNS))
    query = query.where(is_any_of(dialect_name, column)).order_by(Message.id)
    return query.with_for_update(key_share=True, skip_locked=skips_locked)


def lock_messages(
    connection: Connection,
    column: InstrumentedAttribute[ValueT],
    values: Iterable[ValueT],
    skips_locked: bool = False,
) -> list[LockedMessage]:
    """Lock the messages with any of the values until the transaction ends, by ascending id.

    With `skips_locked`, those that another transaction has locked are left out.
    """
    query = select_locked(connection.dialect.name, column, skips_locked)
    rows = connection.execute(query, {"values": list(values)})
    return [LockedMessage(*row) for row in rows]


def save_changes(connection: Connection, messages: Iterable[LockedMessage]) -> None:
    """Store the changes of locked messages, with one statement for each set of columns."""
    rows: dict[tuple[str, ...], list[dict[str, object]]] = defaultdict(list)
    for message in messages:
        if message.changes:
            rows[tuple(message.changes)].append({KEY: message.id, **message.changes})
    for same_columns in rows.values():
        update_rows(connection, Message, same_columns)
