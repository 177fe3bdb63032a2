"""What an answer of Twilio tells of a message."""

from typing import Any

from smstracker.carrier import CarrierMessage
from smstracker.models.events import StatusUpdate
from smstracker.sms.status import Source


def status_update(answer: CarrierMessage) -> StatusUpdate:
    """The status that Twilio gives when asked."""
    return StatusUpdate(answer.status, Source.LOOKUP, answer.payload, answer.sid, answer.error_code)


def message_facts(answer: CarrierMessage) -> dict[str, Any]:
    """The columns that an answer fills in beside the status; None is no news."""
    return {
        "segments": answer.segments,
        "sender": answer.sender,
        "price_micros": answer.price_micros,
        "price_unit": answer.price_unit,
    }
