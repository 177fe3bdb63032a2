"""People and their sessions."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, Select, String, delete, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from smstracker.clock import utcnow
from smstracker.database import UtcDateTime, rows
from smstracker.extensions import Model, db

SESSION_LIFETIME = timedelta(days=14)


def digest(secret: str) -> str:
    """The form in which a random secret is stored; enough for 256 random bits."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def fold(email: str) -> str:
    """An address as it is stored and compared."""
    return email.strip().casefold()


class User(Model):
    """Somebody who may sign in; `session_key` is the cookie's half of the current session."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    active: Mapped[bool] = mapped_column(default=True)
    administrator: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    last_sign_in_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    # What Flask-Login asks of a user.
    session_key = ""
    is_authenticated = True
    is_anonymous = False

    @property
    def is_active(self) -> bool:
        return self.active

    def get_id(self) -> str:
        """What the cookie carries: not who, but which session, so that it can be ended here."""
        return self.session_key

    @classmethod
    def by_email(cls, email: str) -> Select[tuple["User"]]:
        return select(cls).where(cls.email == fold(email))

    def start_session(self) -> None:
        """Give this user a new session with a new key."""
        self.last_sign_in_at = utcnow()
        self.session_key = secrets.token_urlsafe(32)
        db.session.add(UserSession(key_hash=digest(self.session_key), user=self))
        db.session.flush()

    def end_sessions(self) -> None:
        """Sign this user out everywhere, at once."""
        db.session.execute(delete(UserSession).where(UserSession.user_id == self.id))

    def deactivate(self) -> None:
        self.active = False
        self.end_sessions()


class UserSession(Model):
    """One signed-in browser. Deleting the row signs it out, whatever cookie it still holds."""

    __tablename__ = "user_session"

    id: Mapped[int] = mapped_column(primary_key=True)
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, index=True)

    user: Mapped[User] = relationship()

    @classmethod
    def end(cls, key: str) -> None:
        db.session.execute(delete(cls).where(cls.key_hash == digest(key)))

    @classmethod
    def end_stale(cls) -> int:
        """Forget the sessions that have run out; how many."""
        stale = select(cls.id).where(cls.created_at < utcnow() - SESSION_LIFETIME)
        free = stale.with_for_update(skip_locked=True)
        return rows(db.session.execute(delete(cls).where(cls.id.in_(free))))


def open_sessions(key_hashes: Collection[str]) -> Select[tuple[str]]:
    """Those of the sessions that have not ended, and whose users are active."""
    query = select(UserSession.key_hash).join(User).where(User.active)
    is_fresh = UserSession.created_at > utcnow() - SESSION_LIFETIME
    return query.where(UserSession.key_hash.in_(key_hashes), is_fresh)


def signed_in_user(key: str) -> User | None:
    """The active user of the session with this key, or None."""
    live = (UserSession.key_hash == digest(key)) & (
        UserSession.created_at > utcnow() - SESSION_LIFETIME
    )
    user = db.session.scalar(select(User).join(UserSession).where(live, User.active))
    if user is not None:
        user.session_key = key
    return user
