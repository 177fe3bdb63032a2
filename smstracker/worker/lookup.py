"""Ask Twilio about one message, and store what it says as an event of source `lookup`."""

import logging
from collections.abc import Callable
from enum import StrEnum

from smstracker.carrier import BusyError, GoneError, InquiryError, current_carrier
from smstracker.extensions import db
from smstracker.models.event_store import fill_in, record
from smstracker.models.events import News
from smstracker.models.lookup_queue import Open, reschedule
from smstracker.sms.status import DELETED, Source
from smstracker.worker.carrier_updates import facts_of, news_of
from smstracker.worker.unknown_outcomes import trace

log = logging.getLogger(__name__)


class Finding(StrEnum):
    """What a look-up came to; `CHANGED` means that the status moved.

    `FOREIGN` ones could not be asked about, because their account is not ours (any more).
    """

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FOREIGN = "of another account"


def look_up(one: Open) -> Finding:
    """Ask about a message and plan the next look-up. Raises InquiryError if it cannot be asked."""
    settle: Callable[[Open], bool] = trace if one.twilio_sid is None else _fetch
    try:
        changed = settle(one)
    except InquiryError as error:
        told = {"message_sid": one.twilio_sid, "reason": error.reason}
        log.warning("lookup_failed", extra=told)
        if isinstance(error, BusyError) or not _is_foreign(one):
            raise
        with db.engine.begin() as connection:
            reschedule(connection, one.id)
        return Finding.FOREIGN
    finding = Finding.CHANGED if changed else Finding.UNCHANGED
    log.info("lookup", extra={"message_sid": one.twilio_sid, "reason": finding.value})
    return finding


def _is_foreign(one: Open) -> bool:
    """Whether it was sent by an account that is not ours (any more): no reason to worry."""
    return one.account_sid is not None and not current_carrier().signatures.knows(one.account_sid)


def _fetch(one: Open) -> bool:
    """No transaction is open while Twilio is asked."""
    try:
        answer = current_carrier().fetch(one.twilio_sid, one.account_sid)
    except GoneError:
        if _is_foreign(one):
            raise
        with db.engine.begin() as connection:
            return record(connection, one.id, News(DELETED, Source.LOOKUP, {}, one.twilio_sid))
    with db.engine.begin() as connection:
        moved = record(connection, one.id, news_of(answer))
        fill_in(connection, one.id, **facts_of(answer))
        reschedule(connection, one.id)
    return moved
