"""Find messages of unknown outcome in Twilio's list, without ever sending them again.

A create call without a readable answer may have created a message. A wrong "not sent" makes people
send twice, so it takes more than no match: the list must hold no message to the recipient that is
not accounted for, in several searches, and must show whole numbers.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from smstracker.carrier import current_carrier
from smstracker.carrier.carrier_message import CarrierMessage
from smstracker.clock import is_ahead, utcnow
from smstracker.extensions import db
from smstracker.models import Message, StatusEvent
from smstracker.models.event_store import append_event, link_to_sid, update_message_facts
from smstracker.models.events import StatusUpdate
from smstracker.models.lookup_queue import SUBMITTED_AT, OpenMessage, schedule_next_lookup
from smstracker.models.tombstones import HashedKind, Tombstone, keyed_hash
from smstracker.sms import lookup_schedule, status
from smstracker.sms.status import Source
from smstracker.worker.carrier_updates import message_facts, status_update

# Limits between Twilio's time of creation and ours: clocks differ, and the call takes time.
MAX_CREATED_EARLY = timedelta(minutes=5)
MAX_CREATED_LATE = timedelta(minutes=10)
# The same text at another time is another message, unless a clock is badly wrong.
SAME_TEXT_WINDOW = timedelta(hours=24)
MAX_LISTED_MESSAGES = 5000  # to one recipient
TRIAL_PREFIX = "Sent from your Twilio trial account -"


def resolve_unknown(message: OpenMessage) -> bool:
    """Search Twilio's list for the message; whether that settled it. Raises CarrierQueryError."""
    listing = current_carrier().list_by_recipient(message.recipient, message.account_sid)
    listed = list(islice(listing, MAX_LISTED_MESSAGES + 1))
    # Twilio may not find a number that it has masked. Other messages show whether it masks them.
    newest = current_carrier().list_newest(message.account_sid) if _is_old(message) else []
    hides_numbers = any(other.hides_number for other in (*listed, *newest))
    with db.engine.begin() as connection:
        if _is_settled(connection, message):
            schedule_next_lookup(connection, message.id)
            return False
        unaccounted = _exclude_known(connection, [a for a in listed if _is_near(message, a)])
        matches = [candidate for candidate in unaccounted if _is_match(message, candidate)]
        if len(matches) == 1 and not _is_ambiguous(connection, message):
            return _link(connection, message, matches[0])
        # A message of an old version has no account, so another account may have sent it.
        is_whole_list = len(listed) <= MAX_LISTED_MESSAGES and message.account_sid is not None
        is_absent = is_whole_list and not unaccounted and not hides_numbers
        is_settled = is_absent and _is_untraced(connection, message)
        new_status = "untraced" if is_settled else "unknown"
        similar = [candidate.sid for candidate in unaccounted if _may_be_same(message, candidate)]
        different = [candidate.sid for candidate in unaccounted if candidate.sid not in similar]
        payload = {"found": similar, "others": different, "hides_numbers": hides_numbers}
        search_result = StatusUpdate(new_status, Source.LOOKUP, payload)
        append_event(connection, message.id, search_result)
        # After a long pause of the workers, the second search need not wait for hours.
        within = lookup_schedule.SEARCH_AGES[-1] if is_absent and _is_old(message) else None
        schedule_next_lookup(connection, message.id, within=within)
    return is_settled


def _is_settled(connection: Connection, message: OpenMessage) -> bool:
    """Whether a callback arrived during the request."""
    open_message = select(Message.id).where(
        Message.id == message.id,
        Message.twilio_sid.is_(None),
        Message.status.in_(status.OUTCOME_OPEN),
    )
    return connection.scalar(open_message) is None


def _is_near(message: OpenMessage, listed: CarrierMessage) -> bool:
    """Whether it was created about when the message was saved; with the same text, within a day.

    At any time, while nobody knows when that was.
    """
    if listed.payload.get("direction") == "inbound":
        return False
    created_at = listed.created_at
    if created_at is None or is_ahead(message.submitted_at, utcnow()):
        return True
    if _is_time_plausible(message, created_at):
        return True
    is_near = abs(created_at - message.submitted_at) < SAME_TEXT_WINDOW
    return is_near and _may_be_same(message, listed)


