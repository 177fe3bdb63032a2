"""Sign-in by e-mail: short-lived tokens, stored only as digests."""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import String, and_, delete, func, select, update
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql import ColumnElement

from smstracker.clock import has_come, is_within, utcnow
from smstracker.database.engine import UtcDateTime, delete_unlocked, reading_connection
from smstracker.extensions import Model, db, settings
from smstracker.models import users
from smstracker.models.audit_log import AuditAction, count_audit, record_audit
from smstracker.models.users import LetInBy, User, UserSession, digest, stored_email

LIFETIME = timedelta(minutes=15)
CODE_ATTEMPTS = 5
MAX_CODES_PER_ADDRESS = 5  # in half an hour
MAX_TOKENS_PER_ADDRESS = 300  # more than the rate limits allow within LIFETIME


@dataclass(frozen=True, slots=True)
class NewToken:
    """Contents of a mail, stored nowhere: the link's token and usually a six-digit code."""

    token: str
    code: str | None


class SignInToken(Model):
    """One sign-in link and, if mailed, its code. Several of an address may be live at once.

    A stranger who asks for a mail therefore cancels neither the owner's mail nor a link that an
    administrator made, which only the next one of an administrator ends. A browser only remembers
    its newest mail, so only that mail's code works in it.
    """

    __tablename__ = "sign_in_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    code_hash: Mapped[str | None] = mapped_column(String(64))
    browser_hash: Mapped[str | None] = mapped_column(String(64), index=True)
    attempts_left: Mapped[int]
    next_path: Mapped[str | None] = mapped_column(String(500))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    is_demo: Mapped[bool]

    @classmethod
    def issue(
        cls, email: str, browser: str | None = None, next_path: str | None = None
    ) -> NewToken:
        """Create a token for `email`, with a code if a `browser` asked for it."""
        has_code = browser and _may_have_code(email)
        code = f"{secrets.randbelow(10**6):06}" if has_code else None
        new_token = NewToken(secrets.token_urlsafe(32), code)
        row = cls(
            email=stored_email(email),
            token_hash=digest(new_token.token),
            code_hash=_code_hash(code, browser) if code and browser else None,
            browser_hash=digest(browser) if browser else None,
            attempts_left=CODE_ATTEMPTS if code else 0,
            next_path=next_path,
            expires_at=utcnow() + LIFETIME,
            is_demo=settings().demo,
        )
        db.session.add(row)
        db.session.flush()
        cls._delete_oldest(email, browser is not None)
        cls.purge()
        UserSession.purge()
        return new_token

    @classmethod
    def withdraw(cls, token: NewToken) -> None:
        """Delete a token whose mail nobody got; the next one may have a code."""
        db.session.execute(delete(cls).where(cls.token_hash == digest(token.token)))

    @classmethod
    def _delete_oldest(cls, email: str, is_mailed: bool) -> None:
        """Delete all but the newest MAX_TOKENS_PER_ADDRESS; mailed and printed ones count apart."""
        kind = cls.browser_hash.is_not(None) if is_mailed else cls.browser_hash.is_(None)
        newest = select(cls.id).where(cls.email == stored_email(email), kind)
        oldest = newest.order_by(cls.id.desc()).offset(MAX_TOKENS_PER_ADDRESS)
        ids = db.session.scalars(oldest).all()
        if ids:
            db.session.execute(delete(cls).where(cls.id.in_(ids)))

    @classmethod
    def delete_printed(cls, email: str) -> None:
        """Delete the links of an address that were in no mail."""
        is_printed = cls.browser_hash.is_(None)
        db.session.execute(delete(cls).where(cls.email == stored_email(email), is_printed))

    @classmethod
    def purge(cls) -> int:
        """Delete tokens long expired; return how many."""
        expired = select(cls.id).where(cls.expires_at < utcnow() - LIFETIME)
        return delete_unlocked(db.session.connection(), cls, expired)

    @classmethod
    def is_live_link(cls, token: str) -> bool:
        """Check that the link can be redeemed, without spending it or waiting for a lock."""
        return cls.link_expires_at(token) is not None

    @classmethod
    def link_expires_at(cls, token: str) -> datetime | None:
        """When a link expires that can be redeemed; None for any other."""
        return cls._expiry(cls.token_hash == digest(token))

    @classmethod
    def redeem_link(cls, token: str) -> "SignInToken | None":
        """Spend the token; one of several concurrent attempts gets it."""
        is_token = cls.token_hash == digest(token)
        if cls._expiry(is_token):
            return cls._spend(is_token)
        count_audit(AuditAction.SIGN_IN_REFUSED)
        return None

    @classmethod
    def redeem_code(cls, code: str, browser: str) -> "SignInToken | None":
        """Spend the token by its code in the browser that asked; each call costs an attempt."""
        condition = (cls.browser_hash == digest(browser)) & (cls.attempts_left > 0)
        if not cls._expiry(condition):
            count_audit(AuditAction.SIGN_IN_REFUSED)
            return None
        attempt = (
            update(cls)
            .where(condition, cls.is_live())
            .values(attempts_left=cls.attempts_left - 1)
            .returning(cls.email, cls.token_hash, cls.code_hash)
        )
        row = db.session.execute(attempt).first()
        if row is None:
            return None
        if not hmac.compare_digest(row.code_hash, _code_hash(code, browser)):
            count_audit(AuditAction.SIGN_IN_REFUSED, subject=row.email)
            return None
        return cls._spend(cls.token_hash == row.token_hash)

    @classmethod
    def is_live(cls) -> ColumnElement[bool]:
        """Match unspent tokens that have not expired."""
        has_expired = has_come(cls.expires_at, utcnow(), LIFETIME)
        return and_(cls.used_at.is_(None), ~has_expired, cls.is_demo == settings().demo)

    @classmethod
    def _spend(cls, condition: ColumnElement[bool]) -> "SignInToken | None":
        statement = update(cls).where(condition, cls.is_live()).values(used_at=utcnow())
        return db.session.scalar(statement.returning(cls))

    @classmethod
    def _expiry(cls, condition: ColumnElement[bool]) -> datetime | None:
        """When a live token expires; read without a lock, as guesses must not block writers."""
        with reading_connection(db.engine) as connection:
            return connection.scalar(select(cls.expires_at).where(condition, cls.is_live()))


