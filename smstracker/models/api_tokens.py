"""Tokens of programs that send and read in the name of a user: stored as digests, shown once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from sqlalchemy import (
    JSON,
    ForeignKey,
    Select,
    String,
    and_,
    bindparam,
    cast,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from smstracker.clock import is_within, utcnow
from smstracker.database.engine import UtcDateTime, affected_rows, delete_unlocked
from smstracker.extensions import Model, db, settings
from smstracker.models.audit_log import AuditAction, record_audit
from smstracker.models.token_secret import new_secret
from smstracker.models.users import User, digest, matches_admission

NAME_LENGTH = 80
MAX_TOKENS = 50  # of one user, revoked and expired ones left out
USE_NOTED_AFTER = timedelta(minutes=1)
# For so long the answer to an ended token says why, then it is unknown. The name of one that may
# have sent messages is kept for their pages.
KEPT_AFTER_END = timedelta(days=90)
FORGOTTEN = "forgotten "  # begins what stands in place of a digest


class TokenError(ValueError):
    """The token cannot be added; the text says why."""


@dataclass(frozen=True, slots=True)
class TokenRights:
    """What a token may do; None limits nothing beyond the rights of its owner.

    `allowed_senders` are numbers or Messaging Service SIDs. The limits count messages.
    """

    may_send: bool = True
    allowed_senders: Sequence[str] | None = None
    limit_per_minute: int | None = None
    limit_per_day: int | None = None

    def allows_sender(self, sender: str) -> bool:
        return self.allowed_senders is None or sender in self.allowed_senders


@dataclass(frozen=True, slots=True)
class Caller:
    """The user in whose name a program calls, and what its token may do."""

    token_id: int
    owner_id: int
    rights: TokenRights
    is_use_unnoted: bool = False


class TokenEnd(Enum):
    """Why a secret opens nothing."""

    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"
    SHUT_OUT = "shut out"  # its owner


class ApiToken(Model):
    """A token of one user. It ends by date, when it is revoked, and with its owner's access."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    may_send: Mapped[bool]
    allowed_senders: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    limit_per_minute: Mapped[int | None]
    limit_per_day: Mapped[int | None]
    # Valid only in a demo, where anybody signs in as anybody.
    is_demo: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    owner: Mapped[User] = relationship(lazy="joined", innerjoin=True)

    def has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    @classmethod
    def select_unrevoked(cls, owner_id: int | None = None) -> Select[tuple["ApiToken"]]:
        """Select the tokens of an owner, or of all, that nobody has revoked; newest first."""
        query = select(cls).where(cls.revoked_at.is_(None), cls.is_demo == settings().demo)
        query = query if owner_id is None else query.where(cls.owner_id == owner_id)
        return query.order_by(cls.id.desc())

    @classmethod
    def note_use(cls, token_id: int) -> None:
        """Store that a token is used, at most once a minute whatever number of requests come."""
        now = utcnow()
        is_noted = is_within(cls.last_used_at, now, USE_NOTED_AFTER)
        is_due = or_(cls.last_used_at.is_(None), ~is_noted)
        noting = update(cls).where(cls.id == token_id, is_due).values(last_used_at=now)
        db.session.execute(noting, execution_options={"synchronize_session": False})

    @classmethod
    def end_all(cls, owner_id: int) -> None:
        """Revoke the tokens of a user who loses access, so that none comes back with it."""
        is_open = and_(cls.owner_id == owner_id, cls.revoked_at.is_(None))
        db.session.execute(update(cls).where(is_open).values(revoked_at=utcnow()))

    @classmethod
    def purge(cls, now: datetime) -> int:
        """Delete the tokens that ended KEPT_AFTER_END ago, or all but the names of those that may
        have sent messages; return how many.
        """
        connection = db.session.connection()
        ended_at = func.coalesce(cls.revoked_at, cls.expires_at)
        has_ended = (ended_at < now - KEPT_AFTER_END) & ~cls.digest.startswith(FORGOTTEN)
        may_have_sent = cls.may_send & cls.last_used_at.is_not(None)
        ended = select(cls.id).where(has_ended)
        count = delete_unlocked(connection, cls, ended.where(~may_have_sent))
        digest = literal(FORGOTTEN) + cast(cls.id, String)
        forgetting = update(cls).where(has_ended).values(digest=digest, revoked_at=ended_at)
        return count + affected_rows(connection.execute(forgetting))

    @classmethod
    def read_names(cls, owner_id: int) -> dict[int, str]:
        """Return the names of an owner's tokens, also of those that have ended."""
        query = select(cls.id, cls.name).where(cls.owner_id == owner_id)
        return {row.id: row.name for row in db.session.execute(query)}

    @classmethod
    def find_name(cls, token_id: int | None) -> str | None:
        """Return the name of a token, also of one that has ended; None if its owner is deleted."""
        return db.session.scalar(select(cls.name).where(cls.id == token_id)) if token_id else None


