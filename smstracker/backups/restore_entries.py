"""What the audit log of a restored database says of its restore, and tells the next one."""

from collections.abc import Collection, Sequence, Set
from datetime import datetime

from psycopg.sql import Literal
from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from smstracker.backups.former_accounts import UserAccount
from smstracker.backups.returning_users import find_losses
from smstracker.models import AuditEntry, Erasure, PendingRemoval
from smstracker.models.audit_log import COMMAND_LINE, AuditAction
from smstracker.models.removals import RemovalKind

RECEIPT = "receipt "  # begins the subject of an audit entry
Entry = tuple[str, str]  # action and subject


def select_receipts(connection: Connection) -> set[str]:
    """The receipts of all erasures, also of those that a restore has undone."""
    undone = select(AuditEntry.subject).where(AuditEntry.action == AuditAction.UNDID_ERASURE)
    undone_receipts = {subject.removeprefix(RECEIPT) for subject in connection.scalars(undone)}
    return undone_receipts.union(connection.scalars(select(Erasure.receipt)))


def select_interrupted(connection: Connection) -> set[str]:
    """The receipts of erasures that have not come to all rows of batches: a backup that was made
    meanwhile has the receipt, and the number too.
    """
    is_left = PendingRemoval.kind == RemovalKind.ROWS
    receipts = select(PendingRemoval.receipt).where(is_left, PendingRemoval.receipt.is_not(None))
    return {str(receipt) for receipt in connection.scalars(receipts)}


def list_entries(
    undone_receipts: Set[str],
    former: Sequence[UserAccount] | None,
    restored: Sequence[UserAccount],
) -> list[Entry]:
    """Return the entries of a restore: itself, and what it undoes."""
    receipts = [f"{RECEIPT}{receipt}" for receipt in sorted(undone_receipts)]
    losses = [(str(loss), email) for loss, email in find_losses(former, restored)]
    undone = [(str(AuditAction.UNDID_ERASURE), subject) for subject in receipts]
    return [(str(AuditAction.RESTORED_BACKUP), ""), *undone, *losses]


def add_entries(connection: Connection, entries: Collection[Entry], at: datetime) -> None:
    """Add those that are not there from this very restore."""
    stored = select(AuditEntry.action, AuditEntry.subject).where(AuditEntry.at == at)
    known = {(row.action, row.subject) for row in connection.execute(stored)}
    for action, subject in entries:
        if (action, subject) not in known:
            row = {"at": at, "action": action, "actor": COMMAND_LINE, "subject": subject}
            connection.execute(insert(AuditEntry).values(row))


def entries_script(entries: Collection[Entry], at: datetime) -> str:
    """Return what adds entries in psql, if the backup is new enough to have an audit log."""
    columns = "INSERT INTO audit_entry (at, action, actor, subject, count) VALUES "
    shared = f"{_quote(at.isoformat())}::timestamptz"
    rows = (
        f"({shared}, {_quote(action)}, {_quote(COMMAND_LINE)}, {_quote(subject)}, 1)"
        for action, subject in entries
    )
    insertion = f"{columns}{', '.join(rows)};"
    # As a literal, because an address may hold what would end the block.
    block = f"BEGIN IF to_regclass('audit_entry') IS NOT NULL THEN {insertion} END IF; END"
    return f"DO {_quote(block)};\n"


def _quote(text: str) -> str:
    return Literal(text).as_string()
