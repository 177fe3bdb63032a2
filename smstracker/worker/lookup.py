"""Ask Twilio about one message, and store what it says as an event of source `lookup`."""

import logging
from collections.abc import Callable
from enum import StrEnum

from smstracker.carrier import (
    CarrierBusyError,
    CarrierQueryError,
    NotFoundAtCarrierError,
    current_carrier,
)
from smstracker.extensions import db
from smstracker.models.event_store import append_event, update_message_facts
from smstracker.models.events import StatusUpdate
from smstracker.models.lookup_queue import OpenMessage, schedule_next_lookup
from smstracker.sms.status import DELETED, Source
from smstracker.worker.carrier_updates import message_facts, status_update
from smstracker.worker.unknown_outcomes import resolve_unknown

log = logging.getLogger(__name__)


class LookupOutcome(StrEnum):
    """What a look-up came to; `CHANGED` means that the status moved.

    `FOREIGN` ones could not be asked about, because their account is not ours (any more).
    """

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FOREIGN = "of another account"


def look_up_message(one: OpenMessage) -> LookupOutcome:
    """Ask about a message and plan the next look-up. Raises CarrierQueryError if it cannot be asked."""
    settle: Callable[[OpenMessage], bool] = resolve_unknown if one.twilio_sid is None else _fetch
    try:
        changed = settle(one)
    except CarrierQueryError as error:
        told = {"message_sid": one.twilio_sid, "reason": error.reason}
        log.warning("lookup_failed", extra=told)
        if isinstance(error, CarrierBusyError) or not _is_foreign(one):
            raise
        with db.engine.begin() as connection:
            schedule_next_lookup(connection, one.id)
        return LookupOutcome.FOREIGN
    finding = LookupOutcome.CHANGED if changed else LookupOutcome.UNCHANGED
    log.info("lookup", extra={"message_sid": one.twilio_sid, "reason": finding.value})
    return finding


def _is_foreign(one: OpenMessage) -> bool:
    """Whether it was sent by an account that is not ours (any more): no reason to worry."""
    return one.account_sid is not None and not current_carrier().signatures.has_token_for(
        one.account_sid
    )


def _fetch(one: OpenMessage) -> bool:
    """No transaction is open while Twilio is asked."""
    try:
        answer = current_carrier().fetch(one.twilio_sid, one.account_sid)
    except NotFoundAtCarrierError:
        if _is_foreign(one):
            raise
        with db.engine.begin() as connection:
            return append_event(
                connection, one.id, StatusUpdate(DELETED, Source.LOOKUP, {}, one.twilio_sid)
            )
    with db.engine.begin() as connection:
        moved = append_event(connection, one.id, status_update(answer))
        update_message_facts(connection, one.id, **message_facts(answer))
        schedule_next_lookup(connection, one.id)
    return moved
