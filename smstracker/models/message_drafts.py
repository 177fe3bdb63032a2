"""Messages before they are saved: once for each key, and within the limits of their owner."""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.sql import func, select

from smstracker.clock import utcnow
from smstracker.extensions import db, settings
from smstracker.models.batches import UNDER_WAY, Batch
from smstracker.models.messages import Content, Message
from smstracker.models.rate_limits import RateLimit, RateLimitRule
from smstracker.models.sender_pace import SenderPace
from smstracker.models.tombstones import HashedKind, Tombstone, keyed_hash
from smstracker.models.users import User
from smstracker.sms import status
from smstracker.sms.lookup_schedule import first_lookup


class NotSavedError(Exception):
    """The message is not saved."""


class AlreadySentError(NotSavedError):
    """This form instance was sent before; `message` is the one it created, None if deleted."""

    def __init__(self, message: Message | None, is_same_content: bool) -> None:
        super().__init__("the form was sent before")
        self.message, self.is_same_content = message, is_same_content


class SendLimitError(NotSavedError):
    """The user has sent `limit` messages in a `period`, or batches have still to send `to_come` of
    them; the next may be sent after `wait`.
    """

    def __init__(self, limit: int, period: str, wait: timedelta, to_come: int = 0) -> None:
        super().__init__("the send limit is reached")
        self.limit, self.period, self.wait, self.to_come = limit, period, wait, to_come

    @property
    def words(self) -> str:
        """The limit: "100 messages in a day"."""
        to_come = f", {self.to_come:,} of them still to be sent by batches" if self.to_come else ""
        return f"{self.limit:,} messages in a {self.period}{to_come}"


class OwnLimitError(NotSavedError):
    """A limit of the draft's own is reached; the next may be saved after `wait`."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__("a limit of its own is reached")
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before it is saved; `limits` are its own, beside those of its owner."""

    owner_id: int
    idempotency_key: uuid.UUID
    content: Content
    status: str = status.OUTBOX
    send_at: datetime | None = None
    batch_id: int | None = None
    reference: str | None = None
    request_hash: str | None = None
    token_id: int | None = None
    limits: tuple[RateLimitRule, ...] = ()

    @property
    def key(self) -> tuple[int, uuid.UUID]:
        """What no two messages share."""
        return self.owner_id, self.idempotency_key


def create_pending(owner_id: int, idempotency_key: uuid.UUID, content: Content) -> Message:
    """Save a message to be sent now, once for each `idempotency_key`, within the send limits.

    Raises AlreadySentError or SendLimitError; nothing is saved then.
    """
    return _save(Draft(owner_id, idempotency_key, content, status="pending"))


def create_queued(
    owner_id: int,
    idempotency_key: uuid.UUID,
    content: Content,
    *,
    send_at: datetime | None = None,
    batch_id: int | None = None,
    reference: str | None = None,
    request_hash: str | None = None,
) -> Message:
    """Save a message for the workers to hand over, from `send_at` on; None: at once.

    Counts in the send limits now, whenever it is sent. Raises as `create_pending` does.
    """
    draft = Draft(
        owner_id,
        idempotency_key,
        content,
        send_at=send_at,
        batch_id=batch_id,
        reference=reference,
        request_hash=request_hash,
    )
    return _save(draft)


def create_resend(original: Message) -> Message:
    """Save the one resend of `original`. Raises as `create_pending` does."""
    idempotency_key = uuid.uuid5(original.public_id, "again")
    message = create_pending(original.owner_id, idempotency_key, original.content)
    message.resend_of_id = original.id
    return message


def _save(draft: Draft) -> Message:
    [outcome] = create_all([draft])
    if isinstance(outcome, NotSavedError):
        raise outcome
    return outcome


def _build(draft: Draft, now: datetime) -> Message:
    message = Message(owner_id=draft.owner_id, idempotency_key=draft.idempotency_key)
    message.created_at = message.status_at = now
    message.status, message.next_lookup_at = draft.status, first_lookup(draft.status, now)
    if draft.status == status.OUTBOX:
        message.send_at = draft.send_at or now
    message.batch_id, message.reference = draft.batch_id, draft.reference
    message.request_hash, message.token_id = draft.request_hash, draft.token_id
    message.set_content(draft.content)
    return message


def create_all(drafts: Sequence[Draft]) -> list[Message | NotSavedError]:
    """Save each draft once for its key and within the send limits, or say why it is not saved.

    As few statements as for one: whoever saves many at once holds the lock of their owner less.
    """
    lock_owners({draft.owner_id for draft in drafts})
    return create_locked(drafts)


