"""Tokens of programs that send and read in the name of a user: stored as digests, shown once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import JSON, ForeignKey, Select, String, and_, func, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.sql import ColumnElement

from smstracker.clock import CLOCK_TOLERANCE, utcnow
from smstracker.database.engine import UtcDateTime, delete_unlocked
from smstracker.extensions import Model, db, settings
from smstracker.models.audit_log import AuditAction, record_audit
from smstracker.models.token_secret import new_secret
from smstracker.models.users import User, digest

NAME_LENGTH = 80
MAX_TOKENS = 50  # of one user, revoked and expired ones left out
USE_NOTED_AFTER = timedelta(minutes=1)
# For so long the answer to an ended token says why, then it is unknown.
KEPT_AFTER_END = timedelta(days=90)


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

    def is_live(self, now: datetime) -> bool:
        """Check that the token is neither revoked nor expired, and that its owner has access."""
        has_ended = self.revoked_at is not None or self.has_expired(now)
        is_of_here = self.is_demo == settings().demo
        return not has_ended and is_of_here and self.owner.has_access(settings())

    def allows_sender(self, sender: str) -> bool:
        return self.allowed_senders is None or sender in self.allowed_senders

    @classmethod
    def find(cls, secret: str) -> "ApiToken | None":
        """Return the token of a secret with its owner, ended or not."""
        return db.session.scalar(select(cls).where(cls.digest == digest(secret)))

    @classmethod
    def select_unrevoked(cls, owner_id: int | None = None) -> Select[tuple["ApiToken"]]:
        """Select the tokens of an owner, or of all, that nobody has revoked; newest first."""
        query = select(cls).where(cls.revoked_at.is_(None), cls.is_demo == settings().demo)
        query = query if owner_id is None else query.where(cls.owner_id == owner_id)
        return query.order_by(cls.id.desc())

    @classmethod
    def is_use_unnoted(cls, now: datetime) -> ColumnElement[bool]:
        """The condition of a token whose use was not noted within the last minute."""
        used_at = cls.last_used_at
        is_noted = and_(used_at > now - USE_NOTED_AFTER, used_at <= now + CLOCK_TOLERANCE)
        return or_(used_at.is_(None), ~is_noted)

    @classmethod
    def note_use(cls, token_id: int) -> None:
        """Store that a token is used, at most once a minute."""
        now = utcnow()
        is_due = and_(cls.id == token_id, cls.is_use_unnoted(now))
        db.session.execute(
            update(cls).where(is_due).values(last_used_at=now),
            execution_options={"synchronize_session": False},
        )

    @classmethod
    def end_all(cls, owner_id: int) -> None:
        """Revoke the tokens of a user who loses access, so that none comes back with it."""
        is_open = and_(cls.owner_id == owner_id, cls.revoked_at.is_(None))
        db.session.execute(update(cls).where(is_open).values(revoked_at=utcnow()))

    @classmethod
    def purge(cls, now: datetime) -> int:
        """Delete the tokens that ended KEPT_AFTER_END ago; return how many."""
        ended_at = func.coalesce(cls.revoked_at, cls.expires_at)
        ended = select(cls.id).where(ended_at < now - KEPT_AFTER_END)
        return delete_unlocked(db.session.connection(), cls, ended)


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
