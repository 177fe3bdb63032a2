"""Sign-in by e-mail: tokens that live for minutes, stored only as digests."""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import String, and_, delete, func, select, update
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql import ColumnElement

from smstracker.clock import utcnow
from smstracker.database.engine import READS_ONLY, UtcDateTime, affected_rows
from smstracker.extensions import Model, db, settings
from smstracker.models.users import (
    LetInBy,
    User,
    UserSession,
    digest,
    is_allowed,
    stored_spelling,
    user_not_added,
)

LIFETIME = timedelta(minutes=15)
CODE_TRIES = 5
MOST_CODES = 5  # mails with a code to one address in half an hour
MOST_LIVE = 300  # more than the limits let anybody ask for while the first of them lives


@dataclass(frozen=True, slots=True)
class NewToken:
    """What goes into the mail and is stored nowhere: the link's token, mostly a six-digit code."""

    token: str
    code: str | None


class SignInToken(Model):
    """One sign-in link, and in a mail its code. Several of an address may live at once.

    So a stranger who asks for a mail cancels neither the mail that the owner got nor a link of
    the command. A browser's code is that of its newest mail: it remembers no older one.
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
        """Make a token of `email`; its code is for the `browser` that asked, if any did."""
        code = _new_code() if browser and _may_have_code(email) else None
        issued = NewToken(secrets.token_urlsafe(32), code)
        db.session.add(
            cls(
                email=stored_spelling(email),
                token_hash=digest(issued.token),
                code_hash=_code_hash(code, browser) if code and browser else None,
                browser_hash=digest(browser) if browser else None,
                attempts_left=CODE_TRIES if code else 0,
                next_path=next_path,
                expires_at=utcnow() + LIFETIME,
                is_demo=settings().demo,
            )
        )
        db.session.flush()
        cls._forget_oldest(email, browser is not None)
        cls.purge()
        UserSession.end_stale()
        return issued

    @classmethod
    def _forget_oldest(cls, email: str, is_mailed: bool) -> None:
        """Keep the newest MOST_LIVE of the address: mails and printed links apart."""
        kind = cls.browser_hash.is_not(None) if is_mailed else cls.browser_hash.is_(None)
        newest = select(cls.id).where(cls.email == stored_spelling(email), kind)
        oldest = newest.order_by(cls.id.desc()).offset(MOST_LIVE)
        ids = db.session.scalars(oldest).all()
        if ids:
            db.session.execute(delete(cls).where(cls.id.in_(ids)))

    @classmethod
    def purge(cls) -> int:
        """Forget the tokens that are long dead; how many."""
        stale = select(cls.id).where(cls.expires_at < utcnow() - LIFETIME)
        free = stale.with_for_update(skip_locked=True)
        return affected_rows(db.session.execute(delete(cls).where(cls.id.in_(free))))

    @classmethod
    def is_live_link(cls, token: str) -> bool:
        """Whether the link can still be redeemed; spends nothing and waits for no lock."""
        return cls._exists(cls.token_hash == digest(token))

    @classmethod
    def redeem_link(cls, token: str) -> "SignInToken | None":
        """Spend the token; of any number of tries at once, one gets it."""
        is_token = cls.token_hash == digest(token)
        return cls._spend(is_token) if cls._exists(is_token) else None

    @classmethod
    def redeem_code(cls, code: str, browser: str) -> "SignInToken | None":
        """Spend the token by its code, in the browser that asked; each call costs one try."""
        condition = (cls.browser_hash == digest(browser)) & (cls.attempts_left > 0)
        if not cls._exists(condition):
            return None
        counted = (
            update(cls)
            .where(condition, cls.is_live())
            .values(attempts_left=cls.attempts_left - 1)
            .returning(cls.token_hash, cls.code_hash)
        )
        row = db.session.execute(counted).first()
        if row is None or not hmac.compare_digest(row.code_hash, _code_hash(code, browser)):
            return None
        return cls._spend(cls.token_hash == row.token_hash)

    @classmethod
    def is_live(cls) -> ColumnElement[bool]:
        return and_(
            cls.used_at.is_(None), cls.expires_at > utcnow(), cls.is_demo == settings().demo
        )

    @classmethod
    def _spend(cls, condition: ColumnElement[bool]) -> "SignInToken | None":
        spent = update(cls).where(condition, cls.is_live()).values(used_at=utcnow())
        return db.session.scalar(spent.returning(cls))

    @classmethod
    def _exists(cls, condition: ColumnElement[bool]) -> bool:
        """Look without a lock first: a stranger's guesses must not keep others from writing."""
        with db.engine.connect().execution_options(**{READS_ONLY: True}) as connection:
            return connection.scalar(select(cls.id).where(condition, cls.is_live())) is not None


def _new_code() -> str:
    return f"{secrets.randbelow(10**6):06}"


def _may_have_code(email: str) -> bool:
    """Whether few mails with a code went to this address lately.

    Strangers may ask for mails from many clients, and each code is worth CODE_TRIES guesses. The
    link of a mail cannot be guessed, so that is what the mails beyond have alone.
    """
    codes = select(func.count()).where(
        SignInToken.email == stored_spelling(email),
        SignInToken.code_hash.is_not(None),
        SignInToken.expires_at > utcnow() - LIFETIME,
    )
    return (db.session.scalar(codes) or 0) < MOST_CODES


def _code_hash(code: str, browser: str) -> str:
    """A million codes are tried in no time, so the digest is keyed with what a thief lacks."""
    key = settings().secret_key.encode()
    return hmac.new(key, f"{browser}:{code}".encode(errors="replace"), sha256).hexdigest()


def may_sign_in(email: str) -> bool:
    """Whether this address is of an active user who is let in, or named by SIGN_IN_ALLOW."""
    user = db.session.scalar(User.by_email(email))
    return user.is_let_in(settings()) if user else is_allowed(settings(), stored_spelling(email))


def find_signed_in_user(token: SignInToken) -> User | None:
    """The user that a spent token signs in, made on the first sign-in; None if shut out since."""
    if not may_sign_in(token.email):
        return None
    user = db.session.scalar(User.by_email(token.email)) or user_not_added(token.email)
    if user.let_in_by == LetInBy.DEMO and not settings().demo:
        user.leave_demo()
        user.let_in_by = LetInBy.SETTING
    user.start_session()
    return user
