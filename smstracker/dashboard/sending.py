"""Hand a saved message to the carrier, once, and record what came of it."""

import logging
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from smstracker.addresses import absolute
from smstracker.carrier import (
    Answer,
    CarrierError,
    NoSlotError,
    OutcomeUnknownError,
    RefusedError,
    UnreachedError,
    current_carrier,
)
from smstracker.database_problems import cause
from smstracker.extensions import db
from smstracker.models import Message
from smstracker.models.events import News
from smstracker.models.recording import fill_in, record
from smstracker.models.work import plan_lookups
from smstracker.schedule import first_lookup
from smstracker.status import RANK, Source

log = logging.getLogger(__name__)

_OUTCOMES: dict[type[CarrierError], str] = {
    RefusedError: "refused",
    UnreachedError: "unreached",
    OutcomeUnknownError: "unknown",
}


def save_and_hand_over(message: Message) -> None:
    """Commit a drafted message and send it; NoSlotError if too many others wait.

    Then nothing is saved, so that the same form can be sent again.
    """
    try:
        with current_carrier().slot():
            db.session.commit()
            hand_over(message)
    except NoSlotError:
        db.session.rollback()
        raise


def hand_over(message: Message) -> None:
    """Send a message that has been committed. No transaction may be open: Twilio can be slow.

    If the outcome cannot be stored, the message stays as it is and turns to "unknown" by itself.
    """
    try:
        answer = _send(message)
    except CarrierError as error:
        word = _OUTCOMES[type(error)]
        code = error.code if isinstance(error, RefusedError) else None
        news = News(word, Source.SEND, error.payload, error_code=code)
        facts: dict[str, Any] = {"callback_requested": error.callback_requested}
    else:
        news, facts = _accepted(answer)
    log.info(
        f"message_{news.status if news.twilio_sid is None else 'accepted'}",
        extra={"message_id": message.public_id.hex, "message_sid": news.twilio_sid},
    )
    _record(message.id, news, facts)


def _send(message: Message) -> Answer:
    return current_carrier().send(
        to=message.recipient,
        sender=message.sender,
        messaging_service_sid=message.messaging_service_sid,
        body=message.body,
        media_urls=message.media_urls,
        status_callback=absolute("webhooks.status_of_message", public_id=str(message.public_id)),
    )


def _accepted(answer: Answer) -> tuple[News, dict[str, Any]]:
    # A word that we do not know moves nothing, but there is a SID: Twilio has accepted it.
    word = answer.status if answer.status in RANK else "accepted"
    news = News(word, Source.SEND, answer.payload, answer.sid, answer.error_code)
    facts = {
        "segments": answer.segments,
        "sender": answer.sender,
        "callback_requested": answer.callback_requested,
    }
    return news, facts


def _record(message_id: int, news: News, facts: dict[str, Any]) -> None:
    # A second try, on a new connection, survives a restart of the database.
    for is_last in (False, True):
        try:
            with db.engine.begin() as connection:
                record(connection, message_id, news)
                fill_in(connection, message_id, **facts)
                plan_lookups(connection, {message_id: first_lookup(news.status, news.received_at)})
            return
        except SQLAlchemyError as error:
            log.log(
                logging.ERROR if is_last else logging.WARNING,
                "send_outcome_not_recorded",
                extra={"message_sid": news.twilio_sid, "reason": cause(error)},
            )
