"""What stops a message that waited here, at the last moment before it is handed to Twilio."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import Select, bindparam, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

from smstracker.database.engine import reading_connection
from smstracker.database.row_sets import is_any_of
from smstracker.extensions import db, settings
from smstracker.messages.send_warnings import find_opt_out
from smstracker.models import User
from smstracker.models.event_store import stop_waiting
from smstracker.models.events import StatusEvent, StatusUpdate
from smstracker.models.messages import Content, Message, reverse_digits
from smstracker.models.opt_outs import OPT_OUT_CODE, RememberedOptOut
from smstracker.models.outbox import OutboxMessage
from smstracker.sms.status import Source
from smstracker.sms.stop_reasons import StopReason
from smstracker.sms.text_fields import find_unfilled_field

# A text that comes later than this would surprise. With the time ahead for which people may
# schedule, it stays within `display_state.MAX_SCHEDULE_AHEAD`.
MAX_LATE = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class SendObstacle:
    """Why a message is not sent; `proof` goes into the event."""

    reason: StopReason
    proof: dict[str, object] = field(default_factory=dict)


def find_obstacles(messages: Collection[OutboxMessage], now: datetime) -> dict[int, SendObstacle]:
    """Return what stops these messages, by message id."""
    # Outside of a request, `db.session` would keep callbacks waiting.
    with reading_connection(db.engine) as connection, Session(connection) as session:
        ids_with_access = find_ids_with_access(session, {row.owner_id for row in messages})
        opted_out = _find_opt_outs(session, messages)
    obstacles = {}
    for message in messages:
        reasons = _reasons(message, ids_with_access, now)
        if reason := next(reasons, None):
            obstacles[message.id] = SendObstacle(reason)
        elif message.id in opted_out:
            obstacles[message.id] = opted_out[message.id]
    return obstacles


def stop(connection: Connection, message_id: int, obstacle: SendObstacle) -> bool:
    """Store that a waiting message is not sent, and why; False if it no longer waits."""
    refusal = StatusUpdate("refused", Source.APP, obstacle.proof, error_code=obstacle.reason)
    return stop_waiting(connection, message_id, refusal)


def _reasons(
    message: OutboxMessage, ids_with_access: Collection[int], now: datetime
) -> Iterator[StopReason]:
    if message.content_deleted_at:
        yield StopReason.TEXT_DELETED
    if message.owner_id not in ids_with_access:
        yield StopReason.NO_ACCESS
    if message.account_sid != settings().twilio_account_sid:
        yield StopReason.OTHER_ACCOUNT
    senders = (*settings().twilio_phone_numbers, settings().twilio_messaging_service_sid)
    if message.sender_key not in senders:
        yield StopReason.SENDER_REMOVED
    if message.send_at and now - message.send_at > MAX_LATE:
        yield StopReason.TOO_LATE
    if find_unfilled_field(message.body):
        yield StopReason.UNFILLED_FIELD


def find_ids_with_access(session: Session, owner_ids: Collection[int]) -> set[int]:
    """Those of the users who may sign in."""
    query = _select_owners(db.engine.dialect.name)
    owners = session.scalars(query, {"values": owner_ids})
    return {owner.id for owner in owners if owner.has_access(settings())}


def _find_opt_outs(
    session: Session, messages: Collection[OutboxMessage]
) -> dict[int, SendObstacle]:
    """The opt-outs that messages prove. Nearly no recipient has opted out, so two queries for all
    spare most of the queries for each.
    """
    suspected = _find_suspected_recipients(session, messages)
    opt_outs = {}
    for message in messages:
        if message.recipient not in suspected:
            continue
        content = Content(message.recipient, message.sender_key, message.body)
        proof, _event, opted_out_at = find_opt_out(session, message.owner_id, content)
        if opted_out_at:
            facts = {"opted_out_at": opted_out_at.isoformat()}
            facts |= {"message": str(proof.public_id)} if proof else {}
            opt_outs[message.id] = SendObstacle(StopReason.OPTED_OUT, {**facts})
    return opt_outs


def _find_suspected_recipients(session: Session, messages: Collection[OutboxMessage]) -> set[str]:
    """The recipients who ever refused a message, of whatever sender."""
    numbers = {reverse_digits(message.recipient): message.recipient for message in messages}
    values = {"owner_ids": {message.owner_id for message in messages}, "numbers": numbers}
    suspected = {numbers[digits] for digits in session.scalars(_select_refused(), values)}
    remembered = RememberedOptOut.find_numbers(session.connection(), set(numbers.values()))
    return suspected | remembered


@cache
def _select_owners(dialect_name: str) -> Select[tuple[User]]:
    return select(User).where(is_any_of(dialect_name, User.id))


@cache
def _select_refused() -> Select[tuple[str]]:
    """Select the reversed recipients of refused messages, by owners and recipients."""
    query = select(Message.recipient_reversed)
    query = query.join(StatusEvent, StatusEvent.message_id == Message.id)
    return query.where(
        Message.owner_id.in_(bindparam("owner_ids", expanding=True)),
        Message.recipient_reversed.in_(bindparam("numbers", expanding=True)),
        StatusEvent.error_code == OPT_OUT_CODE,
    )
