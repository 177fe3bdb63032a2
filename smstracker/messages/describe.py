"""What became of a message and what to do, in sentences for its page and the log."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from smstracker.carrier import CarrierIsSlowError, TooManyRequestsError
from smstracker.clock import (
    format_duration,
    format_exact_duration,
    format_wait,
    spell_duration,
)
from smstracker.models import Message, SendLimitError, StatusEvent
from smstracker.plurals import format_count
from smstracker.sms import status
from smstracker.sms.error_guide import explain_code
from smstracker.sms.lookup_schedule import SEARCH_AGES
from smstracker.sms.numbering_plan import format_international
from smstracker.sms.status import Source, State

_SEARCH_DURATION = spell_duration(SEARCH_AGES[-1])
# Reasons of statuses that have no error code.
NOT_SENT_REASONS = {"unreached": "Twilio was not reached", "untraced": "Twilio has no trace of it"}
_NOT_SENT_SENTENCES = {
    "unreached": "This app could not connect to Twilio, so the message was not sent. "
    "It is safe to send it again.",
    "untraced": "Twilio gave no readable answer, and several searches of its list over "
    f"{_SEARCH_DURATION} did not find the message. It is safe to send it again.",
}
# Headlines that name the recipient alone.
_HEADLINES = {
    "canceled": "Cancelled before it was sent to {}",
    status.OUTBOX: "Queued here, to be sent to {}",
}
_HEADLINES |= dict.fromkeys(status.NEGATIVE, "Not delivered to {}")
_HEADLINES |= dict.fromkeys(status.NOT_SENT, "Not sent to {}")
_HEADLINES |= dict.fromkeys(status.AWAITING_RECEIPT, "Sent to {}, waiting for the receipt")
_CARRIER_IS_SLOW = "Twilio answers slowly, and too many messages are waiting for it."
_SERVER_IS_BUSY = "Too many pages and exports are open, so no message can be sent now."
_DELETED_AT_TWILIO = (
    "Twilio no longer has this message: a person, a program or Twilio's retention period deleted "
    "it before its outcome arrived here. The message may have been delivered, so ask the recipient "
    "before you send it again. A status callback that still arrives is counted."
)
_SIMULATION_ENDED = "The simulated carrier forgets all messages when it restarts."
_OUTCOME_LOST = "Its outcome will not be known"


def busy_notice(error: TooManyRequestsError) -> str:
    """Why no message can be submitted now, and what to do."""
    reason = _CARRIER_IS_SLOW if isinstance(error, CarrierIsSlowError) else _SERVER_IS_BUSY
    return f"{reason} Nothing was sent or saved. Press Send again in a moment."


def headline(message: Message, now: datetime) -> str:
    """The outcome in one sentence."""
    recipient = format_international(message.recipient)
    display = message.display_status(now)
    silence = format_duration(now - message.status_at)
    if message.status == status.DELETED:
        fate = "is lost to the simulated carrier" if message.simulated else "was deleted at Twilio"
        return f"The message to {recipient} {fate}; its outcome will not be known"
    if message.status not in status.RANK:
        return f"The message to {recipient} has a status that is new to us"
    if display.state is State.UNKNOWN:
        return f"We do not know yet whether the message to {recipient} was sent"
    if display.state is State.NO_RECEIPT:
        return f"Sent to {recipient}, but no receipt came in {silence}"
    if message.status in status.POSITIVE:
        return _delivery_headline(message, recipient)
    if message.is_scheduled(now):
        return f"Scheduled to be sent to {recipient}"
    return _HEADLINES.get(message.status, "On its way to {}").format(recipient)


def _delivery_headline(message: Message, recipient: str) -> str:
    verb = "Read by" if message.status == "read" else "Delivered to"
    # Rounded as in the timeline of the same page.
    delay = format_exact_duration(message.status_at - message.submitted_at)
    since = "it was sent" if message.handed_over_at else "you sent it"
    # The time of delivery is not known of a look-up, only its own.
    manner = "found by a look-up " if message.status_source == Source.LOOKUP else ""
    return f"{verb} {recipient}, {manner}{delay} after {since}"


def explanation(message: Message, events: Sequence[StatusEvent], now: datetime) -> list[str]:
    """The reasons behind the headline and what to do, each in a sentence or two."""
    sentences: list[str] = []
    if reason := explain_code(message.error_code):
        sentences.append(reason.cause)
    if message.status in _NOT_SENT_SENTENCES:
        sentences.append(_name_carrier(message, _NOT_SENT_SENTENCES[message.status]))
    if message.status == status.DELETED:
        sentences.append(_SIMULATION_ENDED if message.simulated else _DELETED_AT_TWILIO)
    elif message.status in status.RANK and message.display_status(now).state is State.UNKNOWN:
        sentences += map(partial(_name_carrier, message), _explain_unknown(events))
    if message.has_conflict:
        sentences.append(
            "The network reported both a failure and a delivery. The timeline shows both; "
            "the delivery counts."
        )
    if not message.callback_requested and message.status not in status.NOT_SENT:
        sentences.append(
            "Twilio cannot reach this app from outside, so statuses will not arrive by callback. "
            "Your administrator has to set PUBLIC_BASE_URL to a public https address."
        )
    return sentences


def _explain_unknown(events: Sequence[StatusEvent]) -> list[str]:
    payload = _last_search(events)
    candidates = payload.get("found")
    sids = candidates or payload.get("others")
    if isinstance(sids, list) and sids:
        count = format_count(len(sids), "message")
        similarity = "that could be this one"
        if not candidates:
            similarity = "with another text to this recipient from about that time"
        search_result = (
            f"Twilio's list has {count} {similarity}: {', '.join(sids)}. This app cannot tell "
            "which is yours: ask your administrator to look in the Twilio Console."
        )
    elif payload.get("hides_numbers"):
        search_result = (
            "Twilio hides numbers in its list (Message Redaction), so this app cannot find the "
            "message there: ask your administrator whether Twilio has it."
        )
    else:
        search_result = (
            "The outcome appears here when Twilio reports the message or lists it, usually "
            f"within {_SEARCH_DURATION}."
        )
    return [
        "Twilio gave no readable answer. The message may have been sent, so do not send it "
        "again yet.",
        search_result,
    ]


def _last_search(events: Sequence[StatusEvent]) -> dict[str, object]:
    """The payload of the last search of Twilio's list; empty before the first."""
    searches = (e for e in reversed(events) if e.source == Source.LOOKUP and e.status == "unknown")
    return next((search.payload for search in searches), {})


