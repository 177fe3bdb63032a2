"""Users and their sessions."""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import (
    ForeignKey,
    LargeBinary,
    Select,
    String,
    and_,
    delete,
    false,
    func,
    select,
    true,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.sql import ColumnElement

from smstracker.clock import is_ahead, utcnow
from smstracker.database.engine import UtcDateTime, delete_unlocked, dialect_insert
from smstracker.extensions import Model, db, settings
from smstracker.models.tombstones import HashedKind, keyed_hash
from smstracker.settings.mail_addresses import MailAddressError, normalize_email

if TYPE_CHECKING:
    from config import Config

SESSION_LIFETIME = timedelta(days=14)
# More than for shorter times: a session that lives a day longer does no harm, and a machine whose
# clock is behind keeps nobody out.
MAX_SESSION_AHEAD = timedelta(days=1)


def digest(secret: str) -> str:
    """Hash a random secret for storage; a plain hash is enough for 256 random bits."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


class LetInBy(StrEnum):
    """Why a user may sign in."""

    ADDED = "added"  # flask users add, in a demo or by a version that marked demo and live alike
    ADDED_LIVE = "added-live"  # flask users add, or a sign-in since, in a live installation
    SETTING = "setting"  # SIGN_IN_ALLOW, while it names them; a demo has none
    DEMO = "demo"  # everyone in a demo, nobody in a live installation


class Appearance(StrEnum):
    """The colours of the pages."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


LASTING_ADMISSIONS = (LetInBy.ADDED, LetInBy.ADDED_LIVE)
LIVE_ADMISSIONS = (LetInBy.ADDED_LIVE, LetInBy.SETTING)


def stored_email(email: str) -> str:
    """Return an address as stored; those added before addresses were checked are as typed."""
    try:
        return normalize_email(email)
    except MailAddressError:
        return email.strip()


def is_allowed(config: "Config", email: str) -> bool:
    """Check that SIGN_IN_ALLOW names this normalized address or its domain."""
    allow = config.sign_in_allow
    return allow is None or email in allow or "@" + email.rpartition("@")[2] in allow


def matches_admission(config: "Config", let_in_by: str, email: str) -> bool:
    """Check that the reason for a user's admission still holds; a demo admits no live user."""
    if config.demo and let_in_by in LIVE_ADMISSIONS:
        return False
    return let_in_by in LASTING_ADMISSIONS or is_allowed(config, email)


class User(Model):
    """Somebody who may sign in; `session_key` is the cookie's secret of the current session."""

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
    # Then `email` is a name that no address can have, and the messages belong to nobody.
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # The worker erases the messages of a deleted user, each once it is settled.
    erases_messages: Mapped[bool] = mapped_column(default=False, server_default=false())
    # Of the address of a deleted user who was deactivated: it stays shut out.
    shut_out_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    time_zone: Mapped[str | None] = mapped_column(String(64))  # None: the browser's
    appearance: Mapped[str] = mapped_column(
        String(8), default=Appearance.SYSTEM, server_default=Appearance.SYSTEM
    )
    has_shortcuts: Mapped[bool] = mapped_column(default=True, server_default=true())
    shows_exact_times: Mapped[bool] = mapped_column(default=False, server_default=false())

    # Of the session of this request.
    session_id = 0
    session_used_at = datetime.min.replace(tzinfo=UTC)

    # Required by Flask-Login.
    session_key = ""
    is_authenticated = True
    is_anonymous = False

    @property
    def is_active(self) -> bool:
        return self.active

    def get_id(self) -> str:
        """Return the session key for the cookie: a session, unlike a user, can be ended here."""
        return self.session_key

    @property
    def reader_id(self) -> str:
        """An opaque id by which the scripts of pages tell one reader from another."""
        key = settings().secret_key.encode()
        return hmac.digest(key, f"reader {self.id}".encode(), "sha256").hex()[:16]

    @classmethod
    def select_by_email(cls, email: str) -> Select[tuple["User"]]:
        """Select the user of an address; a deleted one has none."""
        return select(cls).where(cls.email == stored_email(email), cls.deleted_at.is_(None))

    def has_access(self, config: "Config") -> bool:
        """Check that the user is active, and added or still named by SIGN_IN_ALLOW."""
        return self.active and matches_admission(config, self.let_in_by, self.email)

    def add(self, administrator: bool | None) -> None:
        """Give lasting access; `administrator=None` leaves that right unchanged."""
        if self.let_in_by == LetInBy.DEMO:
            self.leave_demo()
        self.active = True
        self.let_in_by = LetInBy.ADDED if settings().demo else LetInBy.ADDED_LIVE
        if administrator is not None:
            self.administrator = administrator

    def leave_demo(self) -> None:
        """Withdraw the rights and sessions of a demo, where anybody can sign in as anybody."""
        self.administrator = False
        self.end_sessions()

    def start_session(self, browser_name: str | None = None) -> None:
        """Start a session with a new key."""
        self.last_sign_in_at = utcnow()
        self.session_key = secrets.token_urlsafe(32)
        key_hash, is_demo = digest(self.session_key), settings().demo
        if self.let_in_by == LetInBy.ADDED and not is_demo:
            self.let_in_by = LetInBy.ADDED_LIVE
        new_session = UserSession(key_hash=key_hash, user=self, is_demo=is_demo)
        new_session.browser_name, new_session.used_at = browser_name, self.last_sign_in_at
        db.session.add(new_session)
        db.session.flush()

    def end_sessions(self) -> None:
        """Sign the user out everywhere, at once."""
        db.session.execute(delete(UserSession).where(UserSession.user_id == self.id))

    def deactivate(self) -> None:
        self.active = False
        self.end_sessions()


def address_hash(email: str) -> bytes:
    """Return the keyed hash by which a deleted user's address stays shut out."""
    return keyed_hash(db.session.connection(), HashedKind.ADDRESS, stored_email(email))


def is_shut_out(email: str) -> bool:
    """Check that a user of this address was deactivated, then deleted, and not added since."""
    query = select(User.id).where(User.shut_out_hash == address_hash(email))
    return db.session.scalar(query.limit(1)) is not None


def get_or_create_user(email: str) -> User:
    """Return the user of an address that a demo or SIGN_IN_ALLOW admits; create a missing one."""
    # In a demo everybody is an administrator, to see the page of the connection.
    demo = settings().demo
    insert = dialect_insert(db.engine.dialect.name, User).values(
        email=email, administrator=demo, let_in_by=LetInBy.DEMO if demo else LetInBy.SETTING
    )
    db.session.execute(insert.on_conflict_do_nothing())
    return db.session.scalars(User.select_by_email(email)).one()


class UserSession(Model):
    """One signed-in browser. Deleting the row signs it out, whatever cookie it has."""

    __tablename__ = "user_session"

    id: Mapped[int] = mapped_column(primary_key=True)
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, index=True)
    browser_name: Mapped[str | None] = mapped_column(String(64))
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Valid only in a demo, where anybody signs in as anybody.
    is_demo: Mapped[bool] = mapped_column(default=False, server_default=false())

    user: Mapped[User] = relationship()

    @classmethod
    def is_open(cls, config: "Config") -> ColumnElement[bool]:
        """The condition of a session that has not expired and is of this kind of installation."""
        now = utcnow()
        is_live = cls.created_at > now - SESSION_LIFETIME
        is_live &= ~is_ahead(cls.created_at, now + MAX_SESSION_AHEAD)
        return and_(is_live, cls.is_demo == config.demo)

    @classmethod
    def last_used_at(cls) -> ColumnElement[datetime]:
        """When a session was used last, as far as it is noted."""
        return func.coalesce(cls.used_at, cls.created_at)

    @classmethod
    def end(cls, key: str) -> None:
        db.session.execute(delete(cls).where(cls.key_hash == digest(key)))

    @classmethod
    def select_newest(cls, user: User) -> Select[tuple["UserSession"]]:
        """Select a user's open sessions, the one used last first."""
        query = select(cls).where(cls.user_id == user.id, cls.is_open(settings()))
        return query.order_by(cls.last_used_at().desc(), cls.id.desc())

    @classmethod
    def note_use(cls, session_id: int) -> None:
        db.session.execute(update(cls).where(cls.id == session_id).values(used_at=utcnow()))

    @classmethod
    def purge(cls) -> int:
        """Delete expired sessions; return how many."""
        expired = select(cls.id).where(cls.created_at < utcnow() - SESSION_LIFETIME)
        return delete_unlocked(db.session.connection(), cls, expired)


def live_key_hashes(
    connection: Connection, config: "Config", key_hashes: Collection[str]
) -> set[str]:
    """Return those of `key_hashes` whose session is live and whose user still has access."""
    columns = (UserSession.key_hash, User.let_in_by, User.email)
    query = select(*columns).join(User, UserSession.user_id == User.id).where(_is_live(config))
    rows = connection.execute(query.where(UserSession.key_hash.in_(key_hashes)))
    return {row.key_hash for row in rows if matches_admission(config, row.let_in_by, row.email)}


def signed_in_user(key: str) -> User | None:
    """Return the user of a session; None if it has ended or the user has no access."""
    columns = (User, UserSession.id, UserSession.last_used_at())
    query = select(*columns).join(UserSession).where(_is_live(settings()))
    row = db.session.execute(query.where(UserSession.key_hash == digest(key))).first()
    if row is None or not row[0].has_access(settings()):
        return None
    user: User = row[0]
    user.session_id, user.session_used_at, user.session_key = row[1], row[2], key
    return user


def _is_live(config: "Config") -> ColumnElement[bool]:
    return and_(UserSession.is_open(config), User.active)
