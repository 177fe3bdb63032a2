"""Hand a saved message to the carrier, once, and record what came of it."""

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
from smstracker.database.problems import cause
from smstracker.extensions import db
from smstracker.models import Message
from smstracker.models.event_store import append_event, update_message_facts
from smstracker.models.events import StatusUpdate
from smstracker.models.lookup_queue import plan_lookups
from smstracker.sms.lookup_schedule import first_lookup
from smstracker.sms.status import RANK, Source
from smstracker.web.urls import external_url

log = logging.getLogger(__name__)

_OUTCOMES: dict[type[CarrierError], str] = {
    RefusedError: "refused",
    CarrierUnreachableError: "unreached",
    OutcomeUnknownError: "unknown",
}


def save_and_submit(message: Message) -> None:
    """Commit a drafted message and send it; NoSlotError if Twilio keeps too many others waiting.

    Then nothing is saved, so that the same form can be sent again.
    """
    try:
        with current_carrier().limit_requests():
            db.session.commit()
            submit(message)
    except TooManyRequestsError:
        db.session.rollback()
        raise


def submit(message: Message) -> None:
    """Send a message that has been committed. No transaction may be open: Twilio can be slow.

    If the outcome cannot be stored, the message stays as it is and turns to "unknown" by itself.
    """
    try:
        answer = _send(message)
    except CarrierError as error:
        word = _OUTCOMES[type(error)]
        code = error.code if isinstance(error, RefusedError) else None
        news = StatusUpdate(word, Source.SEND, error.payload, error_code=code)
        facts: dict[str, Any] = {"callback_requested": error.callback_requested}
    else:
        news, facts = _accepted(answer)
    log.info(
        f"message_{news.status if news.twilio_sid is None else 'accepted'}",
        extra={"message_id": message.public_id.hex, "message_sid": news.twilio_sid},
    )
    _record(message.id, news, facts)


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


def _accepted(answer: CarrierMessage) -> tuple[StatusUpdate, dict[str, Any]]:
    # A word that we do not know moves nothing, but there is a SID: Twilio has accepted it.
    word = answer.status if answer.status in RANK else "accepted"
    news = StatusUpdate(word, Source.SEND, answer.payload, answer.sid, answer.error_code)
    facts = {
        "segments": answer.segments,
        "sender": answer.sender,
        "callback_requested": answer.callback_requested,
    }
    return news, facts


def _record(message_id: int, news: StatusUpdate, facts: dict[str, Any]) -> None:
    # A second try, on a new connection, survives a restart of the database.
    for is_last in (False, True):
        try:
            with db.engine.begin() as connection:
                append_event(connection, message_id, news)
                update_message_facts(connection, message_id, **facts)
                plan_lookups(connection, {message_id: first_lookup(news.status, news.received_at)})
            return
        except SQLAlchemyError as error:
            log.log(
                logging.ERROR if is_last else logging.WARNING,
                "send_outcome_not_recorded",
                extra={"message_sid": news.twilio_sid, "reason": cause(error)},
            )
