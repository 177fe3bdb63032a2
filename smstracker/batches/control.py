"""Start, pause, resume and stop of a batch, in the audit log. The caller commits.

`actor` is who does it, as in the audit log.
"""

from datetime import datetime, timedelta

from sqlalchemy import func, select, update

from smstracker.clock import DAY, format_duration, utcnow
from smstracker.extensions import db, settings
from smstracker.messages.last_checks import MAX_LATE
from smstracker.messages.senders import offered_senders
from smstracker.models.audit_log import AuditAction, count_audit
from smstracker.models.batches import UNDER_WAY, Batch, BatchFile, BatchState
from smstracker.models.messages import Message, is_in_outbox
from smstracker.models.send_limits import count_to_come
from smstracker.models.users import User

RESTORED = (
    "This is from a backup. More of it may have been sent since: compare with Twilio's log first, "
    "or people may get the same text twice."
)
_ACTIONS = {
    BatchState.PAUSED: AuditAction.PAUSED_BATCH,
    BatchState.RUNNING: AuditAction.RESUMED_BATCH,
    BatchState.STOPPED: AuditAction.STOPPED_BATCH,
}
_NOT_READY = "This batch is not ready to be sent. Look at its page again."


class BatchRefusedError(Exception):
    """Nothing was changed; the message tells people why."""


class WrongCountError(BatchRefusedError):
    """Another number of messages was typed than would be sent."""


class EqualBatchError(BatchRefusedError):
    """The same texts were sent to the same people before, which people must say they know."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(f"The same texts were sent to the same people before, as “{batch.name}”.")
        self.public_id = batch.public_id


class LongPauseError(BatchRefusedError):
    """It was paused for so long that its texts may be out of date, which people must say they
    know.
    """

    def __init__(self, pause: timedelta) -> None:
        super().__init__(
            f"The batch has been paused for {format_duration(pause)}, so its texts may be out of "
            "date."
        )


def start(
    batch_id: int, typed_count: int | None, actor: str, *, knows_equal: bool = False
) -> Batch:
    """Start a batch whose number of messages a person has typed.

    Raises BatchRefusedError, WrongCountError, EqualBatchError. A batch that is started already
    stays as it is.
    """
    batch = Batch.lock(batch_id)
    if batch.is_started:
        return batch
    if batch.state != BatchState.READY or batch.content_deleted_at:
        raise BatchRefusedError(_NOT_READY)
    if typed_count != batch.good_count:
        raise WrongCountError(f"Type {batch.good_count}, the number of messages, to send them.")
    if batch.sender not in offered_senders():
        raise BatchRefusedError(
            "The sender of this batch is no longer available. Make a new batch with another one."
        )
    # One batch of an owner at a time: two at once could both keep within the limit.
    db.session.execute(select(User.id).where(User.id == batch.owner_id).with_for_update())
    equal = batch.find_equal()
    if equal is not None and not knows_equal:
        raise EqualBatchError(equal)
    now = utcnow()
    if problem := find_limit_problem(batch, now):
        raise BatchRefusedError(problem)
    batch.state, batch.started_at, batch.problem = BatchState.RUNNING, now, None
    BatchFile.remove(db.session.connection(), [batch_id])
    _audit(AuditAction.STARTED_BATCH, batch, actor)
    return batch


def pause(batch_id: int, actor: str) -> bool:
    """Pause a running batch; return whether it was running."""
    return _change(batch_id, (BatchState.RUNNING,), BatchState.PAUSED, actor)


def resume(batch_id: int, actor: str, *, knows_pause: bool = False) -> bool:
    """Go on with a paused batch; return whether it was paused. Raises LongPauseError.

    What waits of it is due from now on: nobody wants it to be too late.
    """
    batch, now = Batch.lock(batch_id), utcnow()
    asks_at = find_resume_question(batch)
    if asks_at and asks_at <= now and not knows_pause:
        raise LongPauseError(now - asks_at + MAX_LATE)
    if not _change(batch_id, (BatchState.PAUSED,), BatchState.RUNNING, actor):
        return False
    waiting = update(Message).where(Message.batch_id == batch_id, is_in_outbox())
    db.session.execute(
        waiting.values(send_at=now, status_at=now).execution_options(synchronize_session=False)
    )
    return True


def find_resume_question(batch: Batch) -> datetime | None:
    """From when on Resume asks first; None for a batch that is not paused."""
    if batch.state != BatchState.PAUSED or batch.paused_at is None:
        return None
    return batch.paused_at + MAX_LATE


def stop(batch_id: int, actor: str) -> bool:
    """Stop what is not handed over yet; return whether there was something to stop."""
    return _change(batch_id, UNDER_WAY, BatchState.STOPPED, actor)


def _change(batch_id: int, before: tuple[BatchState, ...], after: BatchState, actor: str) -> bool:
    batch = Batch.lock(batch_id)
    if batch.state not in before:
        return False
    batch.state = after
    batch.problem = None
    if after is BatchState.STOPPED:
        batch.ended_at = utcnow()
    batch.paused_at = utcnow() if after is BatchState.PAUSED else None
    db.session.flush()
    _audit(_ACTIONS[after], batch, actor)
    return True


def _audit(action: AuditAction, batch: Batch, actor: str) -> None:
    owner = db.session.get_one(User, batch.owner_id)
    count_audit(action, actor=actor, subject=f"batch {batch.public_id} of {owner.email}")


def find_limit_problem(batch: Batch, now: datetime) -> str | None:
    """Why the owner may not send this many messages now."""
    limit = settings().send_limit_per_day
    if batch.good_count > limit:
        return (
            f"You can send {limit:,} messages a day, and this batch has {batch.good_count:,}. "
            "Divide the batch, or ask an administrator to raise SEND_LIMIT_PER_DAY."
        )
    remaining = max(limit - count_of_day(batch.owner_id, now), 0)
    if batch.good_count <= remaining:
        return None
    wait = _wait_for(batch, now, batch.good_count - remaining)
    until = f"Try again in {format_duration(wait)}" if wait else "Wait until your batches are done"
    return (
        f"You can send {remaining:,} more of your {limit:,} messages a day, and this batch has "
        f"{batch.good_count:,}. {until}, or divide the batch."
    )


def count_of_day(owner_id: int, now: datetime) -> int:
    """Count an owner's messages of the last day, and those that batches have still to make."""
    to_come = count_to_come(owner_id)
    day = Message.select_creation_times(owner_id, now, DAY).order_by(None)
    capped = day.limit(settings().send_limit_per_day).subquery()
    sent = db.session.scalar(select(func.count()).select_from(capped)) or 0
    return sent + to_come


def _wait_for(batch: Batch, now: datetime, count: int) -> timedelta | None:
    """How long until `count` messages of the last day are older than a day."""
    oldest = Message.select_creation_times(batch.owner_id, now, DAY).order_by(None)
    oldest = oldest.order_by(Message.created_at).offset(count - 1).limit(1)
    created_at = db.session.scalar(oldest)
    return created_at + DAY - now if created_at else None
