"""Submit a saved message to the carrier, once, and store the result."""

import logging
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from smstracker.carrier import (
    CarrierError,
    CarrierMessage,
    CarrierUnreachableError,
    OutcomeUnknownError,
    RefusedError,
    TooManyRequestsError,
    current_carrier,
)
from smstracker.database.problems import log_reason
from smstracker.extensions import db
from smstracker.models import Message
from smstracker.models.event_store import append_event, update_message_facts
from smstracker.models.events import StatusUpdate
from smstracker.models.lookup_queue import set_lookup_times
from smstracker.sms.lookup_schedule import first_lookup
from smstracker.sms.status import RANK, Source
from smstracker.web.urls import external_url

log = logging.getLogger(__name__)

_STATUS_AFTER_ERROR: dict[type[CarrierError], str] = {
    RefusedError: "refused",
    CarrierUnreachableError: "unreached",
    OutcomeUnknownError: "unknown",
}


def save_and_submit(message: Message) -> None:
    """Commit a pending message and submit it.

    Raises TooManyRequestsError if too many others wait for Twilio; then nothing is saved, so that
    the same form can be sent again.
    """
    try:
        with current_carrier().limit_requests():
            db.session.commit()
            submit(message)
    except TooManyRequestsError:
        db.session.rollback()
        raise


def submit(message: Message) -> None:
    """Send a committed message. No transaction may be open: Twilio can be slow.

    If the result cannot be stored, the message stays pending and is soon displayed as "unknown".
    """
    try:
        carrier_message = _send(message)
    except CarrierError as error:
        status = _STATUS_AFTER_ERROR[type(error)]
        code = error.code if isinstance(error, RefusedError) else None
        update = StatusUpdate(status, Source.SEND, error.payload, error_code=code)
        facts: dict[str, Any] = {"callback_requested": error.callback_requested}
    else:
        update, facts = _read_acceptance(carrier_message)
    log.info(
        f"message_{update.status if update.twilio_sid is None else 'accepted'}",
        extra={"message_id": message.public_id.hex, "message_sid": update.twilio_sid},
    )
    _store_result(message.id, update, facts)


def _send(message: Message) -> CarrierMessage:
    return current_carrier().send(
        to=message.recipient,
        sender=message.sender,
        messaging_service_sid=message.messaging_service_sid,
        body=message.body,
        media_urls=message.media_urls,
        status_callback=external_url(
            "webhooks.status_of_message", public_id=str(message.public_id)
        ),
    )


def _read_acceptance(carrier_message: CarrierMessage) -> tuple[StatusUpdate, dict[str, Any]]:
    # A status that is new to us changes nothing, but there is a SID: Twilio has accepted it.
    status = carrier_message.status if carrier_message.status in RANK else "accepted"
    update = StatusUpdate(
        status,
        Source.SEND,
        carrier_message.payload,
        carrier_message.sid,
        carrier_message.error_code,
    )
    facts = {
        "segments": carrier_message.segments,
        "sender": carrier_message.sender,
        "callback_requested": carrier_message.callback_requested,
    }
    return update, facts


def _store_result(message_id: int, update: StatusUpdate, facts: dict[str, Any]) -> None:
    # A retry on a new connection survives a restart of the database.
    for is_retry in (False, True):
        try:
            with db.engine.begin() as connection:
                append_event(connection, message_id, update)
                update_message_facts(connection, message_id, **facts)
                due_at = first_lookup(update.status, update.received_at)
                set_lookup_times(connection, {message_id: due_at})
            return
        except SQLAlchemyError as error:
            log.log(
                logging.ERROR if is_retry else logging.WARNING,
                "send_outcome_not_recorded",
                extra={"message_sid": update.twilio_sid, "reason": log_reason(error)},
            )
