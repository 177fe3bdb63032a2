"""What the pages of users show: users with their sessions, and the changes that are offered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from smstracker.extensions import db, settings
from smstracker.models import Message, User, UserSession
from smstracker.models import user_changes as changes

PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user and how many of their sessions are open."""

    user: User
    sessions: int


@dataclass(frozen=True, slots=True)
class UserPage:
    """Users by address; `next_after` is the id of the last one if there are more."""

    rows: Sequence[UserRow]
    next_after: int | None
    total: int


@dataclass(frozen=True, slots=True)
class UserChange:
    """A change that a button offers; one that `costs_rights` is confirmed if it is of oneself."""

    apply: Callable[[User, str], None]
    notice: str
    costs_rights: bool = False


CHANGES = {
    "let-in": UserChange(changes.admit_user, "{email} may sign in."),
    "deactivate": UserChange(
        changes.deactivate_user, "{email} is deactivated and signed out everywhere.", True
    ),
    "give-administrator": UserChange(
        changes.give_administrator, "{email} is an administrator now."
    ),
    "take-administrator": UserChange(
        changes.take_administrator, "{email} is no administrator any more.", True
    ),
    "sign-out": UserChange(changes.sign_user_out, "{email} is signed out everywhere."),
}


def read_user_page(after: int | None) -> UserPage:
    """Read the users that follow the one with the id `after`."""
    existing = User.deleted_at.is_(None)
    query = select(User).where(existing).order_by(User.email)
    if after is not None:
        query = query.where(
            User.email > select(User.email).where(User.id == after).scalar_subquery()
        )
    users = db.session.scalars(query.limit(PAGE_SIZE + 1)).all()
    counts = count_sessions([user.id for user in users])
    rows = [UserRow(user, counts.get(user.id, 0)) for user in users[:PAGE_SIZE]]
    total = db.session.scalar(select(func.count()).select_from(User).where(existing)) or 0
    return UserPage(rows, rows[-1].user.id if len(users) > PAGE_SIZE else None, total)


def count_sessions(user_ids: Sequence[int]) -> dict[int, int]:
    """Count the open sessions of each user who has one."""
    columns = (UserSession.user_id, func.count())
    is_open = UserSession.is_open(settings())
    query = select(*columns).where(is_open, UserSession.user_id.in_(user_ids))
    return {row[0]: row[1] for row in db.session.execute(query.group_by(UserSession.user_id))}


def count_user_messages(user: User) -> int:
    """Count the messages of a user."""
    query = select(func.count()).select_from(Message).where(Message.owner_id == user.id)
    return db.session.scalar(query) or 0
