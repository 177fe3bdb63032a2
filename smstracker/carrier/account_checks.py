"""What Twilio says of our account and senders, in plain values; for `flask doctor`."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from twilio.rest import Client

from smstracker.clock import utcnow


@dataclass(frozen=True, slots=True)
class Account:
    """`clock_ahead` is how far our clock is ahead of Twilio's; None if its answer had no date."""

    status: str
    is_trial: bool
    clock_ahead: timedelta | None


class SenderAbility(StrEnum):
    """What Twilio says of a phone number as a sender."""

    SENDS = "sends"
    NO_SMS = "no SMS"
    NOT_OURS = "not ours"


def fetch_account(client: Client, account_sid: str) -> Account:
    asked = utcnow()
    answer = client.api.v2010.accounts(account_sid).fetch_with_http_info()
    here = asked + (utcnow() - asked) / 2
    there = _date(answer.headers)
    return Account(
        status=str(answer.data.status),
        is_trial=str(answer.data.type).lower() == "trial",
        clock_ahead=here - there if there else None,
    )


def _date(headers: Any) -> datetime | None:
    try:
        moment = parsedate_to_datetime(headers["Date"])
    except (KeyError, TypeError, ValueError):
        return None
    # The header has whole seconds, cut off.
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware + timedelta(seconds=0.5)


def sender_ability(client: Client, account_sid: str, number: str) -> SenderAbility:
    """Whether a phone number in E.164 is the account's and can send SMS."""
    numbers = client.api.v2010.accounts(account_sid).incoming_phone_numbers
    for found in numbers.list(phone_number=number, limit=1):
        if found.phone_number == number:
            can = found.capabilities
            sms = can.get("sms") if isinstance(can, dict) else getattr(can, "sms", None)
            return SenderAbility.SENDS if sms else SenderAbility.NO_SMS
    return SenderAbility.NOT_OURS


def fetch_service(client: Client, service_sid: str) -> None:
    """Raises what the client raises if there is no such Messaging Service."""
    client.messaging.v1.services(service_sid).fetch()
