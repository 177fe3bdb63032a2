"""The messages of deleted users: erased in batches once they are settled, as far as asked."""

from sqlalchemy import ColumnElement, delete, exists, func, select, update

from smstracker.extensions import db
from smstracker.models.events import StatusEvent
from smstracker.models.insight_counts import keep_totals
from smstracker.models.message_text import message_text
from smstracker.models.messages import Message
from smstracker.models.refused_callbacks import RefusedCallback
from smstracker.models.users import User

BATCH_SIZE = 100  # messages a transaction, which keeps their callbacks waiting


def erase_batch() -> int:
    """Erase some settled messages of deleted users; return how many. Their totals stay."""
    is_due = Message.owner_id.in_(select(User.id).where(User.erases_messages))
    query = select(Message.id, Message.twilio_sid).where(is_due, _is_settled())
    unlocked = query.limit(BATCH_SIZE).with_for_update(skip_locked=True, of=Message)
    rows = db.session.execute(unlocked).all()
    if not rows:
        _forget_finished()
        return 0
    ids, sids = [row.id for row in rows], [row.twilio_sid for row in rows if row.twilio_sid]
    connection = db.session.connection()
    keep_totals(connection, ids)
    connection.execute(
        update(Message).where(Message.resend_of_id.in_(ids)).values(resend_of_id=None)
    )
    connection.execute(delete(RefusedCallback).where(RefusedCallback.twilio_sid.in_(sids)))
    # On SQLite, a trigger does that.
    connection.execute(delete(message_text).where(message_text.c.message_id.in_(ids)))
    connection.execute(delete(StatusEvent).where(StatusEvent.message_id.in_(ids)))
    connection.execute(delete(Message).where(Message.id.in_(ids)))
    return len(ids)


def count_unsettled(user: User) -> int:
    """Count the messages of a user that are under way, so that they cannot be erased yet."""
    under_way = select(func.count()).where(Message.owner_id == user.id, ~_is_settled())
    return db.session.scalar(under_way) or 0


def _is_settled() -> ColumnElement[bool]:
    """The condition of a message whose outcome nobody waits for: no look-up is planned."""
    return Message.next_lookup_at.is_(None)


def _forget_finished() -> None:
    """Note which users have no message left to erase."""
    has_messages = exists().where(Message.owner_id == User.id)
    finished = update(User).where(User.erases_messages, ~has_messages)
    db.session.execute(finished.values(erases_messages=False))
