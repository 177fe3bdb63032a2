"""Messages that a restore holds, and nobody edits or cancels: in the end they are not sent."""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.messages import last_checks
from smstracker.messages.last_checks import SendObstacle
from smstracker.models import Message
from smstracker.models.display_state import MAX_SCHEDULE_AHEAD
from smstracker.models.keep_settings import KeepSetting, days_in_force
from smstracker.models.messages import is_held
from smstracker.privacy.portions import Portion, run_portions
from smstracker.sms.stop_reasons import StopReason


def end_held_messages() -> Iterator[int]:
    """End messages held longer than KEEP_TEXT_DAYS, KEEP_MESSAGE_DAYS or the longest schedule.

    Yields the number of messages, once a second.
    """
    yield from run_portions(_end_portion)


def _end_portion(portion: Portion) -> int:
    now = utcnow()
    columns = (Message.id, Message.owner_id, Message.status_at)
    with reading_connection(db.engine) as connection, Session(connection) as session:
        is_due = is_held() & (Message.status_at < now - _patience(connection))
        rows = connection.execute(select(*columns).where(is_due).limit(portion.size)).all()
        if not rows:
            return 0
        ids_with_access = last_checks.find_ids_with_access(session, {row.owner_id for row in rows})
    reasons = {
        row.id: _find_reason(row.owner_id in ids_with_access, now - row.status_at) for row in rows
    }
    with portion.turn() as connection:
        query = select(Message.id).where(Message.id.in_(reasons), is_held()).order_by(Message.id)
        ids = connection.scalars(query.with_for_update(skip_locked=True)).all()
        for message_id in ids:
            last_checks.stop(connection, message_id, SendObstacle(reasons[message_id]))
    return len(ids)


def _patience(connection: Connection) -> timedelta:
    """For how long a message is held."""
    kept_days = (days_in_force(connection, setting) for setting in KeepSetting)
    kept = (timedelta(days=days) for days in kept_days if days is not None)
    return min([MAX_SCHEDULE_AHEAD, *kept])


def _find_reason(has_access: bool, held_for: timedelta) -> StopReason:
    if not has_access:
        return StopReason.NO_ACCESS
    return StopReason.TOO_LATE if held_for > MAX_SCHEDULE_AHEAD else StopReason.TEXT_DELETED
