"""Messages before they are saved: once for each key, and within the limits of their owner."""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BindParameter, bindparam
from sqlalchemy.sql import select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models.messages import Content, Message
from smstracker.models.rate_limits import RateLimit, RateLimitRule
from smstracker.models.send_limits import NotSavedError, SendAllowance
from smstracker.models.sender_pace import SenderPace
from smstracker.models.tombstones import HashedKind, Tombstone, keyed_hash
from smstracker.models.users import User
from smstracker.sms import status
from smstracker.sms.lookup_schedule import first_lookup

# Made once, as each send runs them.
_OF_OWNERS: BindParameter[Collection[int]] = bindparam("owner_ids", expanding=True)
_LOCK_OWNERS = select(User.id).where(User.id.in_(_OF_OWNERS)).order_by(User.id).with_for_update()
_SELECT_EARLIER = select(Message.id).where(
    Message.owner_id.in_(_OF_OWNERS),
    Message.idempotency_key.in_(bindparam("keys", expanding=True)),
)


class AlreadySentError(NotSavedError):
    """This form instance was sent before; `message` is the one it created, None if deleted."""

    def __init__(self, message: Message | None, is_same_content: bool) -> None:
        super().__init__("the form was sent before")
        self.message, self.is_same_content = message, is_same_content


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
    return _save(Draft(owner_id, idempotency_key, content, status=status.PENDING))


def create_queued(
    owner_id: int,
    idempotency_key: uuid.UUID,
    content: Content,
    *,
    send_at: datetime | None = None,
) -> Message:
    """Save a message for the workers to hand over, from `send_at` on; None: at once.

    Counts in the send limits now, whenever it is sent. Raises as `create_pending` does.
    """
    return _save(Draft(owner_id, idempotency_key, content, send_at=send_at))


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
    message.reference = draft.reference
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
    db.session.connection().execute(_LOCK_OWNERS, {"owner_ids": list(owner_ids)})


def create_locked(drafts: Sequence[Draft]) -> list[Message | NotSavedError]:
    """Save drafts as `create_all` does, in a transaction that has locked their owners."""
    earlier, deleted_keys, now = _find_earlier(drafts), _find_deleted(drafts), utcnow()
    draft_counts = Counter(draft.owner_id for draft in drafts)
    allowances = {id: SendAllowance(id, count, now) for id, count in draft_counts.items()}
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
    allowance: "SendAllowance",
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
    owner_ids = list({draft.owner_id for draft in drafts})
    keys = {"owner_ids": owner_ids, "keys": [draft.idempotency_key for draft in drafts]}
    ids = db.session.connection().scalars(_SELECT_EARLIER, keys).all()
    if not ids:
        return {}
    messages = db.session.scalars(select(Message).where(Message.id.in_(ids)))
    return {(message.owner_id, message.idempotency_key): message for message in messages}


def _find_deleted(drafts: Sequence[Draft]) -> set[tuple[int, uuid.UUID]]:
    """The keys of messages that were sent and have been deleted since."""
    connection = db.session.connection()
    hashes = {keyed_hash(connection, HashedKind.FORM, *draft.key): draft.key for draft in drafts}
    return {hashes[key_hash] for key_hash in Tombstone.find(connection, list(hashes))}
