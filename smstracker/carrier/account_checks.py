"""The account and its senders at Twilio, in plain values; for `flask doctor`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from smstracker.clock import utcnow

if TYPE_CHECKING:
    from twilio.rest import Client


@dataclass(frozen=True, slots=True)
class Account:
    """The account; `clock_ahead` is our clock minus Twilio's, None without a date in the answer."""

    status: str
    is_trial: bool
    clock_ahead: timedelta | None


class SenderAbility(StrEnum):
    """Whether a phone number can send."""

    SENDS = "sends"
    NO_SMS = "no SMS"
    NOT_OURS = "not ours"


def fetch_account(client: "Client", account_sid: str) -> Account:
    requested_at = utcnow()
    response = client.api.v2010.accounts(account_sid).fetch_with_http_info()
    local_time = requested_at + (utcnow() - requested_at) / 2
    twilio_time = _response_time(response.headers)
    return Account(
        status=str(response.data.status),
        is_trial=str(response.data.type).lower() == "trial",
        clock_ahead=local_time - twilio_time if twilio_time else None,
    )


def _response_time(headers: Mapping[str, str]) -> datetime | None:
    try:
        moment = parsedate_to_datetime(headers["Date"])
    except (KeyError, TypeError, ValueError):
        return None
    # The header has whole seconds, rounded down.
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware + timedelta(seconds=0.5)


def fetch_sender_ability(client: "Client", account_sid: str, number: str) -> SenderAbility:
    """Whether a phone number (E.164) belongs to the account and can send SMS."""
    numbers = client.api.v2010.accounts(account_sid).incoming_phone_numbers
    for owned_number in numbers.list(phone_number=number, limit=1):
        if owned_number.phone_number == number:
            capabilities = owned_number.capabilities or {}
            return SenderAbility.SENDS if capabilities.get("sms") else SenderAbility.NO_SMS
    return SenderAbility.NOT_OURS
