"""Sign-in by e-mail: one live token for an address, stored only as a digest."""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import String, delete, select, update
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql import ColumnElement

from smstracker.clock import utcnow
from smstracker.database import UtcDateTime, insert, rows
from smstracker.extensions import Model, db, settings
from smstracker.models.users import User, UserSession, digest, fold

LIFETIME = timedelta(minutes=15)
CODE_TRIES = 5


@dataclass(frozen=True, slots=True)
class Issued:
    """What goes into the mail and is stored nowhere: the link's token and the six-digit code."""

    token: str
    code: str


class SignInToken(Model):
    """The newest token of an address: the address is the key, so a newer mail cancels an older."""

    __tablename__ = "sign_in_token"

    email: Mapped[str] = mapped_column(String(254), primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    code_hash: Mapped[str | None] = mapped_column(String(64))
    browser_hash: Mapped[str | None] = mapped_column(String(64), index=True)
    attempts_left: Mapped[int]
    next_path: Mapped[str | None] = mapped_column(String(500))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @classmethod
    def issue(cls, email: str, browser: str | None = None, next_path: str | None = None) -> Issued:
        """Make the token of `email`; without the asking `browser` its code is good for nothing."""
        issued = Issued(secrets.token_urlsafe(32), f"{secrets.randbelow(10**6):06}")
        values = {
            "token_hash": digest(issued.token),
            "code_hash": _code_hash(issued.code, browser) if browser else None,
            "browser_hash": digest(browser) if browser else None,
            "attempts_left": CODE_TRIES if browser else 0,
            "next_path": next_path,
            "expires_at": utcnow() + LIFETIME,
            "used_at": None,
        }
        fresh = insert(db.engine, cls).values(email=fold(email), **values)
        db.session.execute(fresh.on_conflict_do_update(index_elements=["email"], set_=values))
        cls.purge()
        UserSession.end_stale()
        return issued

    @classmethod
    def purge(cls) -> int:
        """Forget the tokens that are long dead; how many."""
        stale = select(cls.email).where(cls.expires_at < utcnow() - LIFETIME)
        free = stale.with_for_update(skip_locked=True)
        return rows(db.session.execute(delete(cls).where(cls.email.in_(free))))

    @classmethod
    def redeem_link(cls, token: str) -> "SignInToken | None":
        """Spend the token; of any number of tries at once, one gets it."""
        return cls._spend(cls.token_hash == digest(token))

    @classmethod
    def redeem_code(cls, code: str, browser: str) -> "SignInToken | None":
        """Spend the token by its code, in the browser that asked; each call costs one try."""
        counted = (
            update(cls)
            .where(cls.browser_hash == digest(browser), cls.attempts_left > 0, cls.is_live())
            .values(attempts_left=cls.attempts_left - 1)
            .returning(cls.email, cls.token_hash, cls.code_hash)
        )
        row = db.session.execute(counted).first()
        if row is None or not hmac.compare_digest(row.code_hash, _code_hash(code, browser)):
            return None
        return cls._spend(cls.token_hash == row.token_hash)

    @classmethod
    def is_live(cls) -> ColumnElement[bool]:
        return cls.used_at.is_(None) & (cls.expires_at > utcnow())

    @classmethod
    def _spend(cls, condition: ColumnElement[bool]) -> "SignInToken | None":
        spent = update(cls).where(condition, cls.is_live()).values(used_at=utcnow())
        return db.session.scalar(spent.returning(cls))


def _code_hash(code: str, browser: str) -> str:
    """A million codes are tried in no time, so the digest is keyed with what a thief lacks."""
    key = settings().secret_key.encode()
    return hmac.new(key, f"{browser}:{code}".encode(errors="replace"), sha256).hexdigest()


def may_sign_in(email: str) -> bool:
    """Whether this address belongs to an active user or is let in by SIGN_IN_ALLOW."""
    user = db.session.scalar(User.by_email(email))
    return user.active if user else is_allowed(email)


def is_allowed(email: str) -> bool:
    """Whether SIGN_IN_ALLOW names this address or its domain."""
    allow, address = settings().sign_in_allow, fold(email)
    return allow is None or address in allow or "@" + address.rpartition("@")[2] in allow


def signed_in_by(token: SignInToken) -> User | None:
    """The user that a spent token signs in, made on the first sign-in; None if shut out since."""
    if not may_sign_in(token.email):
        return None
    user = db.session.scalar(User.by_email(token.email))
    if user is None:
        # On a laptop there is nobody else to show the connection to.
        fresh = insert(db.engine, User).values(email=token.email, administrator=settings().demo)
        db.session.execute(fresh.on_conflict_do_nothing())
        user = db.session.scalars(User.by_email(token.email)).one()
    user.start_session()
    return user
