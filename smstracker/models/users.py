"""People and their sessions."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ForeignKey, Select, String, and_, delete, false, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.sql import ColumnElement

from config import Config
from mail_addresses import MailAddressError, normalize_email
from smstracker.clock import utcnow
from smstracker.database import UtcDateTime, insert, rows
from smstracker.extensions import Model, db, settings

SESSION_LIFETIME = timedelta(days=14)


def digest(secret: str) -> str:
    """The form in which a random secret is stored; enough for 256 random bits."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


class LetInBy(StrEnum):
    """What lets somebody sign in."""

    ADDED = "added"  # flask users add, in a demo or by a version that did not tell the two apart
    ADDED_LIVE = "added-live"  # flask users add, or a sign-in since, in a live installation
    SETTING = "setting"  # SIGN_IN_ALLOW, for as long as it names them; a demo has none
    DEMO = "demo"  # a demo lets everyone in, and nobody into a live installation


FOR_GOOD = (LetInBy.ADDED, LetInBy.ADDED_LIVE)
LIVE = (LetInBy.ADDED_LIVE, LetInBy.SETTING)


def stored_spelling(email: str) -> str:
    """An address as the table has it; what was added before addresses were checked stands as is."""
    try:
        return normalize_email(email)
    except MailAddressError:
        return email.strip()


def is_allowed(config: Config, email: str) -> bool:
    """Whether SIGN_IN_ALLOW names this address, in its one spelling, or its domain."""
    allow = config.sign_in_allow
    return allow is None or email in allow or "@" + email.rpartition("@")[2] in allow


def is_let_in(config: Config, let_in_by: str, email: str) -> bool:
    """Whether what let somebody in still does; a demo lets in nobody of a live installation."""
    if config.demo and let_in_by in LIVE:
        return False
    return let_in_by in FOR_GOOD or is_allowed(config, email)


class User(Model):
    """Somebody who may sign in; `session_key` is the cookie's half of the current session."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    active: Mapped[bool] = mapped_column(default=True)
    administrator: Mapped[bool] = mapped_column(default=False)
    let_in_by: Mapped[str] = mapped_column(
        String(16), default=LetInBy.ADDED, server_default=LetInBy.ADDED
    )
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
        return select(cls).where(cls.email == stored_spelling(email))

    def is_let_in(self, config: Config) -> bool:
        """Whether this user may be here: active, and added or still named by SIGN_IN_ALLOW."""
        return self.active and is_let_in(config, self.let_in_by, self.email)

    def add(self, administrator: bool | None) -> None:
        """Let this user in for good; None leaves the administrator's right as it is."""
        if self.let_in_by == LetInBy.DEMO:
            self.leave_demo()
        self.active = True
        self.let_in_by = LetInBy.ADDED if settings().demo else LetInBy.ADDED_LIVE
        if administrator is not None:
            self.administrator = administrator

    def leave_demo(self) -> None:
        """Take away what everybody has in a demo, where anybody can sign in as anybody."""
        self.administrator = False
        self.end_sessions()

    def start_session(self) -> None:
        """Give this user a new session with a new key."""
        self.last_sign_in_at = utcnow()
        self.session_key = secrets.token_urlsafe(32)
        key_hash, is_demo = digest(self.session_key), settings().demo
        if self.let_in_by == LetInBy.ADDED and not is_demo:
            self.let_in_by = LetInBy.ADDED_LIVE
        db.session.add(UserSession(key_hash=key_hash, user=self, is_demo=is_demo))
        db.session.flush()

    def end_sessions(self) -> None:
        """Sign this user out everywhere, at once."""
        db.session.execute(delete(UserSession).where(UserSession.user_id == self.id))

    def deactivate(self) -> None:
        self.active = False
        self.end_sessions()


def user_not_added(email: str) -> User:
    """The user of an address that needs no adding, as the table has it; made if there is none."""
    # On a laptop there is nobody else to show the connection to.
    demo = settings().demo
    fresh = insert(db.engine, User).values(
        email=email,
        administrator=demo,
        let_in_by=LetInBy.DEMO if demo else LetInBy.SETTING,
    )
    db.session.execute(fresh.on_conflict_do_nothing())
    return db.session.scalars(User.by_email(email)).one()


class UserSession(Model):
    """One signed-in browser. Deleting the row signs it out, whatever cookie it still holds."""

    __tablename__ = "user_session"

    id: Mapped[int] = mapped_column(primary_key=True)
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, index=True)
    # In a demo anybody signs in as anybody, so its sessions are worth nothing outside of it.
    is_demo: Mapped[bool] = mapped_column(default=False, server_default=false())

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


def open_sessions(connection: Connection, config: Config, key_hashes: Collection[str]) -> set[str]:
    """Those of the sessions that have not ended, and whose users are still let in."""
    columns = (UserSession.key_hash, User.let_in_by, User.email)
    query = select(*columns).join(User, UserSession.user_id == User.id).where(_is_open(config))
    rows = connection.execute(query.where(UserSession.key_hash.in_(key_hashes)))
    return {row.key_hash for row in rows if is_let_in(config, row.let_in_by, row.email)}


def signed_in_user(key: str) -> User | None:
    """The user of the session with this key; None if it has ended or they are let in no longer."""
    query = select(User).join(UserSession).where(_is_open(settings()))
    user = db.session.scalar(query.where(UserSession.key_hash == digest(key)))
    if user is None or not user.is_let_in(settings()):
        return None
    user.session_key = key
    return user


def _is_open(config: Config) -> ColumnElement[bool]:
    is_fresh = UserSession.created_at > utcnow() - SESSION_LIFETIME
    return and_(is_fresh, UserSession.is_demo == config.demo, User.active)
