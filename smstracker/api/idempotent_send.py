"""A message of a program, saved once for each Idempotency-Key, whatever is repeated."""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil

from sqlalchemy import bindparam, select

from smstracker.api import problem_kinds
from smstracker.api.send_groups import TooManySavedError, save_message
from smstracker.api.send_request import read_send_request
from smstracker.api.sender_choice import check_sender
from smstracker.clock import format_wait
from smstracker.extensions import db
from smstracker.models import AlreadySentError, Message, SendLimitError
from smstracker.models.api_tokens import Caller
from smstracker.models.message_drafts import Draft, OwnLimitError
from smstracker.models.rate_limits import RateLimitRule
from smstracker.models.tombstones import HashedKind, keyed_hash
from smstracker.web.problem_details import ProblemError

# Made once, as each send runs it.
_SELECT_EARLIER = select(Message.id).where(
    Message.owner_id == bindparam("owner_id"),
    Message.idempotency_key == bindparam("idempotency_key"),
)


def queue_message(
    caller: Caller, key: str, fields: Mapping[str, object], now: datetime
) -> tuple[Message, bool]:
    """Save a message for the workers, or find the one that the same request has saved.

    Returns whether it is new. What was saved once is answered whatever has changed since: the
    time in `send_at` is past, the sender is gone, the text is deleted.
    Raises ProblemError or FieldErrors; nothing is saved then.
    """
    message_key = uuid.uuid5(uuid.UUID(int=caller.owner_id), key)
    request_hash = _hash(caller.owner_id, fields)
    key_values = {"owner_id": caller.owner_id, "idempotency_key": message_key}
    earlier_id = db.session.connection().scalar(_SELECT_EARLIER, key_values)
    if earlier_id is not None:
        return _same_request(db.session.get(Message, earlier_id), request_hash), False
    send_request = read_send_request(fields, caller.rights, now)
    check_sender(caller.rights, send_request.content.sender)
    draft = Draft(
        caller.owner_id,
        message_key,
        send_request.content,
        send_at=send_request.send_at,
        reference=send_request.reference,
        request_hash=request_hash,
        token_id=caller.token_id,
        limits=_limits(caller),
    )
    try:
        return _save(draft), True
    except AlreadySentError as error:  # saved by another thread meanwhile, or deleted
        return _same_request(error.message, request_hash), False


def _save(draft: Draft) -> Message:
    """Save and commit a message within all limits. Raises AlreadySentError or ProblemError."""
    try:
        return save_message(draft)
    except SendLimitError as error:
        detail = f"This user has reached the limit of {error.words}"
        raise _limit_problem(detail, error.wait) from error
    except TooManySavedError as error:
        detail = "As many messages of this user wait to be saved as may. Nothing was saved."
        headers = {"Retry-After": "2"}
        raise ProblemError(problem_kinds.TOO_MANY_WAIT, detail, headers=headers) from error
    except OwnLimitError as error:
        detail = "This token has reached its own limit of messages"
        raise _limit_problem(detail, error.wait) from error


def _limits(caller: Caller) -> tuple[RateLimitRule, ...]:
    """The limits of the token itself."""
    rights, prefix = caller.rights, f"token/{caller.token_id}"
    limits = (
        ("minute", rights.limit_per_minute, timedelta(minutes=1)),
        ("day", rights.limit_per_day, timedelta(days=1)),
    )
    return tuple(
        RateLimitRule(f"{prefix}/{period}", limit, window)
        for period, limit, window in limits
        if limit is not None
    )


def _limit_problem(detail: str, wait: timedelta) -> ProblemError:
    headers = {"Retry-After": str(max(ceil(wait.total_seconds()), 1))}
    sentence = f"{detail}. Nothing was saved. Try again in {format_wait(wait)}."
    return ProblemError(problem_kinds.SEND_LIMIT, sentence, headers=headers)


def _same_request(message: Message | None, request_hash: str) -> Message:
    """Return the message of a key if the same request has saved it. Raises ProblemError."""
    if message is None:
        detail = "The message of this Idempotency-Key was deleted here. Nothing was sent now."
        raise ProblemError(problem_kinds.MESSAGE_DELETED, detail)
    if message.request_hash != request_hash:
        detail = "This Idempotency-Key was used with other content. Nothing was sent now."
        raise ProblemError(problem_kinds.KEY_REUSED, detail)
    return message


def _hash(owner_id: int, fields: Mapping[str, object]) -> str:
    """A keyed hash of what is asked for; a field that is null counts as left out.

    It works after the text is deleted here, and nobody can try out numbers with it.
    """
    content = {name: value for name, value in fields.items() if value is not None}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return keyed_hash(db.session.connection(), HashedKind.REQUEST, owner_id, canonical).hex()