def source_phrase(message: Message, status_word: str, source: str | None) -> str:
    """How the status `status_word` of a message is known."""
    phrase = status.SOURCE_WORDS[Source(source)] if source else "saved here"
    if source == Source.LOOKUP and status_word in ("unknown", "untraced"):
        phrase = "look-up in Twilio's list"
    elif status_word == "unknown":
        phrase = "no readable send answer from Twilio"
    elif status_word == "unreached":
        phrase = "no send answer, because Twilio was not reached"
    return _name_carrier(message, phrase)


def _name_carrier(message: Message, text: str) -> str:
    """Name the simulated carrier in Twilio's place, where it stands in for it."""
    if not message.simulated:
        return text
    text = re.sub("^Twilio", "The simulated carrier", text)
    return re.sub("Twilio(?! Console)", "the simulated carrier", text)


def short_reason(message: Message) -> str | None:
    """The reason beside a status in the log."""
    if message.status in NOT_SENT_REASONS:
        return NOT_SENT_REASONS[message.status]
    if message.status == status.DELETED:
        return _OUTCOME_LOST
    has_failed = message.status in (*status.NEGATIVE, *status.NOT_SENT)
    return short_code_reason(message.error_code) if has_failed else None


def short_code_reason(code: str | None) -> str | None:
    reason = explain_code(code)
    return reason.short if reason else None


def missing_text_phrase(message: Message) -> str | None:
    """The words in place of the text of a message that has none, or none any more."""
    if message.content_deleted_at:
        days = max((message.content_deleted_at - message.created_at).days, 1)
        return f"Text deleted after {format_count(days, 'day')}"
    if message.body:
        return None
    return f"{format_count(len(message.media_urls), 'picture')} without text"


def send_limit_notice(error: SendLimitError) -> str:
    return (
        f"You have reached the limit of {error.words}. "
        f"Nothing was sent. Try again in {format_wait(error.wait)}."
    )
