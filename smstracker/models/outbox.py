"""The outbox: messages that wait here until a worker hands them to Twilio, each once.

A claim is a lease. One that ends before the hand-over began is claimed again. `begin_hand_over`
takes the message out of the outbox, for good unless Twilio says that it refused it: whoever is
killed afterwards leaves a pending message, which is looked up and never sent again.
"""

import random
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from functools import cache
from itertools import chain, zip_longest
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Row,
    Select,
    String,
    Update,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.sql.dml import ReturningUpdate

from smstracker.clock import has_come, is_ahead, utcnow
from smstracker.database.engine import UtcDateTime
from smstracker.database.row_sets import is_any_of
from smstracker.database.statement_time import StatementTime
from smstracker.extensions import settings
from smstracker.models.batches import OVER, Batch, running_batch_ids
from smstracker.models.event_store import stop_waiting
from smstracker.models.events import StatusEvent, StatusUpdate
from smstracker.models.messages import Message, is_in_outbox
from smstracker.models.removals import PendingRemoval
from smstracker.models.sender_pace import SenderPace, free_slots
from smstracker.sms import status
from smstracker.sms.lookup_schedule import first_lookup
from smstracker.sms.messaging_service import is_messaging_service
from smstracker.sms.status import Source

# For how long a worker has a message that it has not begun to hand over.
LEASE = timedelta(minutes=1)
# A worker claims what may go within a second.
STUCK_AFTER = timedelta(minutes=5)
# After so many refusals for now, with pauses of some minutes in all, the message is not sent.
MAX_REFUSALS = 8
MAX_REDATED = 500  # at a time: callbacks wait meanwhile
# A lane is a batch, or None for messages of no batch. Lanes of a sender take turns.
Lane = int | None


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """What it takes to check a waiting message and to hand it over."""

    id: int
    public_id: uuid.UUID
    owner_id: int
    batch_id: int | None
    account_sid: str | None
    recipient: str = field(repr=False)
    sender: str | None = field(repr=False)
    messaging_service_sid: str | None
    body: str = field(repr=False)
    media_urls: list[str] = field(repr=False)
    created_at: datetime
    send_at: datetime | None
    claimed_until: datetime | None
    handed_over_at: datetime | None
    content_deleted_at: datetime | None

    @property
    def sender_key(self) -> str:
        """The number or Messaging Service SID that sends it."""
        return self.messaging_service_sid or self.sender or ""


_COLUMNS = tuple(getattr(Message, column.name) for column in fields(OutboxMessage))
SENDER_KEY = func.coalesce(Message.messaging_service_sid, Message.sender)


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """The messages that wait to be sent; `scheduled` ones wait for their time. `oldest_at` is from
    when the first may go, without those `in_halted_batches`, which wait for people or for the end
    of quiet hours. `held` ones are not among them: a restore holds them until their senders come.
    """

    waiting: int
    scheduled: int
    oldest_at: datetime | None
    held: int = 0
    in_halted_batches: int = 0


def claim(connection: Connection, limit: int, now: datetime) -> list[OutboxMessage]:
    """Lease at most `limit` messages that may go now, within the pace of their senders.

    Those of a lane and sender come in the order of (send_at, id).
    """
    lanes: list[Lane] = [None, *running_batch_ids(connection)]
    messages: list[OutboxMessage] = []
    for sender, next_at in SenderPace.lock_ready(connection, now):
        size = min(free_slots(sender, next_at, now), limit - len(messages))
        if size > 0 and (ids := _first_ids(connection, sender, lanes, now, size)):
            leased = _lease(connection, ids, now)
            SenderPace.take(connection, sender, next_at, len(leased), now)
            messages += leased
    return messages


def next_due_at(connection: Connection, now: datetime) -> datetime | None:
    """When the next message that nobody has claimed may go; None if there is none."""
    lanes: list[Lane] = [None, *running_batch_ids(connection)]
    return min(_due_times(connection, lanes, now).values(), default=None)


