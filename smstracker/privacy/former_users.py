"""The messages of deleted users: deleted in batches once they are settled, as far as asked."""

from datetime import datetime

from sqlalchemy import ColumnElement, delete, exists, func, select, update

from smstracker.clock import utcnow
from smstracker.extensions import db, settings
from smstracker.models import Message, RefusedCallback, User
from smstracker.privacy.removal import delete_messages, is_given_up, is_settled

BATCH_SIZE = 100  # messages a transaction, which keeps their callbacks waiting


def erase_batch() -> int:
    """Delete some settled messages of deleted users; return how many. Their totals stay."""
    now, connection = utcnow(), db.session.connection()
    is_of_former_user = Message.owner_id.in_(select(User.id).where(User.erases_messages))
    query = select(Message.id, Message.twilio_sid).where(is_of_former_user, _is_over(now))
    sids = {row.id: row.twilio_sid for row in connection.execute(query.limit(BATCH_SIZE))}
    if not sids:
        _forget_finished()
        return 0
    at_twilio = settings().redact_at_twilio
    removal = delete_messages(connection, sids, now, at_twilio=at_twilio, created_before=None)
    removed_sids = [sid for id_ in removal.message_ids if (sid := sids[id_])]
    connection.execute(delete(RefusedCallback).where(RefusedCallback.twilio_sid.in_(removed_sids)))
    return len(removal.message_ids)


def count_unsettled(user: User) -> int:
    """Count the messages of a user that are under way, so that they cannot be deleted yet."""
    under_way = select(func.count()).where(Message.owner_id == user.id, ~_is_over(utcnow()))
    return db.session.scalar(under_way) or 0


def _is_over(now: datetime) -> ColumnElement[bool]:
    """The condition of a message whose outcome nobody waits for."""
    return is_settled(now) | is_given_up(now)


def _forget_finished() -> None:
    """Note which users have no message left to delete."""
    has_messages = exists().where(Message.owner_id == User.id)
    finished = update(User).where(User.erases_messages, ~has_messages)
    db.session.execute(finished.values(erases_messages=False))
