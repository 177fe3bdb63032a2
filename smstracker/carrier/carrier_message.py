"""A message as Twilio has it, in plain values."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from twilio.rest.api.v2010.account.message import MessageInstance

# The payload is shown to people and kept for ever: no text and no number goes into it.
_SHOWN_FIELDS = (
    *("sid", "status", "num_segments", "num_media", "direction", "api_version"),
    *("error_code", "error_message", "price", "price_unit", "messaging_service_sid"),
)
MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class CarrierMessage:
    """`sender` is None until a Messaging Service chose one. `price_micros` is what was charged, in
    millionths of `price_unit`; it is known only some time after the message was sent.
    """

    sid: str
    status: str
    error_code: str | None
    recipient: str | None = field(repr=False)
    sender: str | None = field(repr=False)
    body: str | None = field(repr=False)
    segments: int | None
    price_micros: int | None
    price_unit: str | None
    created_at: datetime | None
    sent_at: datetime | None
    payload: dict[str, Any] = field(repr=False)
    callback_requested: bool = True


def read_carrier_message(
    made: MessageInstance, callback_requested: bool = True
) -> CarrierMessage | None:
    """The answer in a resource of the client; None if it has no usable SID."""
    if not isinstance(made.sid, str) or not made.sid.isalnum() or len(made.sid) > 64:
        return None
    price = _micros(made.price)
    return CarrierMessage(
        sid=made.sid,
        status=str(made.status)[:64],
        error_code=str(made.error_code)[:16] if made.error_code else None,
        recipient=made.to if isinstance(made.to, str) else None,
        sender=made.from_[:34] if isinstance(made.from_, str) else None,
        body=made.body if isinstance(made.body, str) else None,
        segments=_count(made.num_segments),
        price_micros=price,
        price_unit=str(made.price_unit)[:3] if price is not None and made.price_unit else None,
        created_at=made.date_created,
        sent_at=made.date_sent,
        payload={name: getattr(made, name, None) for name in _SHOWN_FIELDS},
        callback_requested=callback_requested,
    )


def _count(number: object) -> int | None:
    return int(number) if isinstance(number, str) and number.isdecimal() and number != "0" else None


def _micros(price: object) -> int | None:
    """Twilio gives a charge as a negative decimal in a string."""
    try:
        micros = int(-Decimal(str(price)) * MICRO) if price is not None else None
    except (ArithmeticError, ValueError):
        return None
    return micros if micros is not None and abs(micros) < 2**62 else None
