"""Submit a saved message to the carrier, once, and store the result."""

import logging
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from smstracker.carrier import current_carrier
from smstracker.carrier.carrier_message import CarrierMessage
from smstracker.carrier.errors import (
    CarrierError,
    CarrierUnreachableError,
    OutcomeUnknownError,
    RefusedError,
)
from smstracker.database.problems import log_reason
from smstracker.extensions import db, writing
from smstracker.models import Message
from smstracker.models.event_store import apply_send_result
from smstracker.models.events import SendResult, StatusUpdate
from smstracker.sms.status import RANK, Source
from smstracker.web.urls import external_url

log = logging.getLogger(__name__)

_STATUS_AFTER_ERROR: dict[type[CarrierError], str] = {
    RefusedError: "refused",
    CarrierUnreachableError: "unreached",
    OutcomeUnknownError: "unknown",
}


def create_and_submit(create: Callable[[], Message]) -> Message:
    """Save the pending message that `create` makes, and submit it.

    Raises TooManyRequestsError if too many others wait for Twilio, or what `create` raises; then
    nothing is saved, so that the same form can be sent again.
    """
    with current_carrier().limit_requests():
        with writing():
            message = create()
        submit(message)
    return message


def submit(message: Message) -> None:
    """Send a committed message. No transaction may be open: Twilio can be slow.

    If the result cannot be stored, the message stays pending and is soon displayed as "unknown".
    """
    try:
        result = _read_acceptance(_send(message))
    except CarrierError as error:
        result = _read_error(error)
    update = result.status_update
    log.info(
        f"message_{update.status if update.twilio_sid is None else 'accepted'}",
        extra={"message_id": message.public_id.hex, "message_sid": update.twilio_sid},
    )
    _store_result(message.id, result)


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


def _read_acceptance(sent: CarrierMessage) -> SendResult:
    # A status that is new to us changes nothing, but there is a SID: Twilio has accepted it.
    status = sent.status if sent.status in RANK else "accepted"
    update = StatusUpdate(status, Source.SEND, sent.payload, sent.sid, sent.error_code)
    return SendResult(update, sent.callback_requested, sent.segments, sent.sender)


def _read_error(error: CarrierError) -> SendResult:
    code = error.code if isinstance(error, RefusedError) else None
    status = _STATUS_AFTER_ERROR[type(error)]
    update = StatusUpdate(status, Source.SEND, error.payload, error_code=code)
    return SendResult(update, error.callback_requested)


def _store_result(message_id: int, result: SendResult) -> None:
    # A retry on a new connection survives a restart of the database.
    for is_retry in (False, True):
        try:
            with db.engine.begin() as connection:
                apply_send_result(connection, message_id, result)
            return
        except SQLAlchemyError as error:
            log.log(
                logging.ERROR if is_retry else logging.WARNING,
                "send_outcome_not_recorded",
                extra={"message_sid": result.status_update.twilio_sid, "reason": log_reason(error)},
            )
