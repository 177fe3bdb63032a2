"""Conversion of a fetched Twilio message to a status update and to column values."""

from smstracker.carrier.carrier_message import CarrierMessage
from smstracker.models.events import StatusUpdate
from smstracker.sms.status import Source


def status_update(message: CarrierMessage) -> StatusUpdate:
    """The status update of a looked-up message."""
    return StatusUpdate(
        message.status, Source.LOOKUP, message.payload, message.sid, message.error_code
    )


def message_facts(message: CarrierMessage) -> dict[str, int | str | None]:
    """The other columns that a looked-up message fills in; None leaves a column unchanged."""
    return {
        "segments": message.segments,
        "sender": message.sender,
        "price_micros": message.price_micros,
        "price_unit": message.price_unit,
    }