def _is_time_plausible(message: OpenMessage, created_at: datetime) -> bool:
    return -MAX_CREATED_EARLY <= created_at - message.submitted_at <= MAX_CREATED_LATE


def _exclude_known(
    connection: Connection, listed: Sequence[CarrierMessage]
) -> list[CarrierMessage]:
    """The listed messages that are not another message of ours, deleted ones included."""
    hashes = {
        message.sid: keyed_hash(connection, HashedKind.SID, message.sid) for message in listed
    }
    query = select(Message.twilio_sid).where(Message.twilio_sid.in_(list(hashes)))
    known_sids = set(connection.scalars(query))
    deleted = Tombstone.find(connection, hashes.values())
    unknown = [message for message in listed if message.sid not in known_sids]
    return [message for message in unknown if hashes[message.sid] not in deleted]


def _may_be_same(message: OpenMessage, listed: CarrierMessage) -> bool:
    """Whether the texts are equal; if Twilio has none (any more), the numbers of pictures."""
    if text := _strip_trial_prefix(listed.body or ""):
        return text == _strip_trial_prefix(message.body)
    return listed.payload.get("num_media") in (None, _count_pictures(message))


def _count_pictures(message: OpenMessage) -> str:
    return str(len(message.media_urls))


def _strip_trial_prefix(text: str) -> str:
    return text.strip().removeprefix(TRIAL_PREFIX).strip()


def _is_match(message: OpenMessage, listed: CarrierMessage) -> bool:
    """Whether it can be this message: by time, text, sender and number of pictures."""
    if listed.created_at is None or not _is_time_plausible(message, listed.created_at):
        return False
    is_same_sender = listed.sender == message.sender
    if message.messaging_service_sid:
        service = listed.payload.get("messaging_service_sid")
        is_same_sender = service == message.messaging_service_sid
    # Without a text, only the number of pictures identifies it.
    unknown_counts = (None,) if message.body else ()
    is_same_media = listed.payload.get("num_media") in (*unknown_counts, _count_pictures(message))
    is_same_text = _strip_trial_prefix(listed.body or "") == _strip_trial_prefix(message.body)
    return is_same_text and is_same_sender and is_same_media and not listed.hides_number


def _is_ambiguous(connection: Connection, message: OpenMessage) -> bool:
    """Whether another message of unknown outcome could be the match."""
    earliest = message.submitted_at - MAX_CREATED_LATE
    latest = message.submitted_at + MAX_CREATED_LATE
    candidate_bodies = select(Message.body).where(
        Message.id != message.id,
        Message.recipient == message.recipient,
        Message.twilio_sid.is_(None),
        Message.status.in_(status.OUTCOME_OPEN),
        Message.next_lookup_at.is_not(None),  # a small index covers these
        SUBMITTED_AT.between(earliest, latest),
    )
    text = _strip_trial_prefix(message.body)
    return any(_strip_trial_prefix(body) == text for body in connection.scalars(candidate_bodies))


def _is_old(message: OpenMessage) -> bool:
    """Whether the message is old enough for "not sent"."""
    return utcnow() - message.submitted_at >= lookup_schedule.SEARCH_AGES[-1]


def _is_untraced(connection: Connection, message: OpenMessage) -> bool:
    """Whether the message is old enough, and its first search long enough ago, for "not sent"."""
    if not _is_old(message):
        return False
    first_lookup = select(func.min(StatusEvent.received_at)).where(
        StatusEvent.message_id == message.id, StatusEvent.source == Source.LOOKUP
    )
    first_lookup_at = connection.scalar(first_lookup)
    if first_lookup_at is None or is_ahead(message.submitted_at, first_lookup_at):
        return False  # or nobody knows when it was saved
    return utcnow() - first_lookup_at >= lookup_schedule.SEARCH_AGES[1]


def _link(connection: Connection, message: OpenMessage, match: CarrierMessage) -> bool:
    is_linked = link_to_sid(connection, message.id, status_update(match))
    if is_linked:
        update_message_facts(connection, message.id, **message_facts(match))
    schedule_next_lookup(connection, message.id)
    return is_linked
