"""What the app says, held against the carrier's own books."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flask import Flask
from sqlalchemy import select

from smstracker.extensions import db
from smstracker.models import Message, StatusEvent
from smstracker.simulator.ledger import CallbackAttempt, Ledger
from smstracker.simulator.scenarios import SigningKey
from smstracker.sms.status import FINAL

NOT_SENT = frozenset({"refused", "unreached", "untraced"})
OPEN = frozenset({"pending", "unknown"})

# A text stands for its message, as no two are the same: the statuses of all messages with it.
Statuses = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Both sides at one moment. An event is a SID, a status and an idempotency token."""

    sent: Sequence[str]
    truth: Statuses
    attempts: Sequence[CallbackAttempt]
    shown: Statuses
    events: frozenset[tuple[str | None, str, str | None]]


def gather(app: Flask, books: Ledger, sent: Sequence[str]) -> Evidence:
    told = select(StatusEvent.twilio_sid, StatusEvent.status, StatusEvent.idempotency_token)
    with app.app_context():
        shown = db.session.execute(select(Message.body, Message.status)).all()
        events = db.session.execute(told.where(StatusEvent.source == "callback")).all()
    return Evidence(
        sent=sent,
        truth=_by_text((message.body, message.status) for message in books.messages()),
        attempts=books.attempts(),
        shown=_by_text((body, status) for body, status in shown),
        events=frozenset((sid, status, token) for sid, status, token in events),
    )


def _by_text(pairs: Iterable[tuple[str, str]]) -> Statuses:
    found = defaultdict(list)
    for text, status in pairs:
        found[text].append(status)
    return dict(found)


def untrue(found: Evidence) -> list[str]:
    """The messages whose status is not what became of them."""
    return [
        f"{text}: shown {found.shown.get(text)}, truly {found.truth.get(text)}"
        for text in found.sent
        if not _is_true(found, text)
    ]


def waiting(found: Evidence) -> list[str]:
    """Those of them that are still to be asked about: the others seem to be final."""
    false = (text for text in found.sent if not _is_true(found, text))
    return [text for text in false if not set(found.shown.get(text, ())) <= set(FINAL)]


def _is_true(found: Evidence, text: str) -> bool:
    shown = found.shown.get(text, ())
    return len(shown) == 1 and shown[0] in found.truth.get(text, NOT_SENT)


def missing(found: Evidence) -> list[str]:
    """The callbacks that were acknowledged and are not stored."""
    return [
        f"{attempt.sid} {attempt.status} {attempt.idempotency_token}"
        for attempt in found.attempts
        if is_acknowledged(attempt)
        and (attempt.sid, attempt.status, attempt.idempotency_token) not in found.events
    ]


def repeated(found: Evidence) -> list[str]:
    """The messages that were sent more than once."""
    return [text for text, statuses in found.truth.items() if len(statuses) > 1]


def believed(found: Evidence) -> list[str]:
    """The forged callbacks that were acknowledged or stored."""
    stored = {token for _, _, token in found.events}
    return [
        f"{attempt.sid} {attempt.status}"
        for attempt in found.attempts
        if attempt.signed_with is SigningKey.WRONG
        and (is_acknowledged(attempt) or attempt.idempotency_token in stored)
    ]


def unsettled(found: Evidence) -> list[str]:
    """The messages that are open, though the carrier's list tells whether they were sent."""
    return [text for text, statuses in found.shown.items() if OPEN.intersection(statuses)]


CHECKS: Mapping[str, Callable[[Evidence], list[str]]] = {
    "messages with a false status": untrue,
    "acknowledged callbacks not stored": missing,
    "messages sent twice": repeated,
    "forged callbacks believed": believed,
    "messages left unknown": unsettled,
}


def count_callbacks(attempts: Sequence[CallbackAttempt]) -> dict[str, int]:
    """How the requests of the carrier were answered, and how many tries were not in vain."""
    statuses = [attempt.response_status or 0 for attempt in attempts]
    return {
        "callbacks posted": len(statuses),
        "callbacks acknowledged (2xx)": sum(200 <= status < 300 for status in statuses),
        "callbacks refused (4xx)": sum(400 <= status < 500 for status in statuses),
        "callbacks not stored (503)": statuses.count(503),
        "callbacks not answered": statuses.count(0),
        "callbacks stored after a 503": _retried(attempts),
    }


def _retried(attempts: Sequence[CallbackAttempt]) -> int:
    """Callbacks that met a 503 first and were acknowledged later."""
    answers = defaultdict(Counter)
    for attempt in attempts:
        answers[attempt.idempotency_token][attempt.response_status] += 1
    return sum(bool(met[503] and met[204]) for met in answers.values())


def is_acknowledged(attempt: CallbackAttempt) -> bool:
    return attempt.response_status is not None and 200 <= attempt.response_status < 300
