"""Changes of users by administrators and commands, each recorded in the audit log.

At least one administrator who may sign in stays, also if two change users at the same moment.
"""

from collections.abc import Sequence

from sqlalchemy import delete, select, update

from smstracker.clock import utcnow
from smstracker.database.advisory_locks import lock_key
from smstracker.extensions import db, settings
from smstracker.models.api_tokens import ApiToken
from smstracker.models.audit_log import AuditAction, record_audit
from smstracker.models.batches import Batch, BatchState, SavedText
from smstracker.models.recipient_searches import RecipientSearch
from smstracker.models.sign_in import NewToken, SignInToken
from smstracker.models.users import Appearance, LetInBy, User, address_hash, matches_admission


class UserChangeError(Exception):
    """A user cannot be changed; the text says why."""


class UserDeletedError(UserChangeError):
    """Somebody has deleted the user since it was read."""

    def __init__(self) -> None:
        super().__init__("Somebody else has just deleted this user. Nothing was changed.")


class LastAdministratorError(UserChangeError):
    """The change would leave nobody who administers; the text says so."""

    def __init__(self, email: str) -> None:
        super().__init__(
            f"{email} is the only administrator who may sign in. Make somebody else one first."
        )


def add_user(email: str, administrator: bool | None, actor: str) -> User:
    """Let a normalized address in, again if need be; `administrator=None` keeps that right.

    Raises LastAdministratorError.
    """
    _lock_administrators()
    user = db.session.scalar(User.select_by_email(email))
    if user is None:
        user = User(email=email, administrator=False)
        db.session.add(user)
    was_shut_out = User.shut_out_hash == address_hash(email)
    db.session.execute(update(User).where(was_shut_out).values(shut_out_hash=None))
    was_administrator = user.administrator
    if administrator is False:
        _refuse_if_last_administrator(user)
    _admit(user, administrator, actor)
    _record_role(user, was_administrator, actor)
    db.session.flush()
    return user


def admit_user(user: User, actor: str) -> None:
    """Give an existing user lasting access again. Raises UserDeletedError."""
    _lock_user(user)
    _admit(user, None, actor)


def _admit(user: User, administrator: bool | None, actor: str) -> None:
    admission = (user.active, user.let_in_by)
    user.add(administrator)
    if (user.active, user.let_in_by) != admission:
        record_audit(AuditAction.ADDED_USER, actor=actor, subject=user.email)


def give_administrator(user: User, actor: str) -> None:
    """Give the administrator role. Raises UserDeletedError."""
    _set_administrator(user, True, actor)


def take_administrator(user: User, actor: str) -> None:
    """Take the administrator role. Raises UserChangeError."""
    _set_administrator(user, False, actor)


def _set_administrator(user: User, is_administrator: bool, actor: str) -> None:
    _lock_user(user)
    was_administrator = user.administrator
    if not is_administrator:
        _refuse_if_last_administrator(user)
    user.administrator = is_administrator
    _record_role(user, was_administrator, actor)


def deactivate_user(user: User, actor: str) -> None:
    """Shut a user out at once: sessions and tokens end, sign-in links die.

    Raises UserChangeError.
    """
    _lock_user(user)
    _refuse_if_last_administrator(user)
    user.deactivate()
    ApiToken.end_all(user.id)
    _delete_links(user)
    _end_batches(user, (BatchState.RUNNING,), BatchState.PAUSED)
    record_audit(AuditAction.DEACTIVATED_USER, actor=actor, subject=user.email)


def delete_user(user: User, erases_messages: bool, actor: str) -> None:
    """Empty the account: no address, sessions, tokens, links or settings stay.

    Its id is not used again. The messages belong to nobody then; the worker erases them if asked.
    The audit log keeps the address. That of a deactivated user stays shut out.
    Raises UserChangeError: the first of two who delete a user decides on the messages.
    """
    _lock_user(user)
    _refuse_if_last_administrator(user)
    action = AuditAction.ERASED_USER if erases_messages else AuditAction.DELETED_USER
    record_audit(action, actor=actor, subject=user.email)
    if not user.active:
        user.shut_out_hash = address_hash(user.email)
    user.deactivate()
    _delete_links(user)
    db.session.execute(delete(ApiToken).where(ApiToken.owner_id == user.id))
    db.session.execute(delete(RecipientSearch).where(RecipientSearch.owner_id == user.id))
    db.session.execute(delete(SavedText).where(SavedText.owner_id == user.id))
    _end_batches(user, (BatchState.RUNNING, BatchState.PAUSED), BatchState.STOPPED)
    user.email, user.deleted_at = f"former user {user.id}", utcnow()
    user.administrator, user.let_in_by, user.last_sign_in_at = False, LetInBy.ADDED, None
    user.time_zone, user.appearance = None, Appearance.SYSTEM
    user.has_shortcuts, user.shows_exact_times = True, False
    user.erases_messages = erases_messages
    db.session.flush()


def sign_user_out(user: User, actor: str) -> None:
    """End all sessions of a user, and links that would start new ones. Raises UserDeletedError."""
    _lock_user(user)
    user.end_sessions()
    _delete_links(user)
    record_audit(AuditAction.SIGNED_USER_OUT, actor=actor, subject=user.email)


def make_sign_in_link(email: str, actor: str) -> NewToken:
    """Issue a link that signs an address in, to be handed over by a person; ends the former one."""
    record_audit(AuditAction.MADE_SIGN_IN_LINK, actor=actor, subject=email)
    SignInToken.delete_printed(email)
    return SignInToken.issue(email)


def _record_role(user: User, was_administrator: bool, actor: str) -> None:
    if user.administrator != was_administrator:
        is_new = user.administrator
        action = AuditAction.GAVE_ADMINISTRATOR if is_new else AuditAction.TOOK_ADMINISTRATOR
        record_audit(action, actor=actor, subject=user.email)


def _lock_user(user: User) -> None:
    """Let changes wait for each other. Raises UserDeletedError if the last one deleted the user."""
    _lock_administrators()
    if user.deleted_at is not None:
        raise UserDeletedError


def _lock_administrators() -> None:
    """Let changes of administrators wait for each other, and read what the last one left."""
    lock_key(db.session.connection(), "administrators")
    db.session.expire_all()


def _refuse_if_last_administrator(user: User) -> None:
    columns = (User.id, User.let_in_by, User.email)
    query = select(*columns).where(User.active, User.administrator)
    administrators = {
        row.id
        for row in db.session.execute(query)
        if matches_admission(settings(), row.let_in_by, row.email)
    }
    if administrators == {user.id}:
        raise LastAdministratorError(user.email)


def _delete_links(user: User) -> None:
    db.session.execute(delete(SignInToken).where(SignInToken.email == user.email))


def _end_batches(user: User, before: Sequence[BatchState], after: BatchState) -> None:
    """Pause or stop the batches of a user who is no longer there."""
    moment = "ended_at" if after is BatchState.STOPPED else "paused_at"
    changes: dict[str, object] = {"state": after, moment: utcnow()}
    batches = update(Batch).where(Batch.owner_id == user.id, Batch.state.in_(before))
    db.session.execute(batches.values(changes))
