"""Daily comparison with Twilio's list of sent messages: statuses and prices that were missed."""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Row, select
from sqlalchemy.engine import Connection

from smstracker.carrier import current_carrier
from smstracker.carrier.carrier_message import CarrierMessage
from smstracker.clock import DAY, utcnow
from smstracker.extensions import db, receipt_window
from smstracker.models import Message
from smstracker.models.event_store import append_event, update_message_facts
from smstracker.models.lookup_queue import matches_carrier
from smstracker.sms import status
from smstracker.worker.carrier_updates import message_facts, status_update

log = logging.getLogger(__name__)

LIST_OVERLAP = timedelta(hours=1)
KnownMessage = Row[tuple[int, str | None, str, str | None, int | None]]
MESSAGES_PER_TRANSACTION = 200  # short transactions, so that callbacks need not wait


def reconcile_by_list(last_done: datetime | None) -> Iterator[int]:
    """Compare the messages sent since the last listing; yield the moved statuses of each page.

    A page is one request. Raises CarrierQueryError; earlier pages stay stored.
    """
    now = utcnow()
    # Messages sent before the last listing may have become final since.
    sent_after = now - max(receipt_window(), DAY + LIST_OVERLAP)
    if last_done is not None:
        sent_after = max(sent_after, min(last_done, now) - DAY - LIST_OVERLAP)
    for page in current_carrier().iterate_sent(sent_after):
        moved_count = 0
        for start in range(0, len(page), MESSAGES_PER_TRANSACTION):
            batch = page[start : start + MESSAGES_PER_TRANSACTION]
            with db.engine.begin() as connection:
                moved_count += _store_batch(connection, {message.sid: message for message in batch})
        log.info("listed", extra={"count": moved_count})
        yield moved_count


def _store_batch(connection: Connection, listed: dict[str, CarrierMessage]) -> int:
    columns = (Message.id, Message.twilio_sid, Message.status, Message.error_code)
    known_messages = select(*columns, Message.price_micros).where(
        Message.twilio_sid.in_(list(listed)), matches_carrier()
    )
    rows = connection.execute(known_messages.order_by(Message.id)).all()
    return sum(_store_if_new(connection, row, listed[row.twilio_sid]) for row in rows)


def _store_if_new(connection: Connection, row: KnownMessage, listed: CarrierMessage) -> bool:
    """Store an event if it adds something; most of the list repeats the callbacks."""
    if row.price_micros is None and listed.price_micros is not None:
        update_message_facts(connection, row.id, **message_facts(listed))
    is_higher = row.status in status.lower_ranked(listed.status)
    adds_error_code = listed.status == row.status and listed.error_code and not row.error_code
    if not (is_higher or adds_error_code):
        return False
    return append_event(connection, row.id, status_update(listed))
