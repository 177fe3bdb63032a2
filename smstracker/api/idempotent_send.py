"""A message of a program, saved once for each Idempotency-Key, whatever is repeated."""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil

from sqlalchemy import select

from smstracker.api import problems
from smstracker.api.send_request import SendRequest, read_send_request
from smstracker.clock import format_wait
from smstracker.extensions import db, writing
from smstracker.models import AlreadySentError, Message, RateLimit, SendLimitError
from smstracker.models.api_tokens import Caller, TokenRights
from smstracker.models.rate_limits import RateLimitRule
from smstracker.models.tombstones import HashedKind, keyed_hash
from smstracker.web.problem_details import ProblemError


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
    is_message = (Message.owner_id == caller.owner_id, Message.idempotency_key == message_key)
    earlier = db.session.scalar(select(Message).where(*is_message))
    if earlier is not None:
        return _same_request(earlier, request_hash), False
    send_request = read_send_request(fields, caller.rights, now)
    _check_sender(caller.rights, send_request.content.sender)
    try:
        return _save(caller, message_key, send_request, request_hash), True
    except AlreadySentError as error:  # saved by another thread meanwhile, or deleted
        return _same_request(error.message, request_hash), False


def _save(
    caller: Caller, message_key: uuid.UUID, send_request: SendRequest, request_hash: str
) -> Message:
    """Save and commit a message within all limits. Raises AlreadySentError or ProblemError."""
    try:
        with writing():
            message = Message.create_queued(
                caller.owner_id,
                message_key,
                send_request.content,
                send_at=send_request.send_at,
                reference=send_request.reference,
                request_hash=request_hash,
            )
            _count_for_token(caller)
            return message
    except SendLimitError as error:
        limit = f"{error.limit:,} messages in a {error.period}"
        raise _limit_problem(f"This user has reached the limit of {limit}", error.wait) from error


def _count_for_token(caller: Caller) -> None:
    """Count a message in the limits of the token itself. Raises ProblemError."""
    rights, prefix = caller.rights, f"token/{caller.token_id}"
    rules = [
        RateLimitRule(f"{prefix}/{period}", limit, window)
        for period, limit, window in (
            ("minute", rights.limit_per_minute, timedelta(minutes=1)),
            ("day", rights.limit_per_day, timedelta(days=1)),
        )
        if limit is not None
    ]
    if not rules:
        return
    connection = db.session.connection()
    if wait := RateLimit.retry_after(connection, rules):
        raise _limit_problem("This token has reached its own limit of messages", wait)
    RateLimit.hit(connection, rules)


def _limit_problem(detail: str, wait: timedelta) -> ProblemError:
    headers = {"Retry-After": str(max(ceil(wait.total_seconds()), 1))}
    sentence = f"{detail}. Nothing was saved. Try again in {format_wait(wait)}."
    return ProblemError(problems.SEND_LIMIT, sentence, headers=headers)


def _check_sender(rights: TokenRights, sender: str) -> None:
    if not rights.allows_sender(sender):
        detail = f"This token may not send from {sender}."
        raise ProblemError(problems.SENDER_FORBIDDEN, detail)


def _same_request(message: Message | None, request_hash: str) -> Message:
    """Return the message of a key if the same request has saved it. Raises ProblemError."""
    if message is None:
        detail = "The message of this Idempotency-Key was deleted here. Nothing was sent now."
        raise ProblemError(problems.MESSAGE_DELETED, detail)
    if message.request_hash != request_hash:
        detail = "This Idempotency-Key was used with other content. Nothing was sent now."
        raise ProblemError(problems.KEY_REUSED, detail)
    return message


def _hash(owner_id: int, fields: Mapping[str, object]) -> str:
    """A keyed hash of what is asked for; a field that is null counts as left out.

    It works after the text is deleted here, and nobody can try out numbers with it.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    canonical = json.dumps(given, sort_keys=True, separators=(",", ":"))
    return keyed_hash(db.session.connection(), HashedKind.REQUEST, owner_id, canonical).hex()
