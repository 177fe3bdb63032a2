"""Users to whom a restore gives back what was taken from them since the backup was made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smstracker.backups.former_accounts import UserAccount
from smstracker.command_name import COMMAND
from smstracker.extensions import settings
from smstracker.models.audit_log import AuditAction
from smstracker.models.users import is_allowed
from smstracker.shell_words import quote_argument
from smstracker.sms.typed_text import escape_invisible

UNKNOWN_USERS = (
    "Whoever was deactivated, deleted or lost the administrator role after this backup was made "
    "may sign in as before, and the database that it replaces cannot tell who that is. Compare "
    f"{COMMAND} users list with who may sign in today."
)
# What the user has lost, and the command that takes it again.
_WORDS = {
    AuditAction.UNDID_DEACTIVATION: ("was deactivated", "deactivate"),
    AuditAction.UNDID_USER_DELETION: ("was deleted", "delete --keep-messages"),
    AuditAction.UNDID_USER_ERASURE: ("was deleted", "delete --erase-messages"),
    AuditAction.UNDID_ROLE_LOSS: ("lost the administrator role", "add --no-admin"),
}


@dataclass(frozen=True, slots=True)
class ReturningUser:
    """What a restore undoes of a user; the last of `losses`, the newest, includes the others."""

    email: str
    losses: Sequence[AuditAction]
    was_administrator: bool = False

    def describe(self) -> Iterator[str]:
        """Say what the user has lost, then the commands that take it again."""
        change, _ = _WORDS[self.losses[-1]]
        is_role = self.losses[-1] is AuditAction.UNDID_ROLE_LOSS
        role = " (administrator)" * (self.was_administrator and not is_role)
        yield f"  {escape_invisible(self.email)}{role} {change}:"
        for loss in self.losses:
            yield f"    {COMMAND} users {_WORDS[loss][1]} {quote_argument(self.email)}"


def describe_returning(
    former: Sequence[UserAccount] | None, restored: Sequence[UserAccount]
) -> str:
    """Name who was shut out since a backup was made, with the commands that do it again.

    With `former`, the users of the database that is replaced, None if they are not known. Empty if
    there is nobody.
    """
    absent = _find_absent(former or [], restored)
    users = [*_find_returning(former or [], restored), *filter(_may_enter, absent)]
    lines = []
    if users:
        lines.append(
            "The restore gives back what was taken from these users after the backup was made. "
            "Run these commands after it, before anybody signs in:"
        )
    for user in users:
        lines += user.describe()
    if former is None or not _knows_all(former, restored):
        lines.append(UNKNOWN_USERS)
    return "\n".join(lines)


def find_losses(
    former: Sequence[UserAccount] | None, restored: Sequence[UserAccount]
) -> list[tuple[AuditAction, str]]:
    """Return what a restore undoes of users, also of those whom the backup does not have: a later
    restore may bring them back.
    """
    users = [*_find_returning(former or [], restored), *_find_absent(former or [], restored)]
    return [(loss, user.email) for user in users for loss in user.losses]


def _find_same(account: UserAccount, former: Sequence[UserAccount]) -> UserAccount | None:
    """Return the same user in the former database: of this address, or deleted since."""
    of_address = [row for row in former if row.email == account.email]
    deleted = (row for row in former if row.is_deleted and row.id == account.id)
    return min(of_address, key=lambda row: row.is_deleted, default=next(deleted, None))


def _knows_all(former: Sequence[UserAccount], restored: Sequence[UserAccount]) -> bool:
    return all(_find_same(account, former) for account in restored if account.has_access)


def _find_returning(
    former: Sequence[UserAccount], restored: Sequence[UserAccount]
) -> Iterator[ReturningUser]:
    for account in restored:
        same = _find_same(account, former)
        if same is None or not account.has_access:
            continue
        losses = _find_losses(same, same.has_access)
        if not losses and account.administrator and not same.administrator:
            losses = [AuditAction.UNDID_ROLE_LOSS]
        if losses:
            yield ReturningUser(account.email, losses, account.administrator)


def _find_absent(
    former: Sequence[UserAccount], restored: Sequence[UserAccount]
) -> Iterator[ReturningUser]:
    """Find those who are shut out and of whom the backup knows nothing."""
    ids, emails = ({getattr(row, name) for row in restored} for name in ("id", "email"))
    for account in former:
        has_address = not account.is_deleted or (account.id not in ids and "@" in account.email)
        is_absent = has_address and account.email not in emails
        if is_absent and (losses := _find_losses(account, account.active)):
            yield ReturningUser(account.email, losses)


def _find_losses(account: UserAccount, has_access: bool) -> list[AuditAction]:
    if not account.is_deleted:
        return [] if has_access else [AuditAction.UNDID_DEACTIVATION]
    erases = account.erases_messages
    deletion = AuditAction.UNDID_USER_ERASURE if erases else AuditAction.UNDID_USER_DELETION
    return [*[AuditAction.UNDID_DEACTIVATION] * account.is_shut_out, deletion]


def _may_enter(user: ReturningUser) -> bool:
    """Whether SIGN_IN_ALLOW lets somebody in again whom nothing but the lost database shut out."""
    return AuditAction.UNDID_DEACTIVATION in user.losses and is_allowed(settings(), user.email)
