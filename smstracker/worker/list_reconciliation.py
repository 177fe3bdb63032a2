"""Once a day, Twilio's list of what was sent catches what single look-ups missed; prices too."""

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.engine import Connection

from smstracker.carrier import CarrierMessage, current_carrier
from smstracker.clock import utcnow
from smstracker.extensions import db, receipt_window
from smstracker.models import Message
from smstracker.models.event_store import append_event, update_message_facts
from smstracker.models.lookup_queue import matches_carrier
from smstracker.sms import status
from smstracker.worker.carrier_updates import message_facts, status_update

log = logging.getLogger(__name__)

DAY = timedelta(days=1)
OVERLAP = timedelta(hours=1)
BATCH = 200  # messages in one transaction: it must not hold up callbacks


def reconcile_by_list(last_done: datetime | None) -> Iterator[int]:
    """Go through what was sent since the last listing; of each page, how many statuses it moved.

    A page is one request. Raises CarrierQueryError; what was stored until then stays.
    """
    now = utcnow()
    # What was sent before the last listing may have come to its end since.
    since = now - max(receipt_window(), DAY + OVERLAP)
    if last_done is not None:
        since = max(since, min(last_done, now) - DAY - OVERLAP)
    for page in current_carrier().list_sent(since):
        moved = 0
        for batch in _batches(page):
            with db.engine.begin() as connection:
                moved += _compare(connection, {answer.sid: answer for answer in batch})
        log.info("listed", extra={"count": moved})
        yield moved


def _batches(answers: Iterable[CarrierMessage]) -> Iterator[list[CarrierMessage]]:
    following = iter(answers)
    while batch := list(islice(following, BATCH)):
        yield batch


def _compare(connection: Connection, listed: dict[str, CarrierMessage]) -> int:
    which = (Message.id, Message.twilio_sid, Message.status, Message.error_code)
    ours = select(*which, Message.price_micros).where(
        Message.twilio_sid.in_(list(listed)), matches_carrier()
    )
    found = connection.execute(ours.order_by(Message.twilio_sid)).all()
    return sum(_learn(connection, one, listed[one.twilio_sid]) for one in found)


def _learn(connection: Connection, one: Row[Any], answer: CarrierMessage) -> bool:
    """An event only if it tells something: most of the list is what callbacks have said."""
    if one.price_micros is None and answer.price_micros is not None:
        update_message_facts(connection, one.id, **message_facts(answer))
    rises = one.status in status.lower_ranked(answer.status)
    is_reason = answer.status == one.status and answer.error_code and not one.error_code
    if not (rises or is_reason):
        return False
    return append_event(connection, one.id, status_update(answer))