def read_backlog(connection: Connection, now: datetime) -> OutboxCounts:
    """Count what waits, from the index of these messages alone."""
    scheduled = func.count().filter(Message.send_at > now)
    lanes = running_batch_ids(connection)
    moves = or_(Message.batch_id.is_(None), Message.batch_id.in_(lanes))
    oldest = func.min(Message.send_at, type_=UtcDateTime()).filter(moves)
    waiting = func.count(Message.send_at)
    halted = waiting - waiting.filter(moves)
    columns = (waiting, scheduled, oldest, func.count() - waiting, halted)
    query = select(*columns).where(is_in_outbox())
    return OutboxCounts(*connection.execute(query).one())


def find_stuck_time(connection: Connection, now: datetime) -> datetime | None:
    """Since when the longest waiting message could go that nobody claims; None if all move."""
    lanes: list[Lane] = [None, *running_batch_ids(connection)]
    latest = now - STUCK_AFTER
    # Each claim, and each pause, moves the next time of its sender.
    is_stuck = SenderPace.is_ready(now) & (SenderPace.next_at <= latest)
    stuck_times = []
    for sender, next_at in connection.execute(
        select(SenderPace.sender, SenderPace.next_at).where(is_stuck)
    ):
        head_at = _head_time(connection, sender, lanes, now)
        if head_at is not None and head_at <= latest:
            stuck_times.append(max(head_at, next_at))
    return min([*stuck_times, *_left_behind_times(connection, latest)], default=None)


def _left_behind_times(connection: Connection, latest: datetime) -> Iterator[datetime]:
    """Since when a message waits of a batch that ended before `latest`; nobody claims it."""
    query = select(Message.status_at, Batch.ended_at).join(Batch, Batch.id == Message.batch_id)
    has_ended = (Batch.state.in_(OVER), Batch.ended_at <= latest, Message.status_at <= latest)
    for status_at, ended_at in connection.execute(query.where(is_in_outbox(), *has_ended).limit(1)):
        yield max(status_at, ended_at)


def find_misdated(connection: Connection, now: datetime) -> Sequence[int]:
    """Return the ids of messages that were to go at once, but were saved by a clock that was ahead.

    At once means at the time from which they wait. Any other one was typed by people, and is right.
    """
    is_at_once = Message.send_at == Message.status_at
    query = select(Message.id).where(is_in_outbox(), is_at_once, is_ahead(Message.send_at, now))
    return connection.scalars(query.limit(MAX_REDATED)).all()


def redate(connection: Connection, message_ids: Sequence[int], now: datetime) -> None:
    """Have messages that wait go now."""
    waiting = update(Message).where(Message.id.in_(message_ids), is_in_outbox())
    connection.execute(waiting.values(send_at=now, status_at=now))


def begin_hand_over(
    connection: Connection, messages: Sequence[OutboxMessage]
) -> list[OutboxMessage]:
    """Take messages of one claim out of the outbox; commit this before the calls, and call only
    then.

    Returns them as they are now, without those that are not to be sent: their claim is over, they
    were cancelled or edited meanwhile or are just being so, their recipient was erased, their
    sender is paused, or their batch is paused or stopped.
    """
    if not messages:
        return []
    now, ids = utcnow(), [message.id for message in messages]
    statement, time = _begin_statement(connection.dialect.name)
    facts = {"claimed": messages[0].claimed_until, "lookup_at": first_lookup(status.PENDING, now)}
    rows = connection.execute(statement, {"values": ids, **facts, **time.values(now)})
    return _sort_as_claimed(rows, ids)


