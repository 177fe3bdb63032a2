"""Look up one message at Twilio and store the result as an event of source `lookup`."""

import logging
from enum import StrEnum

from smstracker.carrier import current_carrier
from smstracker.carrier.errors import CarrierBusyError, CarrierQueryError, NotFoundAtCarrierError
from smstracker.extensions import db
from smstracker.models.event_store import append_event, update_message_facts
from smstracker.models.events import StatusUpdate
from smstracker.models.lookup_queue import OpenMessage, schedule_next_lookup
from smstracker.sms.status import DELETED, Source
from smstracker.worker.carrier_updates import message_facts, status_update
from smstracker.worker.unknown_outcomes import resolve_unknown

log = logging.getLogger(__name__)


class LookupOutcome(StrEnum):
    """The result of a look-up; `CHANGED` means that the status moved.

    `FOREIGN` messages cannot be looked up: we have no token of their account.
    """

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FOREIGN = "of another account"


def look_up_message(message: OpenMessage) -> LookupOutcome:
    """Look a message up and schedule the next look-up. Raises CarrierQueryError."""
    sid = message.twilio_sid
    try:
        is_changed = resolve_unknown(message) if sid is None else _fetch(message, sid)
    except CarrierQueryError as error:
        fields = {"message_sid": message.twilio_sid, "reason": error.reason}
        log.warning("lookup_failed", extra=fields)
        if isinstance(error, CarrierBusyError) or not _is_foreign(message):
            raise
        with db.engine.begin() as connection:
            schedule_next_lookup(connection, message.id)
        return LookupOutcome.FOREIGN
    outcome = LookupOutcome.CHANGED if is_changed else LookupOutcome.UNCHANGED
    log.info("lookup", extra={"message_sid": message.twilio_sid, "reason": outcome.value})
    return outcome


def _is_foreign(message: OpenMessage) -> bool:
    """Whether another account sent it, which is not a problem to report."""
    return message.account_sid is not None and not current_carrier().signatures.has_token_for(
        message.account_sid
    )


def _fetch(message: OpenMessage, sid: str) -> bool:
    """Fetch the message and store its status; no transaction is open during the request."""
    try:
        fetched = current_carrier().fetch(sid, message.account_sid)
    except NotFoundAtCarrierError:
        if _is_foreign(message):
            raise
        deleted = StatusUpdate(DELETED, Source.LOOKUP, {}, sid)
        with db.engine.begin() as connection:
            return append_event(connection, message.id, deleted)
    with db.engine.begin() as connection:
        is_moved = append_event(connection, message.id, status_update(fetched))
        update_message_facts(connection, message.id, **message_facts(fetched))
        schedule_next_lookup(connection, message.id)
    return is_moved
