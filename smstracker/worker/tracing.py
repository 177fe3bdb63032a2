"""Find out whether a message whose outcome is unknown was sent, without ever sending it again.

A create call that gave no readable answer may have made a message all the same. Twilio's list is
searched for it. A wrong "not sent" makes people send twice, so that takes more than the absence of
a match: nothing unaccounted for may have gone to the recipient at all.
"""

from collections.abc import Sequence
from datetime import timedelta
from itertools import islice

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from smstracker import schedule, status
from smstracker.carrier import Answer, InquiryError, current_carrier
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Message, StatusEvent
from smstracker.models.events import News, adopt, fill_in, record
from smstracker.models.work import Open, reschedule
from smstracker.status import Source
from smstracker.worker.facts import facts_of, news_of

# How far Twilio's time of creation may lie from ours: the clocks differ, and the call takes time.
BEFORE = timedelta(minutes=5)
AFTER = timedelta(minutes=10)
MOST = 5000  # messages to one recipient that are looked through
ENOUGH_LOOKS = 2
TRIAL_PREFIX = "Sent from your Twilio trial account - "


def trace(one: Open) -> bool:
    """Look for the message in Twilio's list; whether that settled it. Raises InquiryError."""
    listed = _listed(one)
    with db.engine.begin() as connection:
        unaccounted = _unaccounted(connection, listed)
        matches = [answer for answer in unaccounted if _is_like(one, answer)]
        if len(matches) == 1 and not _has_twin(connection, one):
            return _adopt(connection, one, matches[0])
        settled = not unaccounted and _is_untraced(connection, one)
        word = "untraced" if settled else "unknown"
        found = {"found": [answer.sid for answer in unaccounted]}
        record(connection, one.id, News(word, Source.LOOKUP, found))
        # After a long absence of the workers, the second look need not wait for hours.
        soon = timedelta.max if unaccounted else schedule.TRACED_AFTER[-1]
        reschedule(connection, one.id, within=soon)
    return settled


def _listed(one: Open) -> list[Answer]:
    """What Twilio has for the recipient from about the time at which the message was saved."""
    earliest, latest = one.created_at - BEFORE, one.created_at + AFTER
    answers = current_carrier().to_recipient(one.recipient, one.account_sid)
    listed: list[Answer] = []
    for number, answer in enumerate(islice(answers, MOST + 1)):
        if number == MOST:
            raise InquiryError("Twilio's list for this recipient is too long to be searched.")
        if answer.created_at is None or earliest <= answer.created_at <= latest:
            listed.append(answer)
        # Newest first; an hour of grace, because that order is documented nowhere.
        elif answer.created_at < earliest - timedelta(hours=1):
            break
    return listed


def _unaccounted(connection: Connection, listed: Sequence[Answer]) -> list[Answer]:
    """Those that are not known to be another message of ours."""
    sids = [answer.sid for answer in listed]
    held = set(connection.scalars(select(Message.twilio_sid).where(Message.twilio_sid.in_(sids))))
    return [answer for answer in listed if answer.sid not in held]


def _is_like(one: Open, answer: Answer) -> bool:
    """Whether it can be this message: the same text, sender and number of pictures."""
    service = answer.payload.get("messaging_service_sid")
    same_sender = (
        service == one.messaging_service_sid
        if one.messaging_service_sid
        else answer.sender == one.sender
    )
    body = (answer.body or "").removeprefix(TRIAL_PREFIX).strip()
    same_media = answer.payload.get("num_media") in (None, str(len(one.media_urls)))
    return same_sender and same_media and body == one.body.strip()


def _has_twin(connection: Connection, one: Open) -> bool:
    """Whether another message of unknown outcome could be the one that was found."""
    twin = select(Message.id).where(
        Message.id != one.id,
        Message.recipient == one.recipient,
        Message.body == one.body,
        Message.twilio_sid.is_(None),
        Message.status.in_(status.OUTCOME_OPEN),
        Message.created_at.between(one.created_at - AFTER, one.created_at + AFTER),
    )
    return connection.scalar(twin.limit(1)) is not None


def _is_untraced(connection: Connection, one: Open) -> bool:
    """Whether it has been looked for long and often enough, this time included."""
    looks = select(func.count()).where(
        StatusEvent.message_id == one.id, StatusEvent.source == Source.LOOKUP
    )
    earlier = connection.scalar(looks) or 0
    old_enough = utcnow() - one.created_at >= schedule.TRACED_AFTER[-1]
    return old_enough and earlier + 1 >= ENOUGH_LOOKS


def _adopt(connection: Connection, one: Open, answer: Answer) -> bool:
    adopted = adopt(connection, one.id, news_of(answer))
    if adopted:
        fill_in(connection, one.id, **facts_of(answer))
    reschedule(connection, one.id)
    return adopted