@cache
def _begin_statement(
    dialect_name: str,
) -> tuple[ReturningUpdate[tuple[Any, ...]], StatementTime]:
    now = StatementTime()
    lookup_at, claimed = (bindparam(name, type_=UtcDateTime()) for name in ("lookup_at", "claimed"))
    is_claimed = (Message.status == status.OUTBOX) & Message.content_deleted_at.is_(None)
    is_claimed &= Message.claimed_until == claimed
    is_claimed &= Batch.is_running(Message.batch_id)
    is_any = is_any_of(dialect_name, Message.id)
    pause = exists().where(SenderPace.sender == SENDER_KEY, SenderPace.is_paused(now))
    is_erased = PendingRemoval.is_erased(Message.id)
    begin = _update_unlocked(is_any, is_claimed, ~pause, ~is_erased)
    begin = begin.values(
        status=status.PENDING,
        status_at=now,
        handed_over_at=now,
        claimed_until=None,
        next_lookup_at=lookup_at,
    )
    return begin.returning(*_COLUMNS), now


def cancel(connection: Connection, message_id: int) -> bool:
    """Cancel a message for its owner; False if it no longer waits here."""
    return stop_waiting(connection, message_id, StatusUpdate("canceled", Source.APP, {}))


def release(connection: Connection, message_id: int) -> None:
    """Give back the lease of a message whose hand-over has not begun."""
    leased = update(Message).where(Message.id == message_id, Message.status == status.OUTBOX)
    connection.execute(leased.values(claimed_until=None))


def put_back(connection: Connection, message: OutboxMessage, refusal: StatusUpdate) -> bool:
    """Put a message back that Twilio refused for now, and pause its sender.

    False if more was heard of it, if its recipient was erased meanwhile, or if it was refused too
    often, so that it holds up no others: then the refusal is final. May be repeated if nobody knows
    whether it was committed: another hand-over may have begun since, which stays.
    """
    now = refusal.received_at
    is_refusal = (StatusEvent.message_id == message.id) & (StatusEvent.status == status.OUTBOX)
    refusals = connection.scalar(select(func.count()).where(is_refusal)) or 0
    if refusals + 1 >= MAX_REFUSALS:
        return False
    is_message = Message.id == message.id
    is_under_way = (Message.status == status.PENDING) & Message.twilio_sid.is_(None)
    is_under_way &= Message.handed_over_at == message.handed_over_at
    is_under_way &= ~PendingRemoval.is_erased(Message.id)
    row = update(Message).where(is_message, is_under_way)
    row = row.values(
        status=status.OUTBOX,
        status_at=now,
        status_source=str(refusal.source),
        handed_over_at=None,
        next_lookup_at=None,
    )
    if connection.execute(row.returning(Message.id)).first() is None:
        handed_over_at = connection.scalar(select(Message.handed_over_at).where(is_message))
        return handed_over_at != message.handed_over_at
    event = {"message_id": message.id, **refusal.row(), "status": status.OUTBOX}
    connection.execute(insert(StatusEvent).values(event))
    # After the message, as callbacks do; a claim waits for no message.
    SenderPace.pause(connection, message.sender_key, refusal.error_code or "", now)
    return True


def pause_senders(connection: Connection, message_ids: Collection[int], code: str) -> None:
    """Pause the senders of messages that failed later because Twilio had too many of them."""
    query = select(SENDER_KEY).where(Message.id.in_(message_ids)).distinct().order_by(SENDER_KEY)
    for sender in connection.scalars(query).all():
        SenderPace.pause(connection, sender or "", code, utcnow())


def _is_claimable(now: StatementTime) -> ColumnElement[bool]:
    lease_end = Message.claimed_until
    return or_(lease_end.is_(None), has_come(lease_end, now, LEASE))


def _due_times(
    connection: Connection, lanes: Collection[Lane], now: datetime
) -> dict[str, datetime]:
    """When the next message of each sender may go, of those that have one."""
    query, time = _select_paces()
    due_times = {}
    for pace in connection.execute(query, time.values(now)):
        head_at = _head_time(connection, pace.sender, lanes, now)
        if head_at is not None:
            # A pause moves the next time to its end.
            due_times[pace.sender] = max(head_at, now if pace.is_ready else pace.next_at)
    return due_times


