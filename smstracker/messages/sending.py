"""Submit a saved message to the carrier, once, and store the result."""

import logging
from collections.abc import Callable

from sqlalchemy.engine import Connection
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
from smstracker.messages.result_writer import SendResultWriter
from smstracker.models import Message, SenderPace, outbox
from smstracker.models.event_store import apply_send_result
from smstracker.models.events import SendResult, StatusUpdate
from smstracker.models.outbox import OutboxMessage
from smstracker.sms import status
from smstracker.sms.status import RANK, Source
from smstracker.web.urls import status_callback_url

log = logging.getLogger(__name__)

_STATUS_AFTER_ERROR: dict[type[CarrierError], str] = {
    RefusedError: "refused",
    CarrierUnreachableError: "unreached",
    OutcomeUnknownError: "unknown",
}
# After these errors the next message of the sender would fail in the same way.
PAUSE_CODES = ("unreached", *status.CREDENTIALS_CODES, *status.SLOW_DOWN_CODES)


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
    result = _request(message)
    _store(lambda connection: apply_send_result(connection, message.id, result), result)


def submit_from_outbox(message: OutboxMessage, writer: SendResultWriter) -> None:
    """Send a message whose hand-over has begun; otherwise as `submit`.

    If Twilio refuses it and asks to slow down, it waits here again, and its sender pauses.
    """
    result = _request(message)
    is_accepted = result.status_update.twilio_sid is not None
    if is_accepted and writer.store(message.id, result):
        return
    _store(lambda connection: _apply_to_outbox(connection, message, result), result)


def _apply_to_outbox(connection: Connection, message: OutboxMessage, result: SendResult) -> None:
    update = result.status_update
    code = update.error_code or update.status
    is_for_now = update.status == "refused" and code in status.SLOW_DOWN_CODES
    if is_for_now and outbox.put_back(connection, message, update):
        return
    apply_send_result(connection, message.id, result)
    if update.twilio_sid is None and code in PAUSE_CODES:
        SenderPace.pause(connection, message.sender_key, code, update.received_at)


def _request(message: Message | OutboxMessage) -> SendResult:
    """Make the create call; what became of it."""
    try:
        result = _read_acceptance(_send(message))
    except CarrierError as error:
        result = _read_error(error)
    update = result.status_update
    log.info(
        f"message_{update.status if update.twilio_sid is None else 'accepted'}",
        extra={"message_id": message.public_id.hex, "message_sid": update.twilio_sid},
    )
    return result


def _send(message: Message | OutboxMessage) -> CarrierMessage:
    return current_carrier().send(
        to=message.recipient,
        sender=message.sender,
        messaging_service_sid=message.messaging_service_sid,
        body=message.body,
        media_urls=message.media_urls,
        status_callback=status_callback_url(message.public_id),
    )


def _read_acceptance(sent: CarrierMessage) -> SendResult:
    # A status that is new to us changes nothing, but there is a SID: Twilio has accepted it.
    word = sent.status if sent.status in RANK else "accepted"
    update = StatusUpdate(word, Source.SEND, sent.payload, sent.sid, sent.error_code)
    return SendResult(update, sent.callback_requested, sent.segments, sent.sender)


def _read_error(error: CarrierError) -> SendResult:
    code = error.code if isinstance(error, RefusedError) else None
    word = _STATUS_AFTER_ERROR[type(error)]
    update = StatusUpdate(word, Source.SEND, error.payload, error_code=code)
    return SendResult(update, error.callback_requested)


def _store(apply: Callable[[Connection], None], result: SendResult) -> None:
    # A retry on a new connection survives a restart of the database.
    for is_retry in (False, True):
        try:
            with db.engine.begin() as connection:
                apply(connection)
            return
        except SQLAlchemyError as error:
            log.log(
                logging.ERROR if is_retry else logging.WARNING,
                "send_outcome_not_recorded",
                extra={"message_sid": result.status_update.twilio_sid, "reason": log_reason(error)},
            )