# Made once, as each request to the API runs it.
_CALLER_COLUMNS = (
    *(ApiToken.id, ApiToken.owner_id, ApiToken.may_send, ApiToken.allowed_senders),
    *(ApiToken.limit_per_minute, ApiToken.limit_per_day, ApiToken.expires_at),
    *(ApiToken.last_used_at, ApiToken.revoked_at, User.active, User.let_in_by, User.email),
)
_SELECT_CALLER = (
    select(*_CALLER_COLUMNS)
    .join(User, ApiToken.owner_id == User.id)
    .where(ApiToken.digest == bindparam("digest"), ApiToken.is_demo == bindparam("is_demo"))
)


def find_caller(secret: str, now: datetime) -> Caller | TokenEnd:
    """Return who calls with a secret, or why nobody does."""
    parameters = {"digest": digest(secret), "is_demo": settings().demo}
    row = db.session.connection().execute(_SELECT_CALLER, parameters).first()
    if row is None:
        return TokenEnd.UNKNOWN
    if row.revoked_at is not None:
        return TokenEnd.REVOKED
    if row.expires_at is not None and row.expires_at <= now:
        return TokenEnd.EXPIRED
    if not row.active or not matches_admission(settings(), row.let_in_by, row.email):
        return TokenEnd.SHUT_OUT
    rights = TokenRights(row.may_send, row.allowed_senders, row.limit_per_minute, row.limit_per_day)
    used_at = row.last_used_at
    is_unnoted = used_at is None or not is_within(used_at, now, USE_NOTED_AFTER)
    return Caller(row.id, row.owner_id, rights, is_unnoted)


def add_token(
    owner: User, name: str, rights: TokenRights, lifetime: timedelta | None, actor: str
) -> tuple[ApiToken, str]:
    """Add a token and return it with its secret, which is stored nowhere. Raises TokenError."""
    # One token of an owner at a time: two at once could both pass a check.
    db.session.execute(select(User.id).where(User.id == owner.id).with_for_update())
    now = utcnow()
    names = {
        token.name
        for token in db.session.scalars(ApiToken.select_unrevoked(owner.id))
        if not token.has_expired(now)
    }
    if name in names:
        raise TokenError(f"There is a token “{name}” already. Revoke it, or choose another name.")
    if len(names) >= MAX_TOKENS:
        raise TokenError(f"There are {MAX_TOKENS} tokens already. Revoke some first.")
    secret = new_secret()
    token = ApiToken(
        owner=owner,
        name=name,
        digest=digest(secret),
        may_send=rights.may_send,
        allowed_senders=list(rights.allowed_senders) if rights.allowed_senders else None,
        limit_per_minute=rights.limit_per_minute,
        limit_per_day=rights.limit_per_day,
        is_demo=settings().demo,
        created_at=now,
        expires_at=now + lifetime if lifetime else None,
    )
    db.session.add(token)
    db.session.flush()
    record_audit(AuditAction.ADDED_TOKEN, actor=actor, subject=_subject(token))
    return token, secret


def revoke_token(token: ApiToken, actor: str) -> None:
    """End a token at once; what it has queued is still sent."""
    token.revoked_at = utcnow()
    record_audit(AuditAction.REVOKED_TOKEN, actor=actor, subject=_subject(token))


def _subject(token: ApiToken) -> str:
    return f"token {token.id} of {token.owner.email}"