@cache
def _select_paces() -> tuple[Select[Any], StatementTime]:
    now = StatementTime()
    is_ready = SenderPace.is_ready(now).label("is_ready")
    return select(SenderPace.sender, SenderPace.next_at, is_ready), now


def _head_time(
    connection: Connection, sender: str, lanes: Collection[Lane], now: datetime
) -> datetime | None:
    """From when the first of a sender's messages may go."""
    heads = (_read_waiting(connection, sender, lane, now, 1) for lane in lanes)
    return min((send_at for _id, send_at in chain.from_iterable(heads)), default=None)


def _first_ids(
    connection: Connection, sender: str, lanes: Collection[Lane], now: datetime, size: int
) -> list[int]:
    """The ids of the messages that may go now, in turns by lane."""
    queues = []
    for lane in lanes:
        waiting = _read_waiting(connection, sender, lane, now, size)
        queues.append([message_id for message_id, send_at in waiting if send_at <= now])
    random.shuffle(queues)
    in_turns = chain.from_iterable(zip_longest(*queues))
    return [message_id for message_id in in_turns if message_id is not None][:size]


def _read_waiting(
    connection: Connection, sender: str, lane: Lane, now: datetime, size: int
) -> Sequence[tuple[int, datetime]]:
    """Read id and send_at of the first unclaimed messages of a sender and lane."""
    query, time = _select_waiting(is_messaging_service(sender), lane is not None)
    values = {"sender": sender, "simulated": settings().demo, "size": size, **time.values(now)}
    values |= {} if lane is None else {"lane": lane}
    return [(row.id, row.send_at) for row in connection.execute(query, values)]


@cache
def _select_waiting(
    is_service: bool, has_lane: bool
) -> tuple[Select[tuple[int, datetime | None]], StatementTime]:
    now, sender = StatementTime(), bindparam("sender", type_=String())
    conditions: tuple[ColumnElement[bool], ...] = (
        is_in_outbox(),
        Message.batch_id == bindparam("lane") if has_lane else Message.batch_id.is_(None),
        Message.sender.is_(None) if is_service else Message.sender == sender,
        Message.messaging_service_sid == (sender if is_service else None),
        _is_claimable(now),
        Message.simulated == bindparam("simulated"),
        Message.send_at.is_not(None),
    )
    query = select(Message.id, Message.send_at).where(*conditions)
    query = query.order_by(Message.send_at, Message.id)
    return query.limit(bindparam("size", type_=Integer())), now


def _lease(connection: Connection, ids: Sequence[int], now: datetime) -> list[OutboxMessage]:
    """Lease those of the messages that still wait and that nobody has locked, in this order."""
    lease, time = _lease_statement(connection.dialect.name)
    return _sort_as_claimed(connection.execute(lease, {"values": ids, **time.values(now)}), ids)


@cache
def _lease_statement(
    dialect_name: str,
) -> tuple[ReturningUpdate[tuple[Any, ...]], StatementTime]:
    now, is_any = StatementTime(), is_any_of(dialect_name, Message.id)
    lease = _update_unlocked(is_any, Message.status == status.OUTBOX, _is_claimable(now))
    return lease.values(claimed_until=now + LEASE).returning(*_COLUMNS), now


def _update_unlocked(*conditions: ColumnElement[bool]) -> Update:
    """Update the messages that meet the conditions and that no other transaction has locked.

    To wait for those could deadlock.
    """
    # A CTE, because PostgreSQL may run a subselect twice and would then update others.
    unlocked = select(Message.id).where(*conditions).with_for_update(skip_locked=True)
    return update(Message).where(Message.id.in_(select(unlocked.cte())))


def _sort_as_claimed(rows: Iterable[Row[Any]], ids: Sequence[int]) -> list[OutboxMessage]:
    messages = {row.id: OutboxMessage(*row) for row in rows}
    return [messages[message_id] for message_id in ids if message_id in messages]
