"""Users to whom a restore gives back what was taken from them since the backup was made."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection

from smstracker.command_name import COMMAND
from smstracker.extensions import settings
from smstracker.models import AuditEntry, User
from smstracker.models.audit_log import AuditAction
from smstracker.models.tombstones import HashedKind, keyed_hash
from smstracker.models.users import LetInBy, is_allowed, matches_admission

UNKNOWN_USERS = (
    "Whoever was deactivated, deleted or lost the administrator role after this backup was made "
    "may sign in as before, and the database that it replaces cannot tell who that is. Compare "
    f"{COMMAND} users list with who may sign in today."
)
_DELETIONS = (AuditAction.DELETED_USER, AuditAction.ERASED_USER)


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
    def from_text(cls, row: Mapping[str, str | None]) -> "UserAccount":
        """Read a row of a dump of PostgreSQL; one of an older version lacks columns."""
        return cls(
            id=int(row["id"] or 0),
            email=row["email"] or "",
            active=row["active"] == "t",
            administrator=row.get("administrator") == "t",
            let_in_by=row.get("let_in_by") or LetInBy.ADDED,
            is_deleted=row.get("deleted_at") is not None,
        )

    @property
    def has_access(self) -> bool:
        may_enter = self.active and matches_admission(settings(), self.let_in_by, self.email)
        return may_enter and not self.is_deleted


@dataclass(frozen=True, slots=True)
class ReturningUser:
    """`commands` take back what the restore gives."""

    email: str
    change: str
    commands: Sequence[str]


def read_accounts(connection: Connection) -> list[UserAccount]:
    """Return all users, those with a forgotten address by that of the audit log if it has it."""
    subjects = select(AuditEntry.subject).where(AuditEntry.action.in_(_DELETIONS)).distinct()
    addresses = {
        keyed_hash(connection, HashedKind.ADDRESS, address): address
        for address in connection.scalars(subjects)
    }
    return [_account(row, addresses) for row in connection.execute(select(User.__table__))]


def _account(row: Any, addresses: Mapping[bytes, str]) -> UserAccount:
    return UserAccount(
        id=row.id,
        email=addresses.get(row.shut_out_hash, row.email),
        active=row.active,
        administrator=row.administrator,
        let_in_by=row.let_in_by,
        is_deleted=row.deleted_at is not None,
        is_shut_out=row.shut_out_hash is not None,
        erases_messages=row.erases_messages,
    )


def describe_returning(
    former: Sequence[UserAccount] | None, restored: Sequence[UserAccount]
) -> str:
    """Name who was shut out since a backup was made, with the commands that do it again.

    With `former`, the users of the database that is replaced, None if they are not known. Empty if
    there is nobody.
    """
    users = [*_find_returning(former or [], restored), *_find_allowed(former or [], restored)]
    lines = []
    if users:
        lines.append(
            "The restore gives back what was taken from these users after the backup was made. "
            "Run these commands after it, before anybody signs in:"
        )
    for user in users:
        lines.append(f"  {user.email} {user.change}:")
        lines += [f"    {COMMAND} users {command}" for command in user.commands]
    if former is None or not _knows_all(former, restored):
        lines.append(UNKNOWN_USERS)
    return "\n".join(lines)


def _find_same(account: UserAccount, former: Sequence[UserAccount]) -> UserAccount | None:
    """Return the same user in the former database: of this address, or deleted since."""
    same = next((row for row in former if row.email == account.email and not row.is_deleted), None)
    return same or next((row for row in former if row.id == account.id and row.is_deleted), None)


def _knows_all(former: Sequence[UserAccount], restored: Sequence[UserAccount]) -> bool:
    return all(_find_same(account, former) for account in restored if account.has_access)


def _find_returning(
    former: Sequence[UserAccount], restored: Sequence[UserAccount]
) -> Iterator[ReturningUser]:
    for account in restored:
        same = _find_same(account, former)
        if same is None or not account.has_access:
            continue
        email, role = shlex.quote(account.email), " (administrator)" * account.administrator
        if same.is_deleted:
            commands = [f"deactivate {email}"] if same.is_shut_out else []
            choice = "--erase-messages" if same.erases_messages else "--keep-messages"
            commands.append(f"delete {email} {choice}")
            yield ReturningUser(account.email + role, "was deleted", commands)
        elif not same.has_access:
            change, commands = "was deactivated", [f"deactivate {email}"]
            yield ReturningUser(account.email + role, change, commands)
        elif account.administrator and not same.administrator:
            commands = [f"add {email} --no-admin"]
            yield ReturningUser(account.email, "lost the administrator role", commands)


def _find_allowed(
    former: Sequence[UserAccount], restored: Sequence[UserAccount]
) -> Iterator[ReturningUser]:
    """Find those of whom the backup knows nothing, so that SIGN_IN_ALLOW lets them in again."""
    ids, emails = ({getattr(row, name) for row in restored} for name in ("id", "email"))
    for account in former:
        is_out = account.is_shut_out if account.is_deleted else not account.active
        is_new = account.id not in ids and account.email not in emails and "@" in account.email
        if is_out and is_new and is_allowed(settings(), account.email):
            commands = [f"deactivate {shlex.quote(account.email)}"]
            yield ReturningUser(account.email, "was deactivated", commands)