def lock_owners(owner_ids: Collection[int]) -> None:
    """Have one transaction of an owner at a time: two at once could both pass a check."""
    lock = select(User.id).where(User.id.in_(sorted(owner_ids))).order_by(User.id)
    db.session.execute(lock.with_for_update())


def create_locked(drafts: Sequence[Draft]) -> list[Message | NotSavedError]:
    """Save drafts as `create_all` does, in a transaction that has locked their owners."""
    earlier, deleted_keys, now = _find_earlier(drafts), _find_deleted(drafts), utcnow()
    draft_counts = Counter(draft.owner_id for draft in drafts)
    allowances = {id: _Allowance(id, count, now) for id, count in draft_counts.items()}
    outcomes: list[Message | NotSavedError] = []
    for draft in drafts:
        outcome = _refusal(draft, earlier, deleted_keys, allowances[draft.owner_id])
        outcomes.append(outcome or earlier.setdefault(draft.key, _build(draft, now)))
    messages = [outcome for outcome in outcomes if isinstance(outcome, Message)]
    db.session.add_all(messages)
    connection = db.session.connection()
    for sender in {m.content.sender for m in messages if m.status == status.OUTBOX}:
        SenderPace.ensure_exists(connection, sender)
    db.session.flush()
    return outcomes


def _refusal(
    draft: Draft,
    earlier: Mapping[tuple[int, uuid.UUID], Message],
    deleted_keys: Collection[tuple[int, uuid.UUID]],
    allowance: "_Allowance",
) -> NotSavedError | None:
    if message := earlier.get(draft.key):
        return AlreadySentError(message, is_same_content=message.content == draft.content)
    if draft.key in deleted_keys:
        return AlreadySentError(None, is_same_content=False)
    if error := allowance.error():
        return error
    if draft.limits:
        connection = db.session.connection()
        if wait := RateLimit.retry_after(connection, draft.limits):
            return OwnLimitError(wait)
        RateLimit.hit(connection, draft.limits)
    allowance.take()
    return None


def _find_earlier(drafts: Sequence[Draft]) -> dict[tuple[int, uuid.UUID], Message]:
    """The messages that the drafts' keys have made, by owner and key."""
    owner_ids = {draft.owner_id for draft in drafts}
    keys = [draft.idempotency_key for draft in drafts]
    query = select(Message).where(Message.owner_id.in_(owner_ids))
    messages = db.session.scalars(query.where(Message.idempotency_key.in_(keys)))
    return {(message.owner_id, message.idempotency_key): message for message in messages}


def _find_deleted(drafts: Sequence[Draft]) -> set[tuple[int, uuid.UUID]]:
    """The keys of messages that were sent and have been deleted since."""
    connection = db.session.connection()
    hashes = {keyed_hash(connection, HashedKind.FORM, *draft.key): draft.key for draft in drafts}
    return {hashes[key_hash] for key_hash in Tombstone.find(connection, list(hashes))}


def count_to_come(owner_id: int) -> int:
    """Count the messages that the batches of an owner that are under way have still to make.

    To be read before the messages: one that is made meanwhile may count twice, but is not missed.
    """
    to_come = select(func.sum(Batch.good_count - Batch.queued_count))
    is_under_way = (Batch.owner_id == owner_id, Batch.state.in_(UNDER_WAY))
    return db.session.scalar(to_come.where(*is_under_way)) or 0


class _Allowance:
    """How many messages an owner may save now, of `size`.

    A batch counts in the limit of the day with all its messages from its start on.
    """

    def __init__(self, owner_id: int, size: int, now: datetime) -> None:
        self._rest = size
        self._error: SendLimitError | None = None
        to_come = count_to_come(owner_id)
        for limit, period, width, reserved in (
            (settings().send_limit_per_minute, "minute", timedelta(minutes=1), 0),
            (settings().send_limit_per_day, "day", timedelta(days=1), to_come),
        ):
            free = max(limit - reserved, 0)
            newest = Message.select_creation_times(owner_id, now, width)
            if period == "minute":  # it is for people who press too often; a batch has its pace
                newest = newest.where(Message.batch_id.is_(None))
            # Those before the newest `free - size` keep the owner from saving so many more.
            offset = max(free - size, 0)
            blocking = db.session.scalars(newest.offset(offset).limit(min(size, free))).all()
            rest = min(size, free) - len(blocking)
            if rest < self._rest:
                # The oldest that counts has to be past, or one of those that are saved now.
                blocked_since = blocking[-1] if blocking else now
                wait = blocked_since + width - now
                self._rest, self._error = rest, SendLimitError(limit, period, wait, reserved)

    def error(self) -> SendLimitError | None:
        """Why no further message may be saved; None if one may."""
        return self._error if self._rest <= 0 else None

    def take(self) -> None:
        self._rest -= 1
