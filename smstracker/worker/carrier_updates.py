"""What an answer of Twilio tells of a message."""

from typing import Any

from smstracker.carrier import Answer
from smstracker.models.events import News
from smstracker.sms.status import Source


def news_of(answer: Answer) -> News:
    """The status that Twilio gives when asked."""
    return News(answer.status, Source.LOOKUP, answer.payload, answer.sid, answer.error_code)


def facts_of(answer: Answer) -> dict[str, Any]:
    """The columns that an answer fills in beside the status; None is no news."""
    return {
        "segments": answer.segments,
        "sender": answer.sender,
        "price_micros": answer.price_micros,
        "price_unit": answer.price_unit,
    }
