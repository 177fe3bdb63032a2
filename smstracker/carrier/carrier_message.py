"""A message at Twilio, in plain values."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twilio.rest.api.v2010.account.message import MessageInstance

from smstracker.sms.identifiers import ERROR_CODE_LENGTH
from smstracker.sms.typed_text import truncate_for_column

_NUMBER = re.compile(r"(?:[a-z]+:)?\+?[0-9]+")
# The payload is shown to people and kept for ever, so it holds no text and no number.
_PAYLOAD_FIELDS = (
    *("sid", "status", "num_segments", "num_media", "direction", "api_version"),
    *("error_code", "error_message", "price", "price_unit", "messaging_service_sid"),
)


@dataclass(frozen=True, slots=True)
class CarrierMessage:
    """A message; `sender` is None until a Messaging Service chose one.

    `price_micros` is the charge in millionths of `price_unit`, set some time after the sending.
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
    payload: Mapping[str, object] = field(repr=False)
    callback_requested: bool = True

    @property
    def hides_number(self) -> bool:
        """Whether the recipient is no whole number: Message Redaction ends it in XXXX."""
        is_inbound = self.payload.get("direction") == "inbound"
        return not is_inbound and not _NUMBER.fullmatch(self.recipient or "")


def read_carrier_message(
    resource: "MessageInstance", callback_requested: bool = True
) -> CarrierMessage | None:
    """Convert a resource of the client; None without a usable SID."""
    if not isinstance(resource.sid, str) or not resource.sid.isalnum() or len(resource.sid) > 64:
        return None
    price = _parse_micros(resource.price)
    has_unit = price is not None and resource.price_unit
    code = str(resource.error_code) if resource.error_code else None
    return CarrierMessage(
        sid=resource.sid,
        status=truncate_for_column(str(resource.status), 64) or "None",
        error_code=truncate_for_column(code, ERROR_CODE_LENGTH),
        recipient=resource.to if isinstance(resource.to, str) else None,
        sender=truncate_for_column(resource.from_, 34) if isinstance(resource.from_, str) else None,
        body=resource.body if isinstance(resource.body, str) else None,
        segments=_parse_count(resource.num_segments),
        price_micros=price,
        price_unit=truncate_for_column(str(resource.price_unit), 3) if has_unit else None,
        created_at=resource.date_created,
        sent_at=resource.date_sent,
        payload={name: _storable(getattr(resource, name, None)) for name in _PAYLOAD_FIELDS},
        callback_requested=callback_requested,
    )


def _storable(value: object) -> object:
    """A value of the answer; as text if JSON has no such number, as NaN."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return str(value)
    return value


def _parse_count(number: object) -> int | None:
    is_count = isinstance(number, str) and re.fullmatch("[1-9][0-9]{0,3}", number)
    return int(str(number)) if is_count else None


def _parse_micros(price: object) -> int | None:
    """Convert a price, which Twilio gives as a negative decimal string."""
    try:
        micros = int(-Decimal(str(price)) * 1_000_000) if price is not None else None
    except (ArithmeticError, ValueError):
        return None
    return micros if micros is not None and abs(micros) < 2**62 else None
