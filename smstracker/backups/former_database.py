"""What the database that a restore replaces knows, and the backup may not."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.exc import DatabaseError

from smstracker.backups.former_accounts import UserAccount, read_former_accounts
from smstracker.backups.held_sends import read_scheduled
from smstracker.backups.restore_entries import select_receipts
from smstracker.database.engine import reading_connection
from smstracker.models import Message


@dataclass(slots=True)
class FormerDatabase:
    """The receipts of erasures, the user accounts, and the digests of scheduled messages.

    `receipts` and `accounts` are None if the database is new or cannot be read.
    """

    receipts: Set[str] | None = None
    accounts: Sequence[UserAccount] | None = None
    scheduled: Set[str] = frozenset()


def read_former(engine: Engine, file: Path | None, now: datetime) -> FormerDatabase:
    """Read the database that is there; `file` is that of SQLite."""
    former = FormerDatabase()
    if file and not file.exists():
        return former
    try:
        with reading_connection(engine) as connection:
            former.accounts = read_former_accounts(connection) or None
            receipts = select_receipts(connection)
            is_new = not receipts and connection.scalar(select(Message.id).limit(1)) is None
            former.receipts = None if is_new else receipts
            former.scheduled = read_scheduled(connection, now)
    except DatabaseError:  # no tables, or those of an older version; or it is damaged
        pass
    finally:
        engine.dispose()
    return former
