"""Find out whether a message whose outcome is unknown was sent, without ever sending it again.

A create call that gave no readable answer may have made a message all the same. Twilio's list is
searched for it. A wrong "not sent" makes people send twice, so that takes more than the absence of
a match: nothing unaccounted for may have gone to the recipient at all.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from smstracker.carrier import CarrierMessage, current_carrier
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Message, StatusEvent
from smstracker.models.event_store import append_event, link_to_sid, update_message_facts
from smstracker.models.events import StatusUpdate
from smstracker.models.lookup_queue import OpenMessage, schedule_next_lookup
from smstracker.sms import lookup_schedule, status
from smstracker.sms.status import Source
from smstracker.worker.carrier_updates import message_facts, status_update

# How far Twilio's time of creation may lie from ours: the clocks differ, and the call takes time.
BEFORE = timedelta(minutes=5)
AFTER = timedelta(minutes=10)
# The same text at another time is not this message, unless a clock is badly wrong.
DOUBTFUL = timedelta(hours=24)
MOST = 5000  # messages to one recipient that are looked through
TRIAL_PREFIX = "Sent from your Twilio trial account -"


def resolve_unknown(one: OpenMessage) -> bool:
    """Look for the message in Twilio's list; whether that settled it. Raises CarrierQueryError."""
    answers = current_carrier().list_sent_to(one.recipient, one.account_sid)
    listed = list(islice(answers, MOST + 1))
    with db.engine.begin() as connection:
        if _is_settled(connection, one):
            schedule_next_lookup(connection, one.id)
            return False
        unaccounted = _unaccounted(connection, [a for a in listed if _is_near(one, a)])
        matches = [answer for answer in unaccounted if _is_match(one, answer)]
        if len(matches) == 1 and not _has_twin(connection, one):
            return _adopt(connection, one, matches[0])
        # Saved before messages knew their account, it may have been another account's.
        nothing = not unaccounted and len(listed) <= MOST and one.account_sid is not None
        settled = nothing and _is_untraced(connection, one)
        word = "untraced" if settled else "unknown"
        found: dict[str, list[str]] = {"found": [], "others": []}
        for answer in unaccounted:
            found["found" if _has_text(one, answer) else "others"].append(answer.sid)
        append_event(connection, one.id, StatusUpdate(word, Source.LOOKUP, found))
        # After a long absence of the workers, the second look need not wait for hours.
        schedule_next_lookup(
            connection, one.id, within=lookup_schedule.SEARCH_AGES[-1] if nothing else None
        )
    return settled


def _is_settled(connection: Connection, one: OpenMessage) -> bool:
    """Whether a callback came while Twilio was asked."""
    still_open = select(Message.id).where(
        Message.id == one.id,
        Message.twilio_sid.is_(None),
        Message.status.in_(status.OUTCOME_OPEN),
    )
    return connection.scalar(still_open) is None


def _is_near(one: OpenMessage, answer: CarrierMessage) -> bool:
    """Whether it was sent about when the message was saved; the same text, within a day."""
    if answer.payload.get("direction") == "inbound":
        return False
    made_at = answer.created_at
    if made_at is None or _is_of_the_time(one, made_at):
        return True
    return bool(_has_text(one, answer) and abs(made_at - one.created_at) < DOUBTFUL)


def _is_of_the_time(one: OpenMessage, made_at: datetime) -> bool:
    return bool(-BEFORE <= made_at - one.created_at <= AFTER)


def _unaccounted(connection: Connection, listed: Sequence[CarrierMessage]) -> list[CarrierMessage]:
    """Those that are not known to be another message of ours."""
    sids = [answer.sid for answer in listed]
    held = set(connection.scalars(select(Message.twilio_sid).where(Message.twilio_sid.in_(sids))))
    return [answer for answer in listed if answer.sid not in held]


def _has_text(one: OpenMessage, answer: CarrierMessage) -> bool:
    """Whether the texts are alike; of pictures without text, their number has to be."""
    if _bare(answer.body or "") != _bare(one.body):
        return False
    return bool(one.body) or answer.payload.get("num_media") in (None, _picture_count(one))


def _picture_count(one: OpenMessage) -> str:
    return str(len(one.media_urls))


def _bare(text: str) -> str:
    return text.strip().removeprefix(TRIAL_PREFIX).strip()


def _is_match(one: OpenMessage, answer: CarrierMessage) -> bool:
    """Whether it can be this message: made at the time, the same text, sender and pictures."""
    if answer.created_at is None or not _is_of_the_time(one, answer.created_at):
        return False
    service = answer.payload.get("messaging_service_sid")
    same_sender = (
        service == one.messaging_service_sid
        if one.messaging_service_sid
        else answer.sender == one.sender
    )
    # Without a text the number of pictures is all there is to know it by.
    unsaid = (None,) if one.body else ()
    same_media = answer.payload.get("num_media") in (*unsaid, _picture_count(one))
    return _has_text(one, answer) and same_sender and same_media


def _has_twin(connection: Connection, one: OpenMessage) -> bool:
    """Whether another message of unknown outcome could be the one that was found."""
    others = select(Message.body).where(
        Message.id != one.id,
        Message.recipient == one.recipient,
        Message.twilio_sid.is_(None),
        Message.status.in_(status.OUTCOME_OPEN),
        Message.next_lookup_at.is_not(None),  # a small index holds them
        Message.created_at.between(one.created_at - AFTER, one.created_at + AFTER),
    )
    return any(_bare(body) == _bare(one.body) for body in connection.scalars(others))


def _is_untraced(connection: Connection, one: OpenMessage) -> bool:
    """Whether it has been looked for long enough, and before in earnest, not just now."""
    now = utcnow()
    first = select(func.min(StatusEvent.received_at)).where(
        StatusEvent.message_id == one.id, StatusEvent.source == Source.LOOKUP
    )
    looked_at = connection.scalar(first)
    old_enough = bool(now - one.created_at >= lookup_schedule.SEARCH_AGES[-1])
    return (
        old_enough and looked_at is not None and now - looked_at >= lookup_schedule.SEARCH_AGES[1]
    )


def _adopt(connection: Connection, one: OpenMessage, answer: CarrierMessage) -> bool:
    adopted = link_to_sid(connection, one.id, status_update(answer))
    if adopted:
        update_message_facts(connection, one.id, **message_facts(answer))
    schedule_next_lookup(connection, one.id)
    return adopted