def _may_have_code(email: str) -> bool:
    """Check that fewer than MAX_CODES_PER_ADDRESS went to this address lately.

    Strangers may ask for mails from many clients, and each code allows CODE_ATTEMPTS guesses.
    Further mails have only the link, which cannot be guessed.
    """
    codes = select(func.count()).where(
        SignInToken.email == stored_email(email),
        SignInToken.code_hash.is_not(None),
        is_within(SignInToken.expires_at, utcnow() + LIFETIME, 2 * LIFETIME),
    )
    return (db.session.scalar(codes) or 0) < MAX_CODES_PER_ADDRESS


def _code_hash(code: str, browser: str) -> str:
    """Digest a code with the secret key: without it, a million codes are tried in no time."""
    key = settings().secret_key.encode()
    return hmac.new(key, f"{browser}:{code}".encode(errors="replace"), sha256).hexdigest()


def may_sign_in(email: str) -> bool:
    """Check that the address is of an active user with access, or named by SIGN_IN_ALLOW.

    That of a deleted user who was deactivated stays shut out.
    """
    user = db.session.scalar(User.select_by_email(email))
    if user is None:
        return users.is_allowed(settings(), stored_email(email)) and not users.is_shut_out(email)
    return user.has_access(settings())


def find_signed_in_user(token: SignInToken, browser_name: str | None = None) -> User | None:
    """Return the user of a spent token, created at first sign-in; None if access was withdrawn."""
    if not may_sign_in(token.email):
        record_audit(AuditAction.SIGN_IN_REFUSED, actor="", subject=token.email)
        return None
    user = db.session.scalar(User.select_by_email(token.email))
    user = user or users.get_or_create_user(token.email)
    if user.let_in_by == LetInBy.DEMO and not settings().demo:
        user.leave_demo()
        user.let_in_by = LetInBy.SETTING
    user.start_session(browser_name)
    return user
