"""User accounts of a database, and what earlier restores have given back to them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import inspect, select, text
from sqlalchemy.engine import Connection

from smstracker.extensions import settings
from smstracker.models import AuditEntry
from smstracker.models.audit_log import AuditAction
from smstracker.models.tombstones import HashedKind, keyed_hash
from smstracker.models.users import LetInBy, matches_admission

# Whether the messages went too.
DELETIONS = {AuditAction.DELETED_USER: False, AuditAction.ERASED_USER: True}
_UNDONE_DELETIONS = {AuditAction.UNDID_USER_DELETION, AuditAction.UNDID_USER_ERASURE}
_OF_ACCESS = {*_UNDONE_DELETIONS, AuditAction.UNDID_DEACTIVATION}
_OF_ROLE = {AuditAction.UNDID_ROLE_LOSS}
# What people do about a user ends what restores did before, by what it is about.
_DECISIONS: dict[str, set[AuditAction]] = {
    AuditAction.ADDED_USER: _OF_ACCESS,
    AuditAction.DEACTIVATED_USER: _OF_ACCESS,
    AuditAction.DELETED_USER: _OF_ACCESS | _OF_ROLE,
    AuditAction.ERASED_USER: _OF_ACCESS | _OF_ROLE,
    AuditAction.GAVE_ADMINISTRATOR: _OF_ROLE,
    AuditAction.TOOK_ADMINISTRATOR: _OF_ROLE,
}
_OWN_TABLES = {"user", "status_event"}  # another program may have one, not both


@dataclass(frozen=True, slots=True)
class UserAccount:
    """A user as a database has it; `is_shut_out` if the address of a deleted one stays out."""

    id: int
    email: str
    active: bool
    administrator: bool
    let_in_by: str
    is_deleted: bool
    is_shut_out: bool = False
    erases_messages: bool = False

    @classmethod
    def from_row(
        cls, row: Mapping[str, Any], addresses: Mapping[bytes, str] | None = None
    ) -> "UserAccount":
        """Read a row of a table or of a dump of PostgreSQL; one of an older version lacks columns.

        `addresses` are those of deleted users, by their hash.
        """
        return cls(
            id=int(row["id"] or 0),
            email=(addresses or {}).get(row.get("shut_out_hash") or b"", row["email"] or ""),
            active=_is_true(row.get("active")),
            administrator=_is_true(row.get("administrator")),
            let_in_by=row.get("let_in_by") or LetInBy.ADDED,
            is_deleted=row.get("deleted_at") is not None,
            is_shut_out=row.get("shut_out_hash") is not None,
            erases_messages=_is_true(row.get("erases_messages")),
        )

    @property
    def has_access(self) -> bool:
        may_enter = self.active and matches_admission(settings(), self.let_in_by, self.email)
        return may_enter and not self.is_deleted


_NOBODY = UserAccount(0, "", False, False, LetInBy.ADDED, False)


def _is_true(value: object) -> bool:
    """Read a boolean of SQLite, PostgreSQL or a dump."""
    return value in (1, "t")


def read_accounts(connection: Connection) -> list[UserAccount]:
    """Return all users of tables of any version, and those deleted ones of whom only the audit log
    has the address; none if the tables are of another program.
    """
    table_names = set(inspect(connection).get_table_names())
    if not table_names.issuperset(_OWN_TABLES):
        return []
    has_log = AuditEntry.__tablename__ in table_names
    deletions = _read_deletions(connection) if has_log else {}
    hashes = {keyed_hash(connection, HashedKind.ADDRESS, email): email for email in deletions}
    rows = connection.execute(text('SELECT * FROM "user"')).mappings()
    return add_deleted([UserAccount.from_row(dict(row), hashes) for row in rows], deletions)


def _read_deletions(connection: Connection) -> dict[str, bool]:
    """The addresses that were deleted, and whether the messages went too."""
    columns = (AuditEntry.subject, AuditEntry.action)
    query = select(*columns).where(AuditEntry.action.in_(DELETIONS)).order_by(AuditEntry.id)
    return {email: DELETIONS[AuditAction(action)] for email, action in connection.execute(query)}


def add_deleted(
    accounts: Sequence[UserAccount], deletions: Mapping[str, bool]
) -> list[UserAccount]:
    """Add users who were deleted, by address, and of whom no account has the address."""
    emails = {account.email for account in accounts}
    deleted = (
        replace(_NOBODY, email=email, is_deleted=True, erases_messages=erases)
        for email, erases in deletions.items()
        if email not in emails
    )
    return [*accounts, *deleted]


def read_former_accounts(connection: Connection) -> list[UserAccount]:
    """Return all users, without what earlier restores have given back, unless people have decided
    on it since; also those who are not in the backup that was restored.
    """
    accounts = read_accounts(connection)
    if not inspect(connection).has_table(AuditEntry.__tablename__):
        return accounts
    losses = _read_losses(connection)
    known = [_without(account, losses.pop(account.email, set())) for account in accounts]
    absent = (replace(_NOBODY, email=email, active=True) for email in losses)
    return [*known, *(_without(account, losses[account.email]) for account in absent)]


def _read_losses(connection: Connection) -> dict[str, set[str]]:
    """What restores have undone of each address, without what people have decided on since."""
    losses: dict[str, set[str]] = defaultdict(set)
    kinds = _OF_ACCESS | _OF_ROLE
    is_about_users = AuditEntry.action.in_([*kinds, *_DECISIONS])
    query = select(AuditEntry.action, AuditEntry.subject).where(is_about_users)
    for action, email in connection.execute(query.order_by(AuditEntry.id)):
        losses[email] -= _DECISIONS.get(action, set())
        losses[email] |= {action} & kinds
    return {email: actions for email, actions in losses.items() if actions}


def _without(account: UserAccount, losses: set[str]) -> UserAccount:
    """Return an account without what restores have given back to it."""
    if account.is_deleted or not losses:
        return account
    is_deleted = not losses.isdisjoint(_UNDONE_DELETIONS)
    is_deactivated = AuditAction.UNDID_DEACTIVATION in losses
    return replace(
        account,
        active=account.active and not is_deactivated,
        administrator=account.administrator and losses.isdisjoint(_OF_ROLE),
        is_deleted=is_deleted,
        is_shut_out=is_deleted and is_deactivated,
        erases_messages=AuditAction.UNDID_USER_ERASURE in losses,
    )
