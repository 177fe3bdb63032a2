"""The messages of deleted users, as far as asked: those that wait here are cancelled, and all are
deleted a few at a time once they are settled.
"""

from collections.abc import Iterator

from sqlalchemy import func, select

from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db, settings
from smstracker.models import Message, User, outbox
from smstracker.models.messages import is_in_outbox
from smstracker.privacy.portions import Portion, run_portions
from smstracker.privacy.removal import delete_messages, is_over


def erase_former_users() -> Iterator[int]:
    """Delete the messages of deleted users that wait here or are over; yields how many of each
    second.

    Their totals stay.
    """
    yield from run_portions(_erase_portion)


def _erase_portion(portion: Portion) -> int:
    now = utcnow()
    is_of_former_user = Message.owner_id.in_(select(User.id).where(User.erases_messages))
    may_go = is_in_outbox() | is_over(now)
    query = select(Message.id).where(is_of_former_user, may_go).limit(portion.size)
    with reading_connection(db.engine) as connection:
        if connection.execute(query).first() is None:
            return 0
    with portion.turn() as connection:
        ids = connection.scalars(query.with_for_update(skip_locked=True, of=Message)).all()
        waiting = select(Message.id).where(Message.id.in_(ids), is_in_outbox())
        for message_id in connection.scalars(waiting).all():
            outbox.cancel(connection, message_id)
        at_twilio = settings().redact_at_twilio
        removal = delete_messages(connection, ids, now, at_twilio=at_twilio, created_before=None)
    return len(removal.message_ids)


def count_unsettled(user: User) -> int:
    """Count the messages of a user that are under way, so that they cannot be deleted yet."""
    under_way = select(func.count()).where(Message.owner_id == user.id, ~is_over(utcnow()))
    return db.session.scalar(under_way) or 0
